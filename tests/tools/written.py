"""Documents written by hand with marks, checked and put into samples/written.

    python -m tests.tools.written check FILE...              say what is wrong with marked files
    python -m tests.tools.written add NER_en/written-fields FILE...    put them into a data set
    python -m tests.tools.written check samples/written      the same of all data sets there

A marked document is a few header lines, its text, and a line `---`:

    #labels: person; bee species; place; river
    #other: place = location, area | bee species = species
    #about: person = somebody by name | bee species = a species or strain of bees | ...
    Has anyone in [Thurgau|place] tried [Carniolan bees|bee species]?
    ---

Refused are labels not listed, marks that are broken, overlap or have blanks at their edges, a
marked surface that is said again without a mark, names that are given twice, descriptions of some
labels but not of all, and texts that are nearly the same as another one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet

WRITTEN = Path(__file__).resolve().parents[2] / "samples" / "written"
_MARK = re.compile(r"\[([^\[\]|]*)\|([^\[\]|]*)\]")
_HEAD = re.compile(r"#(field|register|labels|other|about):\s*(.*)")
_ALIKE = 0.6  # of the five-letter pieces of the shorter of two texts
_COMMON = 12  # texts: a piece that more of them hold says nothing


def marked(path: Path) -> Iterator[tuple[str, dict]]:
    """The rows of a marked file, in the layout of B2NERD, each with the place it came from."""
    head: dict[str, str] = {}
    body: list[str] = []
    begin = 1
    for number, line in enumerate([*path.read_text("utf-8-sig").split("\n"), "---"], 1):
        found = None if body else _HEAD.fullmatch(line)
        if line.strip() == "---":
            if head or any(map(str.strip, body)):
                yield f"{path}:{begin}", _row(head, "\n".join(body).strip("\n"))
            head, body, begin = {}, [], number + 1
        elif found:
            head[found[1]] = found[2].strip()
        elif line.strip() or body:
            body.append(line.rstrip())


def _row(head: dict[str, str], body: str) -> dict:
    text, at, entities = "", 0, []
    for mark in _MARK.finditer(body):
        text += body[at : mark.start()]
        place = [len(text), len(text) + len(mark[1])]
        entities.append({"name": mark[1], "type": mark[2].strip(), "pos": place})
        text, at = text + mark[1], mark.end()
    row: dict = {
        "sentence": text + body[at:],
        "labels": [name.strip() for name in head.get("labels", "").split(";") if name.strip()],
    }
    if others := _pairs(head.get("other", "")):
        row["other_names"] = {
            label: [name.strip() for name in re.split("[,，、]", names) if name.strip()]
            for label, names in others.items()
        }
    if about := _pairs(head.get("about", "")):
        row["descriptions"] = about
    return row | {"entities": entities}


def _pairs(line: str) -> dict[str, str]:
    parts = (part.partition("=") for part in line.split("|") if part.strip())
    return {key.strip(): value.strip() for key, _, value in parts}


def faults(row: dict) -> Iterator[str]:
    """What is wrong with a row, in words."""
    text, labels = row["sentence"], row["labels"]
    others, about = row.get("other_names", {}), row.get("descriptions", {})
    try:
        LabelSet(tuple(labels))
        LabelSet((*labels, *dict.fromkeys(name for names in others.values() for name in names)))
    except UsageError as error:
        yield error.message
    if any(sign in text for sign in "[]|") and row.get("marked"):
        yield "a bracket or bar is left in the text: a mark is broken"
    end = 0
    for entity in row["entities"]:
        start, stop = entity["pos"]
        name = entity["name"]
        if entity["type"] not in labels:
            yield f"{name!r} is {entity['type']!r}, which is not listed"
        if text[start:stop] != name or not name or name != name.strip() or set(";\n") & set(name):
            yield f"{name!r} is no surface at {start}"
        if start < end:
            yield f"{name!r} overlaps the entity before it"
        end = stop
    yield from (f"other name of {label!r}, not listed" for label in others if label not in labels)
    yield from (f"describes {label!r}, not listed" for label in about if label not in labels)
    yield from (f"describes {label!r} with nothing" for label, said in about.items() if not said)
    if missing := [label for label in labels if about and label not in about]:
        yield f"describes others, not {', '.join(missing)}"
    yield from _repeats(row)


def _repeats(row: dict) -> Iterator[str]:
    """Marked surfaces that are said again, whole words in the same letters, without a mark."""
    text = row["sentence"]
    spans = [entity["pos"] for entity in row["entities"]]
    for name in {entity["name"] for entity in row["entities"] if len(entity["name"]) > 1}:
        left = r"(?<![^\W_])" if name[0] < "\u2e80" and name[0].isalnum() else ""
        right = r"(?![^\W_])" if name[-1] < "\u2e80" and name[-1].isalnum() else ""
        for found in re.finditer(left + re.escape(name) + right, text):
            if not any(start < found.end() and found.start() < stop for start, stop in spans):
                yield f"{name!r} is said again at {found.start()} without a mark"


def alike(rows: Iterable[tuple[str, dict]]) -> Iterator[tuple[str, str]]:
    """Rows that are nearly the same text as one before: where both stand."""
    holding: dict[str, list[int]] = {}
    seen: list[tuple[str, int]] = []
    for place, row in rows:
        text = re.sub(r"\W+", " ", row["sentence"].lower())
        pieces = {text[at : at + 5] for at in range(max(1, len(text) - 4))}
        shared: dict[int, int] = {}
        for piece in pieces:
            known = holding.setdefault(piece, [])
            if len(known) <= _COMMON:
                for other in known:
                    shared[other] = shared.get(other, 0) + 1
                known.append(len(seen))
        for other, count in shared.items():
            if count >= _ALIKE * min(len(pieces), seen[other][1]):
                yield place, seen[other][0]
        seen.append((place, len(pieces)))


def rows_of(path: Path) -> Iterator[tuple[str, dict]]:
    """The rows of a marked file, of a train.json, or of all data sets in a folder."""
    if path.is_dir():
        for each in sorted([*path.glob("**/train.json"), *path.glob("**/dev.json")]):
            yield from rows_of(each)
    elif path.suffix == ".json":
        rows = json.loads(path.read_text("utf-8"))
        yield from ((f"{path}[{number}]", row) for number, row in enumerate(rows))
    else:
        yield from ((place, {**row, "marked": True}) for place, row in marked(path))


def add(folder: Path, rows: list[dict], dev: int) -> None:
    """Put rows behind those of a data set, one a line, and its new labels behind the others.

    Every row with a number that `dev` divides goes into the dev split; 0: none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "labels.json"
    labels = json.loads(listed.read_text("utf-8")) if listed.exists() else []
    labels = list(dict.fromkeys([*labels, *sorted({n for row in rows for n in row["labels"]})]))
    listed.write_text(json.dumps(labels, ensure_ascii=False) + "\n", "utf-8")
    bare = [{key: value for key, value in row.items() if key != "marked"} for row in rows]
    held = [dev > 0 and number % dev == 0 for number in range(len(bare))]
    for split, wanted in (("train", False), ("dev", True)):
        path = folder / f"{split}.json"
        kept = json.loads(path.read_text("utf-8")) if path.exists() else []
        kept += [row for row, is_dev in zip(bare, held, strict=True) if is_dev == wanted]
        if kept:
            lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in kept)
            path.write_text(f"[\n{lines}\n]\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "add"):
        command = commands.add_parser(name)
        if name == "add":
            command.add_argument("set", metavar="NER_en/NAME")
            command.add_argument("--dev", type=int, default=0, metavar="N", help="one in N")
        command.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    found = [item for path in given.files for item in rows_of(path)]
    wrong = {place: list(faults(row)) for place, row in found}
    others = [] if given.command == "check" else list(rows_of(WRITTEN))
    for place, other in alike([*others, *found]):
        if place in wrong:
            wrong[place].append(f"nearly the same as {other}")
    for place, said in wrong.items():
        for each in said:
            print(f"{place}: {each}")
    good = [row for place, row in found if not wrong[place]]
    names = {name for row in good for name in row["labels"]}
    print(f"{len(good)} of {len(found)} documents are good, with {len(names)} labels")
    if given.command == "add":
        add(WRITTEN / given.set, good, given.dev)
    elif len(good) < len(found):
        sys.exit(1)


if __name__ == "__main__":
    main()
