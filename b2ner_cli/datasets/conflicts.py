"""Where two data sets annotate the same label differently, found by rule and without a model.

For each label that sets A and B share, A's annotated surfaces are looked for in B's texts, as
whole tokens (each Han character is one) and not within a longer entity of B. B may

    agree    annotate it with that label        other    annotate it with another one
    differ   annotate a part of it, or more     miss     leave it alone

Surfaces that A itself leaves alone half of the time say nothing and are passed over. The conflict
ratio is what is not agreed, of what is found; A against A itself says how much of it is only the
words' own ambiguity. Pairs come ranked by the lower end of the ratio's 95 % interval,
so that one surface out of one is no top finding. Labels are compared without case.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from b2ner_cli.core.document import Document, Entity
from b2ner_cli.datasets.splits import OnBad, Split, gold
from b2ner_cli.formats.conll import tokenize

Verdict = Literal["agree", "other", "differ", "miss"]
VERDICTS: tuple[Verdict, ...] = ("agree", "other", "differ", "miss")
MAX_TOKENS = 12  # of a surface
REPEATS = 5  # places of one surface that count, so that a common word is not everything
_Z = 1.96

Wanted = defaultdict[str, list[tuple[str, str]]]  # by surface the sets and labels it has


@dataclass(frozen=True, slots=True)
class ScreenLimits:
    """What is looked at: surfaces a label of a set, documents of a set, and examples to keep."""

    surfaces: int = 2000
    documents: int = 5000
    examples: int = 3
    seed: int = 23


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A surface of A where B has it: how B annotates the place, and B's text around it."""

    surface: str
    verdict: Verdict
    theirs: str
    where: str
    text: str


@dataclass(slots=True)
class Conflict:
    """What became in set B of the surfaces that set A annotates with a label."""

    label: str
    a: str
    b: str
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[Occurrence] = field(default_factory=list)

    @property
    def found(self) -> int:
        """How many places of A's surfaces B has."""
        return self.counts.total()

    @property
    def ratio(self) -> float:
        """The share of them that B does not annotate as A does."""
        return 1 - self.counts["agree"] / self.found if self.found else 0.0

    @property
    def at_least(self) -> float:
        """The lower end of the ratio's 95 % interval (Wilson's), by which pairs are ranked."""
        n, p = self.found, self.ratio
        if not n:
            return 0.0
        spread = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
        return (p + _Z * _Z / (2 * n) - spread) / (1 + _Z * _Z / n)


@dataclass(frozen=True, slots=True)
class _Set:
    """A data set's sample, and by label (without case) the surfaces that it annotates."""

    key: str
    documents: tuple[Document, ...]
    surfaces: dict[str, list[str]]


def screen(found: Sequence[Split], limits: ScreenLimits, on_bad: OnBad) -> list[Conflict]:
    """Compare every two sets that share a label, in both directions, and each with itself."""
    sets = [_read(key, parts, limits, on_bad) for key, parts in _by_key(found).items()]
    shared = Counter(label for each in sets for label in each.surfaces)
    wanted: Wanted = defaultdict(list)
    for each in sets:
        for label, surface in _firm(each, [name for name in each.surfaces if shared[name] > 1]):
            wanted[surface].append((each.key, label))
    pairs: dict[tuple[str, str, str], Conflict] = {}
    for each in sets:
        places: Counter[tuple[str, str, str]] = Counter()
        for document in each.documents:
            for key, label, occurrence in _places(document, wanted, each):
                place = (key, label, occurrence.surface)
                places[place] += 1
                if places[place] <= REPEATS:
                    pair = pairs.setdefault((label, key, each.key), Conflict(label, key, each.key))
                    _add(pair, occurrence, limits.examples)
    return sorted(pairs.values(), key=lambda pair: (-pair.at_least, pair.label, pair.a, pair.b))


def _firm(own: _Set, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A set's surfaces, by label, that it annotates itself wherever it has them, or mostly."""
    wanted: Wanted = defaultdict(list)
    for label in labels:
        for surface in own.surfaces[label]:
            wanted[surface].append((own.key, label))
    found: Counter[tuple[str, str]] = Counter()
    agreed: Counter[tuple[str, str]] = Counter()
    for document in own.documents:
        for _, label, occurrence in _places(document, wanted, own):
            found[label, occurrence.surface] += 1
            agreed[label, occurrence.surface] += occurrence.verdict == "agree"
    for surface, places in wanted.items():
        for _, label in places:
            if 2 * agreed[label, surface] > found[label, surface]:
                yield label, surface


def _by_key(found: Sequence[Split]) -> dict[str, list[Split]]:
    sets: dict[str, list[Split]] = {}
    for split in found:
        if split.dataset.kind == "NER":
            sets.setdefault(split.key, []).append(split)
    return sets


def _read(key: str, parts: Iterable[Split], limits: ScreenLimits, on_bad: OnBad) -> _Set:
    """Draw a set's documents (a reservoir: one pass, fixed memory), and list their surfaces."""
    rng = random.Random(f"{limits.seed}/{key}")
    drawn: list[Document] = []
    labels: dict[str, None] = {}
    count = 0
    for split in parts:
        labels.update(dict.fromkeys(label.casefold() for label in split.dataset.labels))
        for document in split.readable(on_bad):
            count += 1
            if len(drawn) < limits.documents:
                drawn.append(document)
            elif (slot := rng.randrange(count)) < limits.documents:
                drawn[slot] = document
    surfaces: dict[str, dict[str, None]] = {label: {} for label in labels}
    for document in drawn:
        for mention in document.mentions or ():
            surfaces.setdefault(mention.label.casefold(), {})[mention.surface] = None
    kept = {
        label: rng.sample(sorted(names), min(len(names), limits.surfaces))
        for label, names in surfaces.items()
    }
    return _Set(key, tuple(drawn), kept)


def _places(document: Document, wanted: Wanted, b: _Set) -> Iterator[tuple[str, str, Occurrence]]:
    """Find the surfaces of other sets in a document, where its own set has their label too."""
    text = document.text
    tokens = tokenize(text, "auto")
    asked = {label.casefold() for label in document.labels} if document.labels else b.surfaces
    entities = gold(document).entities
    for first, (start, _) in enumerate(tokens):
        for _, end in tokens[first : first + MAX_TOKENS]:
            if end - start < 2 or (hits := wanted.get(text[start:end])) is None:
                continue
            if _is_part(entities, start, end):
                continue
            for key, label in hits:
                if label in asked:
                    verdict, theirs = _judged(entities, start, end, label)
                    where, around = document.origin, text[max(0, start - 60) : end + 60]
                    yield key, label, Occurrence(text[start:end], verdict, theirs, where, around)


def _is_part(entities: Sequence[Entity], start: int, end: int) -> bool:
    """Whether a place lies within a longer entity."""
    before = bisect_left(entities, (start + 1,))
    return any(e.end >= end and e.end - e.start > end - start for e in entities[:before])


def _judged(
    entities: Sequence[Entity], start: int, end: int, label: str
) -> tuple[Verdict, str]:  # fmt: skip
    there = [e for e in entities if e.start < end and e.end > start]
    same = [e for e in there if (e.start, e.end) == (start, end)]
    if any(e.label.casefold() == label for e in same):
        return "agree", label
    if same:
        return "other", same[0].label
    for entity in there:
        if entity.label.casefold() == label:
            return "differ", entity.text
    return "miss", ""


def _add(pair: Conflict, occurrence: Occurrence, most: int) -> None:
    """Count an occurrence; of conflicts the first few surfaces are kept, each once."""
    pair.counts[occurrence.verdict] += 1
    if occurrence.verdict == "agree" or len(pair.examples) >= most:
        return
    if all(kept.surface != occurrence.surface for kept in pair.examples):
        pair.examples.append(occurrence)


def between(pairs: Sequence[Conflict], least: int) -> list[Conflict]:
    """The pairs of two sets with at least so many places found and something not agreed."""
    return [p for p in pairs if p.a != p.b and p.found >= least and p.counts["agree"] < p.found]


def table(pairs: Sequence[Conflict], least: int) -> list[list[str]]:
    """The rows of a table, the header first; `own` is A's ratio against itself."""
    own = {(p.label, p.a): p.ratio for p in pairs if p.a == p.b}
    rows = [["label", "annotated in", "looked for in", "found", *VERDICTS, "conflict", "own"]]
    for pair in between(pairs, least):
        counts = [f"{pair.counts[verdict]:,}" for verdict in VERDICTS]
        alone = own.get((pair.label, pair.a))
        ratios = [f"{pair.ratio:.1%}", "-" if alone is None else f"{alone:.1%}"]
        rows.append([pair.label, pair.a, pair.b, f"{pair.found:,}", *counts, *ratios])
    return rows


def as_dicts(pairs: Sequence[Conflict], least: int) -> list[dict[str, Any]]:
    """The same for JSON, with the examples."""
    own = {(p.label, p.a): p.ratio for p in pairs if p.a == p.b}
    return [
        {
            "label": pair.label, "a": pair.a, "b": pair.b, "found": pair.found,
            **{verdict: pair.counts[verdict] for verdict in VERDICTS},
            "conflict": pair.ratio, "at_least": pair.at_least,
            "own": own.get((pair.label, pair.a)),
            "examples": [
                {name: getattr(e, name) for name in Occurrence.__dataclass_fields__}
                for e in pair.examples
            ],
        }
        for pair in between(pairs, least)
    ]  # fmt: skip
