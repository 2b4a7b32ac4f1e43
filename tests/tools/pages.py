"""The parts of the documentation that are made from the code, between markers in its pages.

    settings   training.md: what `--set` takes, from the fields of the recipe
    tree       architecture.md: every module with the first sentence of its docstring

`python -m tests.tools.pages` writes them anew; tests/docs/test_generated.py compares.
"""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from b2ner_cli.training.recipes import Recipe

PACKAGE = Path(__file__).resolve().parents[2] / "b2ner_cli"
DOCS = PACKAGE / "docs"

# What stands beside modules and has no docstring; pages are those of `b2ner docs`.
DATA = {
    "datasets/task_configs/": "the task configs of the paper's code, by name",
    "labels/label_names.json": "other names for labels, by language",
    "labels/taxonomy.jsonl": "the labels there are, a line each",
    "models/mini_adapter/": "the adapter of mini, with its card and the record of its training",
    "training/replay.jsonl.gz": "documents that a fine-tuning replays, all of them CC0",
    "docs/tagged.svg": "the picture in the README",
}


def settings() -> str:
    """A table row for each setting: name, meaning, default, range."""
    rows = ["| setting | meaning | default | range |", "|---|---|---|---|"]
    for field in fields(Recipe):
        meaning, allowed = field.metadata["meaning"], field.metadata["range"]
        rows.append(f"| `{field.name}` | {meaning} | `{_spelled(field)}` | {allowed} |")
    return "\n".join(rows)


def fields(recipe: Any) -> Iterator[Any]:
    """The fields of a dataclass and of those in it; `--set` knows no nesting."""
    for field in dataclasses.fields(recipe):
        made = field.default_factory
        if dataclasses.is_dataclass(made):
            yield from fields(made)
        else:
            yield field


def _spelled(field: Any) -> str:
    return str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"


def tree() -> str:
    """The package's folders and files, a line each, as a block of text."""
    lines = [*_lines(PACKAGE, "")]
    width = max(len(name) for name, _ in lines) + 2
    listed = (f"{name:<{width}}{words}".rstrip() for name, words in lines)
    return "\n".join(["<!-- illustration -->", "```text", *listed, "```"])


def _lines(folder: Path, indent: str) -> Iterator[tuple[str, str]]:
    yield f"{indent}{folder.name}/", first_sentence(folder / "__init__.py")
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__pyc")))
    for path in inside:
        name = path.relative_to(PACKAGE).as_posix() + ("/" if path.is_dir() else "")
        if (path / "__init__.py").is_file():
            yield from _lines(path, indent + "  ")
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{indent}  {path.name}", first_sentence(path)
        elif path.suffix not in (".py", ".md"):
            yield f"{indent}  {name.removeprefix(f'{folder.name}/')}", DATA[name]


def first_sentence(module: Path) -> str:
    """The first sentence of a module's docstring, in one line."""
    said = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    paragraph = " ".join(said.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")


MADE = {"training.md": ("settings", settings), "architecture.md": ("tree", tree)}


def remade(page: str) -> str:
    """A page's text with its generated part made anew."""
    name, make = MADE[page]
    before, begin, rest = (DOCS / page).read_text("utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->\n")
    if not begin or not end:
        raise ValueError(f"{page} lacks its markers of {name}")
    return f"{before}{begin}\n{make()}\n\n{end}{after}"


if __name__ == "__main__":
    for page in MADE:
        (DOCS / page).write_text(remade(page), encoding="utf-8")
