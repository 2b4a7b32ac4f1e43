"""The same documents in another format, in one file or in a folder of data sets.

    b2nerd   {"sentence", "entities": [{"name", "type", "pos"}]}, in one array
    jsonl    {"id", "text", "entities": [{"start", "end", "label", "text"}]}
    spacy    {"id", "text", "spans": [{"start", "end", "label"}]}, as Prodigy has it
    conll    a token and its BIO2 tag a line
    parquet  the columns of jsonl

Names without a place are placed by `splits.gold`; what the text does not hold stays under
`unlocated`, or, where a format has no room for it, is counted as lost. In a folder a set is
TASK/NAME/SPLIT.SUFFIX with its labels.json, in any format; rows that come from B2NERD's layout
and stay in it are written as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from b2ner_cli.core.document import Document, Entity, Result
from b2ner_cli.datasets.b2nerd import SPLITS, DataSet
from b2ner_cli.datasets.splits import Split, gold
from b2ner_cli.errors import OutputError, UsageError
from b2ner_cli.formats import conll, open_output, parquet

SUFFIXES = {
    "b2nerd": ".json",
    "jsonl": ".jsonl",
    "spacy": ".jsonl",
    "conll": ".conll",
    "parquet": ".parquet",
}
_OURS = ("id", "text", "sentence", "entities", "spans", "labels", "unlocated", "answer")

SplitContent = tuple[
    Split, Iterable[Document]
]  # what a split is to hold; its file is not looked at


@dataclass(slots=True)
class Written:
    """What was written, and how many annotations the format could not hold."""

    documents: int = 0
    entities: int = 0
    files: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)


def own_format(split: Split) -> str:
    """The format that a split's documents are written in if no other is asked for."""
    return "jsonl" if split.format == "csv" else split.format


def check_target(kind: str, target: Path, source: Path, *, folder: bool, force: bool) -> None:
    """Refuse a target that is there already, or that is what is read."""
    if kind not in SUFFIXES:
        raise UsageError(f"no format {kind!r}", f"formats to write: {', '.join(SUFFIXES)}")
    here, there = target.resolve(), source.resolve()
    if here == there or here in there.parents or (folder and there in here.parents):
        raise UsageError(f"{target} is where {source} is read", "name another place with -o")
    if not folder and target.is_dir():
        raise OutputError(f"{target}: a folder", "name a file in it")
    if folder and target.exists() and not target.is_dir():
        raise OutputError(f"{target}: a file", "name a folder for data sets")
    if folder and not force and target.is_dir() and any(target.iterdir()):
        raise OutputError(f"{target} is there already", "--force overwrites the sets in it")


def write_folder(parts: Iterable[SplitContent], target: Path, kind: str) -> Written:
    """Write splits under a folder, set by set as they come, each with its labels.json."""
    written = Written()
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for split, documents in parts:
        dataset = split.dataset
        folder = target / dataset.task / dataset.name
        key = (dataset.task, dataset.name)
        if key not in labels:
            _make(folder)
            labels[key] = dict.fromkeys(dataset.labels)
        seen = labels[key] if not dataset.labels else {}
        path = folder / f"{split.name}{SUFFIXES[kind]}"
        _write_file(_noting(documents, seen), path, kind, written, force=True)
        _write_labels(folder / "labels.json", dataset, list(labels[key]))
    return written


def write_file(documents: Iterable[Document], target: Path, kind: str, *, force: bool) -> Written:
    """Write documents to one file."""
    written = Written()
    _write_file(documents, target, kind, written, force)
    return written


def _make(folder: Path) -> None:
    """Make a set's folder; splits of an earlier set of its name are taken away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            for suffix in SUFFIXES.values():
                (folder / f"{split}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {(error.strerror or str(error)).lower()}") from error


def _noting(documents: Iterable[Document], seen: dict[str, None]) -> Iterator[Document]:
    """Pass documents on, keeping the labels that they name."""
    for document in documents:
        seen.update(dict.fromkeys(document.labels or ()))
        seen.update(dict.fromkeys(mention.label for mention in document.mentions or ()))
        yield document


def _write_labels(path: Path, dataset: DataSet, labels: list[str]) -> None:
    roles = {label: list(names) for label, names in dataset.roles.items()}
    content = orjson.dumps(roles or labels, option=orjson.OPT_INDENT_2)
    with open_output(str(path), format="json", force=True) as output:
        output.write(content + b"\n")


def _write_file(
    documents: Iterable[Document], path: Path, kind: str, written: Written, force: bool
) -> None:
    written.files.append(str(path))
    if kind == "parquet":
        if path.exists() and not force:
            raise OutputError(f"{path} is there already", "--force overwrites it")
        parquet.write(_records(documents, written), path)
        return
    first, between, last = (b"[\n", b",\n", b"\n]\n") if kind == "b2nerd" else (b"", b"", b"")
    with open_output(str(path), format=kind, force=force) as output:
        output.write(first)
        lead = b""
        for row in _encoded(documents, kind, written):
            output.write(lead + row)
            lead = between
        output.write(last)


def _encoded(documents: Iterable[Document], kind: str, written: Written) -> Iterator[bytes]:
    if kind == "conll":
        yield from _tagged(documents, written)
        return
    encode = {"b2nerd": _row, "spacy": _spans, "jsonl": _jsonl}[kind]
    for document in documents:
        yield encode(document, written)


def _tagged(documents: Iterable[Document], written: Written) -> Iterator[bytes]:
    for document in documents:
        entities, unlocated = gold(document)
        plain = Document(document.id, document.text)
        dropped: list[Entity] = []
        encoded = conll.encode(Result(plain, entities), on_dropped=dropped.append)
        written.lost["entities that tags cannot show"] += len(dropped)
        written.lost["names that are not in the text"] += len(unlocated)
        _count(document, written)
        yield encoded


def _count(document: Document, written: Written) -> None:
    written.documents += 1
    written.entities += len(document.mentions or ())


def record(document: Document) -> dict[str, Any]:
    """A document as our JSON lines have it: annotation by offsets, and its other keys behind."""
    entities, unlocated = gold(document)
    made: dict[str, Any] = {
        "id": document.id,
        "text": document.text,
        "entities": [
            {"start": e.start, "end": e.end, "label": e.label, "text": e.text} for e in entities
        ],
    }
    if unlocated:
        made["unlocated"] = [{"label": m.label, "text": m.surface} for m in unlocated]
    if document.labels:
        made["labels"] = list(document.labels)
    return made | {key: value for key, value in document.meta.items() if key not in _OURS}


def _records(documents: Iterable[Document], written: Written) -> Iterator[Mapping[str, Any]]:
    for document in documents:
        _count(document, written)
        made = record(document)
        written.lost["fields other than those of the columns"] += len(
            made.keys() - {"id", "text", "entities", "unlocated", "labels"}
        )
        yield made


def _jsonl(document: Document, written: Written) -> bytes:
    _count(document, written)
    return orjson.dumps(record(document)) + b"\n"


def _spans(document: Document, written: Written) -> bytes:
    _count(document, written)
    made = record(document)
    spans = [{key: each[key] for key in ("start", "end", "label")} for each in made["entities"]]
    written.lost["names that are not in the text"] += len(made.pop("unlocated", ()))
    made = {("spans" if key == "entities" else key): value for key, value in made.items()}
    return orjson.dumps(made | {"spans": spans}) + b"\n"


def _row(document: Document, written: Written) -> bytes:
    _count(document, written)
    if document.text_field == "sentence" and document.meta:
        return orjson.dumps(document.meta)
    entities, unlocated = gold(document)
    row: dict[str, Any] = {"sentence": document.text, "entities": []}
    for entity in entities:
        place = [entity.start, entity.end]
        row["entities"].append({"name": entity.text, "type": entity.label, "pos": place})
    for mention in unlocated:
        row["entities"].append({"name": mention.surface, "type": mention.label})
    if document.labels:
        row["labels"] = list(document.labels)
    if document.id not in (document.origin, str(written.documents - 1)):
        row["id"] = document.id
    return orjson.dumps(row)
