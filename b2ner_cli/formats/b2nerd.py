"""Data sets in B2NERD layout: a folder a task and language, in it a folder a data set.

    NER_en/games/labels.json   ["player", "game"]
    NER_en/games/train.json    [{"sentence": "Moon plays StarCraft II .", "entities":
                                 [{"name": "Moon", "type": "player", "pos": [0, 4]}]}]

Labels stay as they are and in file order. `pos` is half-open in code points and may be missing;
such a mention has no place here and is located elsewhere. Relations and events stay in
`Document.meta`. Whoever trains on a set must be able to trust it, so what does not fit is a
DataError with its file and row, unless the caller takes such problems as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from b2ner_cli.document import Document, Entity, Mention
from b2ner_cli.errors import DataError
from b2ner_cli.formats.fields import json_type

SPLITS = ("train", "dev", "test")
DROPPED = ("", "NA")  # types that mean: no entity


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set: where it is, what it is called, its labels and which splits it has."""

    task: str  # NER_en
    name: str
    language: str  # en
    path: Path
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of event types

    @property
    def kind(self) -> str:
        """The task without its language: NER, RE or EE."""
        return self.task.partition("_")[0]


def datasets(root: str | Path) -> list[DataSet]:
    """Find the data sets under a folder, which may also be one task's or one data set's own."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "name a folder of data sets in B2NERD layout")
    folders = [root, *root.glob("*/"), *root.glob("*/*/")]
    found = [_dataset(folder) for folder in folders if _splits(folder)]
    if not found:
        raise DataError(
            f"{root}: no data sets in it",
            "looked for TASK_LANG/NAME/{train,dev,test}.json, such as NER_en/games/test.json",
        )
    return sorted(found, key=lambda dataset: (dataset.task, dataset.name))


def _splits(folder: Path) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if (folder / f"{split}.json").is_file())


def _dataset(folder: Path) -> DataSet:
    task = folder.resolve().parent.name
    parts = task.split("_")
    path = folder / "labels.json"
    if not path.is_file():
        raise DataError(f"{path}: missing", 'list the data set\'s labels: ["person", ...]')
    labels = _load(path)
    roles: dict[str, tuple[str, ...]] = {}
    if isinstance(labels, dict):
        for label, names in labels.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise DataError(f"{path}: the roles of {label!r} are not a list of names")
            roles[label] = tuple(names)
        labels = list(labels)
    _check_labels(labels, str(path))
    return DataSet(
        task=task,
        name=folder.resolve().name,
        language=parts[1] if len(parts) > 1 else "en",
        path=folder,
        labels=tuple(labels),
        splits=_splits(folder),
        roles=roles,
    )


def _check_labels(labels: object, where: str) -> None:
    if not isinstance(labels, list) or not labels:
        found = "an empty list" if labels == [] else json_type(labels)
        raise DataError(f"{where}: {found}, not a list of labels")
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{where}: {label!r} is not a label")


def split_path(dataset: DataSet, split: str) -> Path:
    """Name a split's file; dev stands in for a missing train, nothing for a missing test."""
    if split == "train" and split not in dataset.splits:
        split = "dev"
    if split not in dataset.splits:
        raise DataError(f"{dataset.path}: no {split}.json", f"it has {', '.join(dataset.splits)}")
    return dataset.path / f"{split}.json"


def read_split(
    dataset: DataSet, split: str, on_problem: Callable[[str], None] | None = None
) -> Iterator[Document]:
    """Read a split's documents; ids are row numbers from 0.

    Without `on_problem` the first misfit between a row and its labels or offsets raises; with it
    each is handed over in words, and the mention stays, without a place if that was wrong.
    """
    path = split_path(dataset, split)
    rows = _load(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: {json_type(rows)}, not a list of rows")
    for number, row in enumerate(rows):
        yield _document(dataset, row, number, f"{path}:{number}", on_problem or _refuse)


def _refuse(problem: str) -> None:
    raise DataError(problem, "correct the row, or the labels.json beside it")


def _document(
    dataset: DataSet, row: Any, number: int, origin: str, report: Callable[[str], None]
) -> Document:
    if not isinstance(row, dict):
        raise DataError(f"{origin}: {json_type(row)}, not an object")
    text = row.get("sentence")
    if not isinstance(text, str):
        raise DataError(f"{origin}: 'sentence' is {json_type(text)}, not a string")
    labels = row.get("labels")
    if labels is not None:
        _check_labels(labels, origin)
    annotations = row.get("entities")
    if annotations is None and dataset.kind == "EE":
        entities = mentions = None
    elif isinstance(annotations, list):
        # Only where entities are the task are their types the labels.
        known = set(labels or dataset.labels) if dataset.kind == "NER" else None
        pairs = list(_annotations(annotations, text, known, origin, report))
        mentions = tuple(mention for mention, _ in pairs)
        entities = tuple(entity for _, entity in pairs if entity)
    else:
        raise DataError(f"{origin}: 'entities' is {json_type(annotations)}, not a list")
    return Document(
        id=str(number),
        text=text,
        entities=entities,
        mentions=mentions,
        labels=tuple(labels) if labels else None,
        meta=row,
        text_field="sentence",
        origin=origin,
    )


def _annotations(
    annotations: list[Any],
    text: str,
    known: set[str] | None,
    origin: str,
    report: Callable[[str], None],
) -> Iterator[tuple[Mention, Entity | None]]:
    for item in annotations:
        name, label = _name_and_type(item, origin)
        if label in DROPPED:
            continue
        if known is not None and label not in known:
            report(f"{origin}: type {label!r} is not among the labels")
        pos, entity = item.get("pos"), None
        if pos:
            if _fits(pos, name, text):
                entity = Entity(pos[0], pos[1], label, name, how="given")
            else:
                report(f"{origin}: pos {pos!r} of {name!r} is {_at(pos, text)} in the sentence")
        yield Mention(label, name), entity


def _name_and_type(item: object, origin: str) -> tuple[str, str]:
    if not isinstance(item, dict):
        raise DataError(f"{origin}: an entity is {json_type(item)}, not an object")
    for key in ("name", "type"):
        if not isinstance(item.get(key), str):
            raise DataError(f"{origin}: an entity's {key!r} is {json_type(item.get(key))}")
    if not item["name"] and item["type"] not in DROPPED:
        raise DataError(f"{origin}: an entity's 'name' is empty")
    return item["name"], item["type"]


def _is_span(pos: object) -> bool:
    return isinstance(pos, list) and len(pos) == 2 and all(type(edge) is int for edge in pos)


def _fits(pos: Any, name: str, text: str) -> bool:
    return _is_span(pos) and 0 <= pos[0] < pos[1] and text[pos[0] : pos[1]] == name


def _at(pos: Any, text: str) -> str:
    return repr(text[max(pos[0], 0) : max(pos[1], 0)]) if _is_span(pos) else "no span"


def _load(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    try:
        return orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: malformed JSON at column {error.colno}: {error.msg}"
        ) from error
