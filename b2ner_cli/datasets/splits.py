"""What there is to read: the splits of data sets, each with its annotated documents.

    B2NERD_data.zip               every split of every set in the collection
    folder/NER_en/games/train.X   the same for X = json, jsonl, conll, parquet
    reviews.jsonl                 one split: NER_en, reviews, train

A split is read from its file each time it is asked, a document at a time, so that whoever needs
two looks at a data set takes two. Names without a place are looked for in the text by `gold`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import xxhash

from b2ner_cli import formats
from b2ner_cli.core import grounding
from b2ner_cli.core.document import BadRecord, Document, Entity, Mention
from b2ner_cli.datasets import b2nerd, folders
from b2ner_cli.datasets.b2nerd import SPLITS, DataSet, Misfit
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.formats import fields, input_file, registry

Report = Callable[[str], None]
OnMisfit = Callable[[Misfit], None]
OnBad = Callable[[BadRecord], None]

SUFFIXES = {
    ".json": "b2nerd",
    **{suffix: name for suffix, name in registry.SUFFIXES.items() if name != "txt"},
    ".parquet": "parquet",
}
READABLE = tuple(dict.fromkeys(SUFFIXES.values()))


class Gold(NamedTuple):
    """A document's entities in their order in the text, and the mentions that it does not hold."""

    entities: tuple[Entity, ...]
    unlocated: tuple[Mention, ...]


def gold(document: Document) -> Gold:
    """Place every annotation: where it says itself, else by name, repeats one after another."""
    given = document.entities or ()
    placed = Counter((entity.label, entity.text) for entity in given)
    rest = []
    for mention in document.mentions or ():
        if placed[mention.label, mention.surface]:
            placed[mention.label, mention.surface] -= 1
        else:
            rest.append(mention)
    if not rest:
        return Gold(tuple(sorted(given)), ())
    found, unlocated = grounding.ground(document.text, rest)
    taken = {(entity.start, entity.end, entity.label) for entity in given}
    new = [each for each in found if (each.start, each.end, each.label) not in taken]
    return Gold(tuple(sorted([*given, *new])), tuple(unlocated))


def digest(text: str, seed: int = 0) -> int:
    """A number of 64 bits that stands for a text, another for each seed."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), seed)


@dataclass(frozen=True, slots=True)
class Split:
    """One split of one data set: what it is called, its labels, and the file it stands in."""

    dataset: DataSet
    name: str  # train, dev or test
    file: folders.Place
    format: str = "b2nerd"

    @property
    def key(self) -> str:
        """The set as options call it: NER_en_games."""
        return self.dataset.key

    def documents(self, on_problem: OnMisfit | None = None) -> Iterator[Document | BadRecord]:
        """Read the documents; `on_problem` hears what is wrong within one.

        What is not annotated, such as a record that an annotator rejected, is passed over in
        formats that know of it, and a BadRecord elsewhere.
        """
        for item in self._read(on_problem or _ignore):
            if isinstance(item, Document) and item.mentions is None and self.dataset.kind == "NER":
                if item.meta.get("answer") in fields.REJECTED:
                    continue
                item = BadRecord(item.origin, "not annotated: no 'entities' and no 'spans'")
            yield _with_unlocated(item) if isinstance(item, Document) else item

    def readable(self, on_bad: OnBad | None = None) -> Iterator[Document]:
        """Read the documents alone; what cannot be read goes to `on_bad`, if to anyone."""
        for item in self.documents():
            if isinstance(item, Document):
                yield item
            elif on_bad is not None:
                on_bad(item)

    def _read(self, on_problem: OnMisfit) -> Iterator[Document | BadRecord]:
        if self.format == "b2nerd":
            return b2nerd.read_file(self.dataset, self.file, on_problem)
        if self.format == "parquet":
            from b2ner_cli.formats import parquet

            return parquet.read(Path(str(self.file)))
        return formats.read(
            [str(self.file)], format=self.format, gold_field="entities", labels_field="labels"
            if self.format != "csv" else None,
        )  # fmt: skip


def _with_unlocated(item: Document) -> Document | BadRecord:
    """A record of ours says what its text does not hold: mentions all the same."""
    listed = item.meta.get("unlocated")
    if not isinstance(listed, list) or item.mentions is None:  # null in a table's column
        return item
    try:
        more = [fields.annotation(each, item.text)[1] for each in listed]
    except fields.RecordError as error:
        return BadRecord(item.origin, f"unlocated: {error.message}", error.hint)
    return item._replace(mentions=(*item.mentions, *more))


def _ignore(problem: Misfit) -> None:
    pass


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where to read and what a file without a name of its own is to be called."""

    path: Path
    collection: str | None = None
    format: str | None = None
    name: str | None = None
    language: str = "en"


def find_splits(source: DataSource, on_problem: Report | None = None) -> list[Split]:
    """Find what is to be read, by task, name and split; there is at least one.

    A labels.json that cannot be used raises DataError, unless `on_problem` takes it in words.
    """
    if source.format is not None and source.format not in READABLE:
        raise UsageError(f"no format {source.format!r}", f"formats to read: {', '.join(READABLE)}")
    path = source.path
    if path.is_file() and not is_archive(path):
        return [_single(source, on_problem)]
    try:
        sets = b2nerd.datasets(path, source.collection, on_problem)
    except DataError:
        found = _other_files(path, on_problem) if path.is_dir() and not source.collection else []
        if found:
            return found
        raise
    return [
        Split(dataset, split, dataset.path / f"{split}.json")
        for dataset in sets
        for split in dataset.splits
    ]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, by its name or its first bytes."""
    with path.open("rb") as stream:
        return path.suffix.lower() == ".zip" or stream.read(4) == b"PK\x03\x04"


def _single(source: DataSource, on_problem: Report | None) -> Split:
    """A file by itself; named as in a folder of data sets if it stands in one."""
    path = source.path
    kind = source.format or by_suffix(path)
    if kind is None:
        known = ", ".join(SUFFIXES)
        raise UsageError(f"{path}: of which format?", f"say --from, or use a suffix of {known}")
    if kind != "parquet" and kind != "b2nerd":
        input_file.check(str(path), kind)
    split, name, task = "train", path.name.partition(".")[0], f"NER_{source.language}"
    folder = path.resolve().parent
    if name in SPLITS:
        split, name = name, folder.name
        if folder.parent.name.partition("_")[0] in ("NER", "RE", "EE"):
            task = folder.parent.name
    dataset = _dataset(path.parent, task, source.name or name, split, on_problem)
    return Split(dataset, split, path, kind)


def by_suffix(path: Path) -> str | None:
    """The format that a file is in by its name, None for a folder or an unknown one."""
    return SUFFIXES.get(Path(path.name.lower().removesuffix(".gz")).suffix)


def _dataset(
    folder: Path, task: str, name: str, split: str, on_problem: Report | None
) -> DataSet:  # fmt: skip
    """The set that a file belongs to, with the labels of a labels.json beside it."""
    if (folder / "labels.json").is_file():
        found = b2nerd.dataset(folder, task, name, on_problem)
        return replace(found, splits=(split,))
    language = task.partition("_")[2].partition("_")[0] or "en"
    return DataSet(task, name, language, folder, (), (split,))


def _other_files(top: Path, on_problem: Report | None) -> list[Split]:
    """Data sets in B2NERD's layout, but in files of another format."""
    found = []
    for split in SPLITS:
        for path in top.rglob(f"{split}.*"):
            if (kind := by_suffix(path)) and kind != "b2nerd" and path.is_file():
                folder = path.resolve().parent
                dataset = _dataset(
                    path.parent, folder.parent.name, folder.name, split, on_problem
                )  # fmt: skip
                found.append(Split(dataset, split, path, kind))
    return sorted(found, key=lambda each: (each.key, SPLITS.index(each.name)))
