"""README and documentation as the tests run them: blocks, what they print, and what may differ.

    ```sh, ```python             run in a folder with a copy of samples/, from top to bottom
    ```text right after one      what that block prints
    <!-- not run: REASON -->     before a block that is shown only
    <!-- ci: NAME -->            before a command that `.ci/run` takes from the README

`python -m tests.docs.pages PAGE...` runs pages and writes into them what their blocks print now.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from difflib import unified_diff
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "b2ner_cli" / "docs"
FENCED = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<shown>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
# The same on every machine: bfloat16, where a machine has it, differs in the last digits.
COMMAND = """#!{python}
import sys
from b2ner_cli.cli.app import main
if sys.argv[1:2] == ["tag"] and "--dtype" not in sys.argv:
    sys.argv += ["--dtype", "float32"]
main()
"""
TOLERANCE = 0.02
SCORE = re.compile(r'(?<="score":)\d\.\d+|(?<=,)[01]\.\d+$', re.MULTILINE)  # JSON's, and CSV's
MEASURED = re.compile(r"[\d.,]+(?= (?:docs/s|seconds)\b)|(?<=answers, )[\d.,]+(?= MB)")
OWN_FOLDER = re.compile(r"\S*/answers\.sqlite")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the page's line it begins in, and what it is shown to print, if anything."""

    line: int
    kind: str
    code: str
    mark: str
    shown: str | None

    @property
    def runs(self) -> bool:
        return self.kind in ("sh", "python") and not self.mark


def blocks(page: str) -> list[Block]:
    """The blocks of a page; output that belongs to one is no block of its own."""
    found = []
    for match in FENCED.finditer(page):
        runnable = match["kind"] in ("sh", "python")
        line = page.count("\n", 0, match.start("code"))
        shown = match["shown"] if runnable else None
        found.append(Block(line, match["kind"], match["code"], match["mark"] or "", shown))
    return found


def pages() -> list[Path]:
    """The README and every page of the documentation."""
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


class Desk:
    """A folder with the samples and a `b2ner` command, where the blocks of a page are run."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT / "samples", folder / "samples")
        tools = folder.parent / f"{folder.name}.bin"
        tools.mkdir()
        (tools / "b2ner").write_text(COMMAND.format(python=sys.executable))
        (tools / "b2ner").chmod(0o755)
        self.folder = folder
        places = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join(places),
            "PYTHONPATH": str(ROOT),
            "B2NER_CACHE": str(tools / "answers.sqlite"),
            "COLUMNS": "100",
        }

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Run a block; its outcome with what it printed."""
        shell = ["bash", "-euo", "pipefail", "-c"] if block.kind == "sh" else [sys.executable, "-c"]
        return subprocess.run(
            [*shell, block.code], cwd=self.folder, env=self.environment, capture_output=True,
            encoding="utf-8", timeout=900,
        )  # fmt: skip


def difference(shown: str, printed: str) -> str:
    """Where output is not what the page shows, "" if it is.

    Numbers count like all else; but scores may be off by TOLERANCE, and what was MEASURED on
    a machine, and where that keeps its files, is not compared. Nor are runs of spaces.
    """
    one, other = _plain(shown), _plain(printed)
    if SCORE.sub("_", one) != SCORE.sub("_", other):
        return "\n".join(unified_diff(one.split("\n"), other.split("\n"), "shown", "printed"))
    pairs = list(zip_longest(SCORE.findall(one), SCORE.findall(other), fillvalue="9"))
    apart = [pair for pair in pairs if abs(float(pair[0]) - float(pair[1])) > TOLERANCE]
    return f"scores shown and printed: {apart}" if apart else ""


def _plain(text: str) -> str:
    text = OWN_FOLDER.sub("answers.sqlite", MEASURED.sub("#", text))
    return "\n".join(" ".join(line.split()) for line in text.strip().split("\n"))


def check(page: Path, folder: Path) -> list[str]:
    """Run a page's blocks in an empty folder; what went otherwise than it says."""
    desk, wrong = Desk(folder), []
    for block in blocks(page.read_text(encoding="utf-8")):
        if not block.runs:
            continue
        outcome = desk.run(block)
        where = f"{page.name}:{block.line}"
        if outcome.returncode:
            wrong.append(f"{where}: exit code {outcome.returncode}\n{outcome.stderr}")
        elif block.shown is not None and (found := difference(block.shown, outcome.stdout)):
            wrong.append(f"{where}: {found}")
    return wrong


def rewrite(page: Path, folder: Path) -> str:
    """The text of a page with what its blocks print now, where it shows what they print."""
    desk, text = Desk(folder), page.read_text(encoding="utf-8")
    pieces, at = [], 0
    for match in FENCED.finditer(text):
        (block,) = blocks(match[0])
        if not block.runs:
            continue
        outcome = desk.run(block)
        if outcome.returncode:
            sys.exit(f"{page.name}: exit code {outcome.returncode}\n{block.code}{outcome.stderr}")
        if block.shown is not None:
            lines = [line.rstrip() for line in outcome.stdout.rstrip("\n").split("\n")]
            pieces += [text[at : match.start("shown")], "".join(f"{line}\n" for line in lines)]
            at = match.end("shown")
    return "".join(pieces) + text[at:]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "desk").mkdir()
            written = rewrite(Path(name), Path(place) / "desk")
        Path(name).write_text(written, encoding="utf-8")
