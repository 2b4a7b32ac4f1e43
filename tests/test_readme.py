"""Every block of the README runs; its tables and its file tree say what is there.

The two installing commands are run by `.ci/run`, which takes them from the README by their
markers. All others are run here, with the embedded model.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = r"(<!-- ci: \w+ -->\n)?```(\w+)\n(.*?)```(?:\n\n```text\n(.*?)```)?"  # and its output
BLOCKS = re.findall(BLOCK, README, re.S)


def _blocks(language):
    return [
        (code, shown) for marker, kind, code, shown in BLOCKS if kind == language and not marker
    ]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the samples, where the README's commands are run one after another."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "samples", folder / "samples")
    return folder


def _run(arguments, folder):
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    environment["COLUMNS"] = "160"
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def _settled(text):
    """Output without what differs between machines: scores' last digits, speeds, spaces."""
    text = re.sub(r'"score":[\d.]+', '"score":_', text)
    return " ".join(re.sub(r"\d+(\.\d+)?", "0", text).split())


@pytest.mark.mini
@pytest.mark.parametrize("code, shown", _blocks("sh"))
def test_shell_block(desk, code, shown):
    outcome = _run(["bash", "-euo", "pipefail", "-c", code], desk)
    assert outcome.returncode == 0, outcome.stderr
    if shown:
        assert _settled(shown) == _settled(outcome.stdout)


@pytest.mark.mini
@pytest.mark.parametrize("code, shown", _blocks("python"))
def test_python_block(desk, code, shown):
    outcome = _run([sys.executable, "-c", code], desk)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip()


def test_the_two_commands_are_marked_for_ci():
    marked = [marker for marker, *_ in BLOCKS if marker]
    assert marked == ["<!-- ci: tag -->\n", "<!-- ci: tests -->\n"]


def test_file_tree_matches_the_package():
    tree = README.split("## Files")[1].split("```")[1]
    named = set(re.findall(r"^  (\S+)", tree, re.M))
    package = ROOT / "b2ner_cli"
    there = {
        path.name + ("/" if path.is_dir() else "")
        for path in package.iterdir()
        if not path.name.startswith("__")
    }
    assert named == there


def test_every_command_is_in_the_readme():
    from b2ner_cli.cli.app import app

    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for name in commands | {group.name for group in app.registered_groups}:
        assert f"`b2ner {name}" in README
