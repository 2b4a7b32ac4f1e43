"""Other names for labels, data set by data set, so that one name means one thing.

    {"NER_en_games": {"player": "person -> player", "thing": null},
     "*":            {"located": "location"}}

A set's own names go before those under ``*``; null takes a label and its entities away. Labels
that get one name become one, in the place of the first. Set and labels must be there: a map that
names what is not would silently do nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from b2ner_cli.core.document import Document
from b2ner_cli.datasets.sampling import OnBad
from b2ner_cli.datasets.splits import Split
from b2ner_cli.datasets.writing import SplitContent, readable
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.formats.fields import json_type
from b2ner_cli.labels.label_set import LabelSet

EVERY = "*"

Names = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """New names by set; `where` is what errors call it."""

    where: str
    sets: Mapping[str, Names]

    def names(self, key: str) -> Names:
        """The new names in one set."""
        return {**self.sets.get(EVERY, {}), **self.sets.get(key, {})}


def read(path: Path) -> LabelMap:
    """Read a map. Raises DataError naming the set and label that are no good."""
    try:
        content = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: malformed JSON at column {error.colno}: {error.msg}"
        ) from None
    example = 'for example {"NER_en_games": {"player": "person -> player"}}'
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: {json_type(content)}, not an object of data sets", example)
    for key, names in content.items():
        if not isinstance(names, dict):
            raise DataError(f"{path}: {key} is {json_type(names)}, not an object of names", example)
        for old, new in names.items():
            _check_name(f"{path}: {key}: {old!r}", new)
    return LabelMap(str(path), content)


def _check_name(where: str, new: Any) -> None:
    if new is None:
        return
    if not isinstance(new, str):
        raise DataError(f"{where} is to be {json_type(new)}", "a name, or null to take it away")
    try:
        LabelSet((new,))
    except UsageError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from None


def standardise(found: Sequence[Split], renames: LabelMap, on_bad: OnBad) -> Iterator[SplitContent]:
    """The same splits under the new names. Raises DataError before the first is read."""
    _check_there(found, renames)
    return _renamed(found, renames, on_bad)


def _check_there(found: Sequence[Split], renames: LabelMap) -> None:
    labels: dict[str, dict[str, None]] = {}
    for split in found:
        held = dict.fromkeys(split.dataset.labels) or dict.fromkeys(
            label
            for document in readable(split)
            for label in (document.labels or [m.label for m in document.mentions or ()])
        )
        labels.setdefault(split.key, {}).update(held)
    for key, names in renames.sets.items():
        if key != EVERY and key not in labels:
            raise DataError(f"{renames.where}: no data set {key}", _near(key, labels))
        there = (
            [label for each in labels.values() for label in each] if key == EVERY else labels[key]
        )
        for old in names:
            if old not in there:
                raise DataError(f"{renames.where}: {key} has no label {old!r}", _near(old, there))


def _near(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]}?" if close else f"it has {', '.join(list(names)[:8])}"


def _renamed(found: Sequence[Split], renames: LabelMap, on_bad: OnBad) -> Iterator[SplitContent]:
    for split in found:
        names = renames.names(split.key)
        if not names or split.dataset.kind != "NER":
            yield split, readable(split, on_bad)
            continue
        dataset = replace(split.dataset, labels=relabel(split.dataset.labels, names))
        if split.dataset.labels and not dataset.labels:
            raise DataError(f"{renames.where}: leaves {split.key} without labels")
        documents = readable(split, on_bad)
        yield replace(split, dataset=dataset), (rename(each, names) for each in documents)


def relabel(labels: Sequence[str], names: Names) -> tuple[str, ...]:
    """New names of labels in their order, each once."""
    new = (names.get(label, label) for label in labels)
    return tuple(dict.fromkeys(label for label in new if label is not None))


def rename(document: Document, names: Names) -> Document:
    """A document under the new names; entities that become the same one are kept once."""
    own = relabel(document.labels, names) if document.labels else None
    mentions = [
        mention._replace(label=new)
        for mention in document.mentions or ()
        if (new := names.get(mention.label, mention.label)) is not None
    ]
    entities = dict.fromkeys(
        entity.__class__(entity.start, entity.end, new, *entity[3:])
        for entity in document.entities or ()
        if (new := names.get(entity.label, entity.label)) is not None
    )
    return document._replace(
        entities=tuple(entities),
        mentions=tuple(mentions),
        labels=own,
        meta=_row(document.meta, names),
        raw=b"",
    )


def _row(row: Mapping[str, Any], names: Names) -> Mapping[str, Any]:
    """A B2NERD row under the new names, its other keys as they are; other records stay."""
    if "sentence" not in row or not isinstance(row.get("entities"), list):
        return row
    kept: list[dict[str, Any]] = []
    for item in row["entities"]:
        if (new := names.get(item["type"], item["type"])) is None:
            continue
        renamed = {**item, "type": new}
        if "pos" not in item or renamed not in kept:
            kept.append(renamed)
    made = {**row, "entities": kept}
    if row.get("labels"):
        made["labels"] = list(relabel(row["labels"], names))
    return made
