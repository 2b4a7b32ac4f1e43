"""Data sets in B2NERD layout: a folder a task and language, in it a folder a data set.

    NER_en/games/labels.json   ["player", "game"]
    NER_en/games/train.json    [{"sentence": "Moon plays StarCraft II .", "entities":
                                 [{"name": "Moon", "type": "player", "pos": [0, 4]}]}]

They stand in a folder or a zip archive, as released: B2NERD_data.zip has the collections B2NERD,
B2NERD_all and B2NERD_raw, each of them such folders. Rows are read one at a time, whatever the
size of the file. Labels stay as they are and in file order. `pos` is half-open in code points and
may be missing; such a mention has no place here and is located elsewhere. Relations and events
stay in `Document.meta`. Whoever trains on a set must be able to trust it, so what does not fit is
a DataError with its file and row, unless the caller takes such problems as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from b2ner_cli.core.document import BadRecord, Document, Entity, Mention
from b2ner_cli.datasets import folders
from b2ner_cli.datasets.folders import Place
from b2ner_cli.errors import DataError
from b2ner_cli.formats import json_array
from b2ner_cli.formats.fields import json_type
from b2ner_cli.formats.json_array import ArrayError, Element

SPLITS = ("train", "dev", "test")
DROPPED = ("", "NA")  # types that mean: no entity
CHOSEN = "B2NERD"  # the collection that is taken where there are several
_DEEPEST = 4  # folders down to a data set: an archive's own, collection, task, set


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set: where it is, what it is called, its labels and which splits it has."""

    task: str  # NER_en
    name: str
    language: str  # en
    path: Place
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of event types

    @property
    def kind(self) -> str:
        """The task without its language: NER, RE or EE."""
        return self.task.partition("_")[0]

    @property
    def key(self) -> str:
        """Task and name in one, as options and task configs call a set."""
        return f"{self.task}_{self.name}"


def collections(root: str | Path) -> dict[str, list[tuple[Place, str, str]]]:
    """Find the folders of data sets, their tasks and names, by the collection they are in.

    A collection is the folder above the tasks; "" stands for `root` itself, which may also be one
    task's folder or one data set's own. There is at least one.
    """
    top, above = folders.root(root)
    found: dict[str, list[tuple[Place, str, str]]] = {}
    for folder, names in _folders(top, ()):
        task, name = ("", "", *above, *names)[-2:]
        collection = names[-3] if len(names) > 2 else ""
        found.setdefault(collection, []).append((folder, task, name))
    if not found:
        shown = ", ".join(each.name for each in folders.children(top)[:8]) or "nothing"
        raise DataError(
            f"{root}: no data sets in it; it has {shown}",
            "looked for TASK_LANG/NAME/{train,dev,test}.json, such as NER_en/games/test.json",
        )
    return found


def _folders(folder: Place, names: tuple[str, ...]) -> Iterator[tuple[Place, tuple[str, ...]]]:
    if _splits(folder):
        yield folder, names
    elif len(names) < _DEEPEST:
        for child in folders.children(folder):
            if child.is_dir():
                yield from _folders(child, (*names, child.name))


def choose(root: str | Path, collection: str | None = None) -> str:
    """Say which collection under `root` is meant: the one named, else B2NERD, else the only one."""
    found = collections(root)
    named = ", ".join(sorted(name for name in found if name))
    if collection is not None:
        if collection not in found:
            hint = f"it has {named}" if named else "its data sets are in none; leave the option out"
            raise DataError(f"{root}: no collection {collection!r} in it", hint)
        return collection
    for usual in (CHOSEN, ""):
        if usual in found:
            return usual
    if len(found) > 1:
        raise DataError(f"{root}: holds several collections: {named}", "choose with --collection")
    return next(iter(found))


def within(root: str | Path, collection: str) -> Path:
    """The folder of a collection, which may stand in an archive; DataError if it is not there."""
    folder, _, _ = collections(root)[choose(root, collection)][0]
    return Path(str(folder)).parent.parent


def datasets(
    root: str | Path,
    collection: str | None = None,
    on_problem: Callable[[str], None] | None = None,
) -> list[DataSet]:
    """Find the data sets of a collection in a folder or archive, by task and name.

    A set whose labels.json cannot be used raises, unless `on_problem` takes it in words; the set
    then comes without labels.
    """
    chosen = collections(root)[choose(root, collection)]
    found = [dataset(*each, on_problem) for each in chosen]
    return sorted(found, key=lambda each: (each.task, each.name))


def _splits(folder: Place) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if (folder / f"{split}.json").is_file())


def dataset(
    folder: Place, task: str, name: str, on_problem: Callable[[str], None] | None = None
) -> DataSet:
    """Look at one data set's folder. A labels.json that cannot be used is a problem, or raises."""
    labels: tuple[str, ...] = ()
    roles: dict[str, tuple[str, ...]] = {}
    try:
        labels, roles = _labels(folder / "labels.json")
    except DataError as error:
        if on_problem is None:
            raise
        on_problem(error.message)
    _, _, language = task.partition("_")
    language = language.partition("_")[0] or "en"
    return DataSet(task, name, language, folder, labels, _splits(folder), roles)


def _labels(path: Place) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Read a labels.json: labels in their order, and of event types their roles."""
    if not path.is_file():
        raise DataError(f"{path}: missing", 'list the data set\'s labels: ["person", ...]')
    labels = load_json(path)
    roles: dict[str, tuple[str, ...]] = {}
    if isinstance(labels, dict):
        for label, names in labels.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise DataError(f"{path}: the roles of {label!r} are not a list of names")
            roles[label] = tuple(names)
        labels = list(labels)
    _check_labels(labels, str(path))
    return tuple(labels), roles


def _check_labels(labels: object, where: str) -> None:
    if not isinstance(labels, list) or not labels:
        found = "an empty list" if labels == [] else json_type(labels)
        raise DataError(f"{where}: {found}, not a list of labels")
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{where}: {label!r} is not a label")


def split_path(dataset: DataSet, split: str) -> Place:
    """Name a split's file; dev stands in for a missing train, nothing for a missing test."""
    if split == "train" and split not in dataset.splits:
        split = "dev"
    if split not in dataset.splits:
        raise DataError(f"{dataset.path}: no {split}.json", f"it has {', '.join(dataset.splits)}")
    return dataset.path / f"{split}.json"


def read_split(
    dataset: DataSet, split: str, on_problem: Callable[[Misfit], None] | None = None
) -> Iterator[Document]:
    """Read a split's documents; ids are row numbers from 0.

    Without `on_problem` the first misfit between a row and its labels or offsets raises; with it
    each is handed over in words, and the mention stays, without a place if that was wrong. A row
    that is no document raises either way.
    """
    for item in read_file(dataset, split_path(dataset, split), on_problem or _refuse):
        if isinstance(item, BadRecord):
            raise DataError(f"{item.origin}: {item.message}", item.hint)
        yield item


def read_file(
    dataset: DataSet, path: Place, on_problem: Callable[[Misfit], None]
) -> Iterator[Document | BadRecord]:
    """Read the rows of one file of a data set; one that is no document is a BadRecord.

    Where the file itself breaks off, a last BadRecord says so.
    """
    number = -1
    with folders.opened(path) as stream:
        try:
            for number, element in enumerate(json_array.elements(stream)):
                yield _row(dataset, element, number, path, on_problem)
        except ArrayError as error:
            where = f"line {error.line}, behind row {number}: " if number >= 0 else ""
            yield BadRecord(str(path), where + error.message)


def count_rows(path: Place) -> int:
    """Count the rows of a file without reading what is in them; a broken end is left out."""
    count = 0
    with folders.opened(path) as stream, suppress(ArrayError):
        for _ in json_array.elements(stream):
            count += 1
    return count


def _row(
    dataset: DataSet,
    element: Element,
    number: int,
    path: Place,
    on_problem: Callable[[Misfit], None],
) -> Document | BadRecord:
    origin = f"{path}:{number}"
    if element.problem:
        return BadRecord(origin, element.problem)
    try:
        row = orjson.loads(element.raw)
        return _document(dataset, row, number, origin, on_problem)
    except orjson.JSONDecodeError as error:
        column = error.colno + (element.column - 1 if error.lineno == 1 else 0)
        place = f"line {element.line + error.lineno - 1}, column {column}"
        return BadRecord(origin, f"malformed JSON at {place}: {error.msg}")
    except RowError as error:
        return BadRecord(origin, error.message, error.hint)


class RowError(DataError):
    """A row that is no document."""


class Misfit(str):
    """What does not fit within a row, in words; `kind` is type or offsets."""

    kind: str

    def __new__(cls, kind: str, words: str) -> Self:
        """Put a problem in words that begin with its file and row."""
        misfit = super().__new__(cls, words)
        misfit.kind = kind
        return misfit


def _refuse(problem: str) -> None:
    raise DataError(problem, "correct the row, or the labels.json beside it")


def _document(
    dataset: DataSet, row: Any, number: int, origin: str, report: Callable[[Misfit], None]
) -> Document:
    if not isinstance(row, dict):
        raise RowError(f"{json_type(row)}, not an object")
    text = row.get("sentence")
    if not isinstance(text, str):
        raise RowError(f"'sentence' is {json_type(text)}, not a string")
    labels = row.get("labels")
    if labels is not None:
        try:
            _check_labels(labels, "'labels'")
        except DataError as error:
            raise RowError(error.message) from None
    annotations = row.get("entities")
    if annotations is None and dataset.kind != "NER":
        entities = mentions = None
    elif isinstance(annotations, list):
        # Only where entities are the task are their types the labels.
        known = set(labels or dataset.labels) if dataset.kind == "NER" else None
        known = known or None
        pairs = list(_annotations(annotations, text, known, origin, report))
        mentions = tuple(mention for mention, _ in pairs)
        entities = tuple(entity for _, entity in pairs if entity)
    else:
        raise RowError(f"'entities' is {json_type(annotations)}, not a list")
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
    report: Callable[[Misfit], None],
) -> Iterator[tuple[Mention, Entity | None]]:
    for item in annotations:
        name, label = _name_and_type(item)
        if label in DROPPED:
            continue
        if known is not None and label not in known:
            report(Misfit("type", f"{origin}: type {label!r} is not among the labels"))
        pos, entity = item.get("pos"), None
        if pos:
            if _fits(pos, name, text):
                entity = Entity(pos[0], pos[1], label, name, how="given")
            else:
                found = f"{origin}: pos {pos!r} of {name!r} is {_at(pos, text)} in the sentence"
                report(Misfit("offsets", found))
        yield Mention(label, name), entity


def _name_and_type(item: object) -> tuple[str, str]:
    if not isinstance(item, dict):
        raise RowError(f"an entity is {json_type(item)}, not an object")
    for key in ("name", "type"):
        if not isinstance(item.get(key), str):
            raise RowError(f"an entity's {key!r} is {json_type(item.get(key))}")
    if not item["name"] and item["type"] not in DROPPED:
        raise RowError("an entity's 'name' is empty")
    return item["name"], item["type"]


def _is_span(pos: object) -> bool:
    return isinstance(pos, list) and len(pos) == 2 and all(type(edge) is int for edge in pos)


def _fits(pos: Any, name: str, text: str) -> bool:
    return _is_span(pos) and 0 <= pos[0] < pos[1] and text[pos[0] : pos[1]] == name


def _at(pos: Any, text: str) -> str:
    return repr(text[max(pos[0], 0) : max(pos[1], 0)]) if _is_span(pos) else "no span"


def load_json(path: Place) -> Any:
    """Read a file of JSON; one that cannot be read is a DataError with its place."""
    with folders.opened(path) as stream:
        content = stream.read()
    try:
        return orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: malformed JSON at column {error.colno}: {error.msg}"
        ) from error
