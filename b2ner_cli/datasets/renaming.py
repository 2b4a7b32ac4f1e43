"""Other names for labels, data set by data set, so that one name means one thing.

    {"NER_en_games": {"player": "person -> player", "thing": null},
     "*":            {"located": "location"}}

A set's own names go before those under ``*``; null takes a label and its entities away. Labels
that get one name become one, in the place of the first. Set and labels must be there: a map that
names what is not would silently do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from b2ner_cli.core.document import Document
from b2ner_cli.datasets import b2nerd
from b2ner_cli.datasets.splits import OnBad, Split
from b2ner_cli.datasets.writing import SplitContent
from b2ner_cli.errors import DataError, UsageError, did_you_mean
from b2ner_cli.formats.fields import json_type
from b2ner_cli.labels.label_map import LabelMap

EVERY = "*"
_EXAMPLE = 'for example {"NER_en_games": {"player": "person -> player"}}'


def read(path: Path) -> dict[str, LabelMap]:
    """Read a map by data set. Raises DataError naming the set and label that are no good."""
    content = b2nerd.load_json(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: {json_type(content)}, not an object of data sets", _EXAMPLE)
    return {key: _label_map(names, f"{path}: {key}") for key, names in content.items()}


def _label_map(names: Any, source: str) -> LabelMap:
    if not isinstance(names, dict):
        raise DataError(f"{source} is {json_type(names)}, not an object of names", _EXAMPLE)
    kept = {old: new for old, new in names.items() if new is not None}
    for old, new in kept.items():
        if not isinstance(new, str):
            message = f"{source}: {old!r} is to be {json_type(new)}"
            raise DataError(message, "a name, or null to take it away")
    try:
        return LabelMap(kept, source, frozenset(names.keys() - kept.keys()))
    except UsageError as error:
        raise DataError(error.message, error.hint) from None


def standardise(
    found: Sequence[Split], maps: Mapping[str, LabelMap], on_bad: OnBad
) -> Iterator[SplitContent]:
    """The same splits under the new names. Raises DataError before the first is read."""
    _check_there(found, maps)
    return _renamed(found, maps, on_bad)


def _check_there(found: Sequence[Split], maps: Mapping[str, LabelMap]) -> None:
    labels: dict[str, dict[str, None]] = {}
    for split in found:
        held = dict.fromkeys(split.dataset.labels) or dict.fromkeys(
            label
            for document in split.readable()
            for label in (document.labels or [m.label for m in document.mentions or ()])
        )
        labels.setdefault(split.key, {}).update(held)
    every = [label for each in labels.values() for label in each]
    for key, label_map in maps.items():
        if key != EVERY and key not in labels:
            raise DataError(f"{label_map.source}: no such data set", _near(key, labels))
        there = every if key == EVERY else [*labels[key]]
        for old in (*label_map.names, *label_map.dropped):
            if old not in there:
                raise DataError(f"{label_map.source}: no label {old!r}", _near(old, there))


def _near(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    return did_you_mean(name, names, f"it has {', '.join(list(names)[:8])}")


def _renamed(
    found: Sequence[Split], maps: Mapping[str, LabelMap], on_bad: OnBad
) -> Iterator[SplitContent]:
    for split in found:
        own, every = maps.get(split.key), maps.get(EVERY)
        label_map = every | own if own and every else own or every
        documents = split.readable(on_bad)
        if label_map is None or split.dataset.kind != "NER":
            yield split, documents
            continue
        dataset = replace(split.dataset, labels=label_map.relabel(split.dataset.labels))
        if split.dataset.labels and not dataset.labels:
            raise DataError(f"{label_map.source}: leaves {split.key} without labels")
        yield (
            replace(split, dataset=dataset),
            (_renamed_document(each, label_map) for each in documents),
        )


def _renamed_document(document: Document, label_map: LabelMap) -> Document:
    meta = _row(document.meta, label_map)
    return label_map.document(document)._replace(meta=meta, raw=b"")


def _row(row: Mapping[str, Any], label_map: LabelMap) -> Mapping[str, Any]:
    """A B2NERD row under the new names, its other keys as they are; other records stay."""
    if "sentence" not in row or not isinstance(row.get("entities"), list):
        return row
    kept: list[dict[str, Any]] = []
    for item in row["entities"]:
        if item["type"] in label_map.dropped:
            continue
        renamed = {**item, "type": label_map.asked(item["type"])}
        if "pos" not in item or renamed not in kept:
            kept.append(renamed)
    made = {**row, "entities": kept}
    if row.get("labels"):
        made["labels"] = list(label_map.relabel(row["labels"]))
    return made
