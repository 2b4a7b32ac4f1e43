"""Compare predicted entities with gold ones: addable counts, and the scores made from them.

Two metrics. ``strict`` compares (label, start, end) with labels as given. ``paper`` compares the
sets of normalised "label: surface" pieces of two answers, as the B2NER authors' evaluator does:
position and repeats do not count. Knows no file and no data set, only items and names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from b2ner_cli.core.document import Entity
from b2ner_cli.scoring.error_classes import (
    CLASSES,
    NOTHING_UNSUPPORTED,
    Errors,
    ItemT,
    Span,
    Unsupported,
    overlapping,
    piece_errors,
    same_place,
    span_errors,
)
from b2ner_cli.scoring.paper_metric import Piece

Metric = Literal["paper", "strict"]
METRICS: tuple[Metric, ...] = ("strict", "paper")

# Listed, but left out of every average, as in the authors' tables.
EXCLUDED = frozenset({"math-junior", "CAIL2022"})


@dataclass(frozen=True, slots=True)
class Counts:
    """Hits, inventions and misses. A score is 0.0 where its denominator is."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def forgiving(self, pairs: int) -> Counts:
        """Return the counts after `pairs` of one miss and one invention each become hits."""
        return Counts(self.tp + pairs, self.fp - pairs, self.fn - pairs)

    @property
    def support(self) -> int:
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    @property
    def recall(self) -> float:
        return self.tp / self.support if self.tp else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """The counts of one data set: per label, and over all labels.

    `boundary` ignores labels: spans are paired one to one where start and end agree. `type`
    forgives boundaries: a predicted span is paired one to one with an overlapping gold span of
    its label; identical spans pair first, then as many of the others as can be. So neither is
    ever below the strict counts, and all have the same support. Both are None without offsets.

    `errors` counts `error_classes.CLASSES`. `confusion` counts (gold label, predicted label) of
    one place, None where a side has nothing there, so that its rows sum to the labels' support.
    `documents` counts documents by their hits, inventions and misses.
    """

    labels: Mapping[str, Counts]
    boundary: Counts | None = None
    type: Counts | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    confusion: Mapping[tuple[str | None, str | None], int] = field(default_factory=dict)
    documents: Mapping[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def total(self) -> Counts:
        return sum(self.labels.values(), Counts())

    @property
    def named_right(self) -> float | None:
        """Of the entities whose place is right, by the paper's metric whose words are, the share
        with the right label: F1 by F1 without labels. None where no place is right.
        """
        right, wrong = self.total.tp, self.errors.get("wrong_label", 0)
        return right / (right + wrong) if right + wrong else None


class Tally:
    """The counts of one data set while they grow, a document at a time."""

    __slots__ = ("_boundary", "_documents", "_errors", "_fn", "_fp", "_spans", "_swaps", "_tp",
                 "_type")  # fmt: skip

    def __init__(self) -> None:
        self._tp: Counter[str] = Counter()
        self._fp: Counter[str] = Counter()
        self._fn: Counter[str] = Counter()
        self._swaps: Counter[tuple[str, str]] = Counter()  # gold and predicted label of one place
        self._errors = dict.fromkeys(CLASSES, 0)
        self._documents: Counter[tuple[int, int, int]] = Counter()
        self._boundary = 0
        self._type = 0
        self._spans = False

    def add_spans(
        self,
        gold: frozenset[Span],
        predicted: frozenset[Span],
        unsupported: Unsupported = NOTHING_UNSUPPORTED,
    ) -> Errors | None:
        """Count one document, strictly, and return its errors; each set holds a span once."""
        self._spans = True
        self._add(gold, predicted)
        if gold == predicted and unsupported is NOTHING_UNSUPPORTED:
            return None
        missed, invented = gold - predicted, predicted - gold
        if missed and invented:
            self._boundary += len(same_place(missed, invented))
            self._type += len(overlapping(list(missed), list(invented)))
        return self._sorted(span_errors(gold, predicted, unsupported))

    def add_pieces(
        self,
        gold: frozenset[Piece],
        predicted: frozenset[Piece],
        unsupported: Unsupported = NOTHING_UNSUPPORTED,
    ) -> Errors | None:
        """Count one document by its normalised pieces, and return its errors."""
        self._add(gold, predicted)
        if gold == predicted:
            return None
        return self._sorted(piece_errors(gold, predicted, unsupported))

    def _add(self, gold: frozenset[ItemT], predicted: frozenset[ItemT]) -> None:
        hits = gold & predicted
        self._documents[len(hits), len(predicted) - len(hits), len(gold) - len(hits)] += 1
        for item in hits:
            self._tp[item[0]] += 1
        if len(hits) < len(gold):
            for item in gold - predicted:
                self._fn[item[0]] += 1
        if len(hits) < len(predicted):
            for item in predicted - gold:
                self._fp[item[0]] += 1

    def _sorted(self, errors: Errors) -> Errors:
        for name, number in errors.counts().items():
            self._errors[name] += number
        for gold, guess in errors.wrong_label:
            self._swaps[gold[0], guess[0]] += 1
        return errors

    def scores(self) -> Scores:
        """Return the counts so far; labels by falling support, then by name."""
        names = self._tp.keys() | self._fp.keys() | self._fn.keys()
        labels = {n: Counts(self._tp[n], self._fp[n], self._fn[n]) for n in names}
        ordered = sorted(labels.items(), key=lambda item: (-item[1].support, item[0]))
        scores = Scores(
            dict(ordered),
            errors=dict(self._errors),
            confusion=_confusion(dict(ordered), self._swaps),
            documents=dict(self._documents),
        )
        if not self._spans:
            return scores
        total = scores.total
        return replace(
            scores, boundary=total.forgiving(self._boundary), type=total.forgiving(self._type)
        )


def _confusion(
    labels: Mapping[str, Counts], swaps: Mapping[tuple[str, str], int]
) -> dict[tuple[str | None, str | None], int]:
    """The matrix that hits and swapped labels make, and on its edges what has no partner."""
    cells: Counter[tuple[str | None, str | None]] = Counter()
    cells.update(swaps)
    for label, counts in labels.items():
        cells[label, label] = counts.tp
        cells[label, None] = counts.fn
        cells[None, label] = counts.fp
    for (gold, guess), number in swaps.items():
        cells[gold, None] -= number
        cells[None, guess] -= number
    return {pair: number for pair, number in cells.items() if number}


def span_items(entities: Iterable[Entity]) -> frozenset[Span]:
    """Return what the strict metric sees of entities."""
    return frozenset((entity.label, entity.start, entity.end) for entity in entities)


@dataclass(frozen=True, slots=True)
class SetName:
    """The name of a data set; `task` and `language` are empty for a plain file."""

    name: str
    task: str = ""
    language: str = ""

    @property
    def group(self) -> str:
        return f"{self.task}_{self.language}" if self.task or self.language else ""

    @property
    def key(self) -> str:
        return f"{self.group}_{self.name}" if self.group else self.name


def averages(f1: Mapping[SetName, float]) -> dict[str, float]:
    """Average F1 over data sets, unweighted: for each task and language, and ``overall``.

    `overall` is over data sets, not over the averages. Excluded sets count only where there is
    no other set to average.
    """
    groups = sorted({data_set.group for data_set in f1} - {""})
    means = {
        group: _mean({key: value for key, value in f1.items() if key.group == group})
        for group in groups
    }
    return means | {"overall": _mean(f1)}


def _mean(f1: Mapping[SetName, float]) -> float:
    values = [f1[data_set] for data_set in _counted(f1)]
    return sum(values) / len(values) if values else 0.0


def _counted(data_sets: Iterable[SetName]) -> list[SetName]:
    given = list(data_sets)
    return [data_set for data_set in given if data_set.name not in EXCLUDED] or given


def macro(scores: Mapping[SetName, Scores]) -> float:
    """Average F1 over labels, unweighted: each label's counts pooled over the data sets.

    Labels without gold support are left out; their inventions show in the micro scores.
    Excluded sets are left out as in `averages`.
    """
    pooled: defaultdict[str, Counts] = defaultdict(Counts)
    for data_set in _counted(scores):
        for label, counts in scores[data_set].labels.items():
            pooled[label] += counts
    values = [counts.f1 for counts in pooled.values() if counts.support]
    return sum(values) / len(values) if values else 0.0
