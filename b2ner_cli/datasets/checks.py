"""What is wrong with data sets: every row that says of itself what is not so.

    offsets    the text at `pos` is not the name        type       is not among the labels
    name       does not stand in the text               repeated   the same entity twice
    duplicate  the text stands in the split before      leak       it stands in another split
    broken     a row that is no document                labels     labels.json cannot be used
    empty      a split without rows

These are faults; the rest are notes: `unused` labels, and a `separator` in a label or a name,
which a model's answer cannot hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.datasets.b2nerd import Misfit
from b2ner_cli.datasets.splits import Split, digest, gold
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet

NOTES = ("unused", "separator")


class RowFinding(NamedTuple):
    """One thing that is wrong: of which kind, in which file and row, in words."""

    kind: str
    where: str
    message: str

    @property
    def is_fault(self) -> bool:
        """Whether the data is wrong, and not only awkward."""
        return self.kind not in NOTES


class _Seen(NamedTuple):
    """Where a text stood first, and a digest of how it was annotated."""

    split: str
    where: str
    annotated: int


def check(found: Sequence[Split]) -> Iterator[RowFinding]:
    """Read every split once; findings come as they are met, set by set."""
    for _, splits in groupby(found, key=lambda split: split.key):
        seen: dict[int, _Seen] = {}
        used: Counter[str] = Counter()
        parts = list(splits)
        dataset = parts[0].dataset
        for split in parts:
            yield from _of_split(split, seen, used)
        yield from _labels(dataset.labels, f"{dataset.path / 'labels.json'}")
        for label in dataset.labels if dataset.kind == "NER" else ():
            if not used[label]:
                words = f"label {label!r} is not used in {', '.join(dataset.splits)}"
                yield RowFinding("unused", f"{dataset.path / 'labels.json'}", words)


def _of_split(
    split: Split, seen: dict[int, _Seen], used: Counter[str]
) -> Iterator[RowFinding]:  # fmt: skip
    misfits: list[Misfit] = []
    rows = 0
    for rows, item in enumerate(split.documents(misfits.append), 1):  # noqa: B007
        if isinstance(item, BadRecord):
            yield RowFinding("broken", item.origin, item.message)
            continue
        for misfit in misfits:
            yield RowFinding(misfit.kind, item.origin, misfit.removeprefix(f"{item.origin}: "))
        misfits.clear()
        used.update(mention.label for mention in item.mentions or ())
        used.update(item.labels or ())  # asked of a document by name, though it has none of them
        if split.dataset.kind == "NER":
            yield from _annotations(item)
            yield from _unknown(item, split)
            yield from _repeats(item, split, seen)
    if not rows:
        yield RowFinding("empty", str(split.file), "no rows in it")


def _annotations(document: Document) -> Iterator[RowFinding]:
    """Names that are not there, entities given twice, and what no answer can say."""
    where = document.origin
    for mention in gold(document).unlocated:
        words = f"{mention.surface!r} ({mention.label}) does not stand in the text"
        yield RowFinding("name", where, words)
    for entity, times in Counter(document.entities or ()).items():
        if times > 1:
            words = f"{entity.text!r} ({entity.label}) is given {times} times at {entity.start}"
            yield RowFinding("repeated", where, words)
    for mention in document.mentions or ():
        if ";" in mention.surface:
            yield RowFinding("separator", where, f"{mention.surface!r} holds ';'")
    if document.labels:
        yield from _labels(document.labels, where)


def _unknown(document: Document, split: Split) -> Iterator[RowFinding]:
    """Types that are none of the labels, where the reader has not said so itself."""
    known = document.labels or split.dataset.labels
    if split.format == "b2nerd" or not known:
        return
    for label in {mention.label: None for mention in document.mentions or ()}:
        if label not in known:
            yield RowFinding("type", document.origin, f"type {label!r} is not among the labels")


def _repeats(
    document: Document, split: Split, seen: dict[int, _Seen]
) -> Iterator[RowFinding]:  # fmt: skip
    text = digest(document.text)
    said = sorted((m.label, m.surface) for m in document.mentions or ())
    new = _Seen(split.name, document.origin, hash(tuple(said)))
    old = seen.setdefault(text, new)
    if old is new or not document.text:
        return
    how = "annotated the same" if old.annotated == new.annotated else "annotated otherwise"
    words = f"the text stands in {old.where} too, {how}"
    yield RowFinding("duplicate" if old.split == split.name else "leak", document.origin, words)


def _labels(labels: Sequence[str], where: str) -> Iterator[RowFinding]:
    for label, times in Counter(labels).items():
        if times > 1:
            yield RowFinding("labels", where, f"label {label!r} is listed {times} times")
        try:
            LabelSet((label,))
        except UsageError as error:
            yield RowFinding("separator", where, error.message)
