"""How much there is: documents, types and entities, in the shape of the paper's own table.

    split  language  data sets  types  selected        raw
    train  en               19    119    25,403    838,648

`types` is the sum of the data sets' own labels, as the paper counts; a name that two sets share
counts twice, and `distinct` counts it once. `raw` is the same sets in the collection B2NERD_raw.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from b2ner_cli.core.document import BadRecord
from b2ner_cli.datasets import b2nerd
from b2ner_cli.datasets.b2nerd import SPLITS
from b2ner_cli.datasets.folders import Place
from b2ner_cli.datasets.splits import OnBad, Split
from b2ner_cli.errors import DataError

log = logging.getLogger("b2ner")

RAW = "B2NERD_raw"


@dataclass(slots=True)
class SplitCounts:
    """What a split holds. `unplaced` entities have no offsets; `misfits` are wrong in a row."""

    key: str
    task: str
    split: str
    labels: tuple[str, ...]
    raw: int | None = None
    documents: int = 0
    empty: int = 0
    characters: int = 0
    entities: int = 0
    unplaced: int = 0
    broken: int = 0
    misfits: int = 0
    types: Counter[str] = field(default_factory=Counter)

    @property
    def language(self) -> str:
        """What follows NER, which is more than a language for NER_en_other; else the task."""
        return self.task.removeprefix("NER_")

    @property
    def names(self) -> Sequence[str]:
        """The types: those of labels.json, else those that occur."""
        return self.labels or list(self.types)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts and the numbers of entities by type."""
        return {
            "dataset": self.key, "split": self.split, "types": len(self.names),
            "documents": self.documents, "raw": self.raw, "empty": self.empty,
            "entities": self.entities, "unplaced": self.unplaced,
            "characters": self.characters, "broken": self.broken, "misfits": self.misfits,
            "entities_by_type": dict(self.types.most_common()),
        }  # fmt: skip


def count(split: Split, on_bad: OnBad) -> SplitCounts:
    """Read a split once and count it; rows that are no documents are handed over."""
    problems: list[None] = []
    counts = SplitCounts(split.key, split.dataset.task, split.name, split.dataset.labels)
    for item in split.documents(lambda problem: problems.append(None)):
        if isinstance(item, BadRecord):
            counts.broken += 1
            on_bad(item)
            continue
        mentions = item.mentions or ()
        counts.documents += 1
        counts.characters += len(item.text)
        counts.empty += not mentions
        counts.entities += len(mentions)
        counts.unplaced += len(mentions) - len(item.entities or ())
        counts.types.update(mention.label for mention in mentions)
    counts.misfits = len(problems)
    log.info("%s %s: %s documents", counts.key, counts.split, f"{counts.documents:,}")
    return counts


def count_all(found: Iterable[Split], path: Path, on_bad: OnBad) -> list[SplitCounts]:
    """Count splits, and their raw rows where `path` holds the raw collection."""
    raw = _raw_folders(path)
    every = []
    for split in found:
        counts = count(split, on_bad)
        folder = raw.get((split.dataset.task, split.dataset.name))
        if folder is not None and (file := folder / f"{split.name}.json").is_file():
            counts.raw = b2nerd.count_rows(file)
        every.append(counts)
    return every


def _raw_folders(path: Path) -> Mapping[tuple[str, str], Place]:
    try:
        found = b2nerd.collections(path).get(RAW, [])
    except DataError:
        return {}
    return {(task, name): folder for folder, task, name in found}


def _total(split: str, language: str, parts: Sequence[SplitCounts]) -> dict[str, Any]:
    known = [part.raw for part in parts if part.raw is not None]
    return {
        "split": split,
        "language": language,
        "datasets": len({part.key for part in parts}),
        "types": sum(len(part.names) for part in parts),
        "distinct": len({name for part in parts for name in part.names}),
        "selected": sum(part.documents for part in parts),
        "raw": sum(known) if known else None,
    }


def totals(every: Sequence[SplitCounts]) -> list[dict[str, Any]]:
    """Sum up by split and language, with a total for each split of more than one language."""
    rows = []
    for split in SPLITS:
        parts = [counts for counts in every if counts.split == split]
        languages = sorted({part.language for part in parts})
        for language in languages:
            rows.append(_total(split, language, [p for p in parts if p.language == language]))
        if len(languages) > 1:
            rows.append(_total(split, "total", parts))
    return rows


def types(every: Sequence[SplitCounts]) -> list[dict[str, Any]]:
    """Each type's entities by split, and the number of sets that have it; the commonest first."""
    by_split: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sets: defaultdict[str, set[str]] = defaultdict(set)
    for counts in every:
        for name in {*counts.labels, *counts.types}:
            sets[name].add(counts.key)
            by_split[name][counts.split] += counts.types[name]
    order = sorted(sets, key=lambda name: (-by_split[name].total(), name))
    return [
        {"type": name, "datasets": len(sets[name])} | {s: by_split[name][s] for s in SPLITS}
        for name in order
    ]


def table(every: Sequence[SplitCounts], by: str | None) -> list[list[str]]:
    """The rows of a table, the header first: totals, or by dataset or type."""
    if by == "type":
        rows = types(every)
        heads = ["type", "datasets", *SPLITS]
    elif by == "dataset":
        rows = [counts.as_dict() for counts in every]
        heads = ["dataset", "split", "types", "documents", "raw", "empty", "entities", "unplaced"]
    else:
        rows = totals(every)
        heads = ["split", "language", "datasets", "types", "distinct", "selected", "raw"]
    names = ["data sets" if head == "datasets" else head for head in heads]
    names = ["data set" if name == "dataset" else name for name in names]
    return [names, *([_cell(row[head]) for head in heads] for row in rows)]


def as_dict(every: Sequence[SplitCounts], path: Path, collection: str | None) -> dict[str, Any]:
    """Everything that was counted, for JSON."""
    return {
        "path": str(path),
        "collection": collection,
        "totals": totals(every),
        "datasets": [counts.as_dict() for counts in every],
        "types": types(every),
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
