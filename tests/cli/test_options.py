"""Options that go together are one parameter of a command, and ordinary options to who types."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import b2ner_cli
from b2ner_cli.cli.app import app
from b2ner_cli.cli.options import AnswerOptions, LoadOptions, grouped
from b2ner_cli.errors import UsageError
from b2ner_cli.tagging.settings import Settings

PACKAGE = Path(b2ner_cli.__file__).parent


@dataclass(frozen=True)
class Shared:
    """A group as commands take one."""

    colour: Annotated[str, typer.Option("--colour", "-c", help="Which.")] = "red"
    size: int = 3


def command(seen):
    toy = typer.Typer()

    @toy.command()
    @grouped
    def paint(
        name: str, *, shared: Shared, often: Annotated[bool, typer.Option("--often")] = False
    ) -> None:
        """Paint something."""
        seen.append((name, shared, often))

    return toy


def test_a_group_is_its_options_in_its_place():
    seen = []
    shown = CliRunner().invoke(command(seen), ["--help"]).output
    assert "Paint something." in shown
    options = re.findall(r"--(colour|size|often)\b", shown)
    assert list(dict.fromkeys(options)) == ["colour", "size", "often"]
    for line, expected in [
        (["wall"], ("wall", Shared(), False)),
        (["wall", "--often", "-c", "blue", "--size", "7"], ("wall", Shared("blue", 7), True)),
    ]:
        assert CliRunner().invoke(command(seen), line).exit_code == 0
        assert seen[-1] == expected


def test_what_models_are_asked_with_is_what_settings_say():
    assert LoadOptions.__slots__ == ("model", "adapter", "revision", "device", "dtype")
    assert AnswerOptions().settings() == Settings()
    given = AnswerOptions(
        "m", "a", "r", "cpu", "float16", "auto", "4bit", "plain", "10", 20, None, True
    )
    expected = Settings("m", "a", "r", "cpu", "float16", "auto", "4bit", "plain", 20, 10, True)
    assert given.settings() == expected
    with pytest.raises(UsageError, match="no engine 'x'"):
        AnswerOptions(engine="x").settings()


def options_of(group):
    """All options of a command and of those below it."""
    named = {opt for p in group.params for opt in (*p.opts, *p.secondary_opts)}
    for below in getattr(group, "commands", {}).values():
        named |= options_of(below)
    return named


# Options of other programs that messages name.
OTHERS = {"--force-reinstall", "--no-deps", "--cpu"}  # pip and accelerate


def test_every_option_that_the_package_names_is_there():
    known = options_of(typer.main.get_command(app)) | OTHERS | {"--help"}
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*\b", node.value):
                    named.setdefault(option, f"{path.name}:{node.lineno}")
    assert len(named) > 40
    assert {option: place for option, place in named.items() if option not in known} == {}
