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
from b2ner_cli.datasets.splits import Section, digest, gold
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet

NOTES = ("unused", "separator")


class Finding(NamedTuple):
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


def check(found: Sequence[Section]) -> Iterator[Finding]:
    """Read every section once; findings come as they are met, set by set."""
    for _, sections in groupby(found, key=lambda section: section.key):
        seen: dict[int, _Seen] = {}
        used: Counter[str] = Counter()
        parts = list(sections)
        dataset = parts[0].dataset
        for section in parts:
            yield from _section(section, seen, used)
        yield from _labels(dataset.labels, f"{dataset.path / 'labels.json'}")
        for label in dataset.labels if dataset.kind == "NER" else ():
            if not used[label]:
                words = f"label {label!r} is not used in {', '.join(dataset.splits)}"
                yield Finding("unused", f"{dataset.path / 'labels.json'}", words)


def _section(
    section: Section, seen: dict[int, _Seen], used: Counter[str]
) -> Iterator[Finding]:  # fmt: skip
    misfits: list[Misfit] = []
    rows = 0
    for rows, item in enumerate(section.documents(misfits.append), 1):  # noqa: B007
        if isinstance(item, BadRecord):
            yield Finding("broken", item.origin, item.message)
            continue
        for misfit in misfits:
            yield Finding(misfit.kind, item.origin, misfit.removeprefix(f"{item.origin}: "))
        misfits.clear()
        used.update(mention.label for mention in item.mentions or ())
        used.update(item.labels or ())  # asked of a document by name, though it has none of them
        if section.dataset.kind == "NER":
            yield from _annotations(item)
            yield from _unknown(item, section)
            yield from _repeats(item, section, seen)
    if not rows:
        yield Finding("empty", str(section.file), "no rows in it")


def _annotations(document: Document) -> Iterator[Finding]:
    """Names that are not there, entities given twice, and what no answer can say."""
    where = document.origin
    for mention in gold(document).unlocated:
        words = f"{mention.surface!r} ({mention.label}) does not stand in the text"
        yield Finding("name", where, words)
    for entity, times in Counter(document.entities or ()).items():
        if times > 1:
            words = f"{entity.text!r} ({entity.label}) is given {times} times at {entity.start}"
            yield Finding("repeated", where, words)
    for mention in document.mentions or ():
        if ";" in mention.surface:
            yield Finding("separator", where, f"{mention.surface!r} holds ';'")
    if document.labels:
        yield from _labels(document.labels, where)


def _unknown(document: Document, section: Section) -> Iterator[Finding]:
    """Types that are none of the labels, where the reader has not said so itself."""
    known = document.labels or section.dataset.labels
    if section.format == "b2nerd" or not known:
        return
    for label in {mention.label: None for mention in document.mentions or ()}:
        if label not in known:
            yield Finding("type", document.origin, f"type {label!r} is not among the labels")


def _repeats(
    document: Document, section: Section, seen: dict[int, _Seen]
) -> Iterator[Finding]:  # fmt: skip
    text = digest(document.text)
    said = sorted((m.label, m.surface) for m in document.mentions or ())
    new = _Seen(section.split, document.origin, hash(tuple(said)))
    old = seen.setdefault(text, new)
    if old is new or not document.text:
        return
    how = "annotated the same" if old.annotated == new.annotated else "annotated otherwise"
    words = f"the text stands in {old.where} too, {how}"
    yield Finding("duplicate" if old.split == section.split else "leak", document.origin, words)


def _labels(labels: Sequence[str], where: str) -> Iterator[Finding]:
    for label, times in Counter(labels).items():
        if times > 1:
            yield Finding("labels", where, f"label {label!r} is listed {times} times")
        try:
            LabelSet((label,))
        except UsageError as error:
            yield Finding("separator", where, error.message)
