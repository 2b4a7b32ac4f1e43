"""Compare predicted entities with gold ones: addable counts, and the scores made from them.

Two metrics. ``strict`` compares (label, start, end) with labels as given. ``paper`` compares the
sets of normalised "label: surface" pieces of two answers, as the B2NER authors' evaluator does:
position and repeats do not count. Knows no file and no data set, only items and names.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal, TypeVar

from b2ner_cli.document import Entity

Metric = Literal["paper", "strict"]
METRICS: tuple[Metric, ...] = ("strict", "paper")

Span = tuple[str, int, int]  # label, start, end: what strict compares
Piece = tuple[str, str]  # normalised label and surface: what paper compares
Item = Span | Piece
Pair = tuple[Item, Item]  # gold, predicted
ItemT = TypeVar("ItemT", Span, Piece)

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
    """

    labels: Mapping[str, Counts]
    boundary: Counts | None = None
    type: Counts | None = None

    @property
    def total(self) -> Counts:
        return sum(self.labels.values(), Counts())


class Tally:
    """The counts of one data set while they grow, a document at a time."""

    __slots__ = ("_boundary", "_fn", "_fp", "_spans", "_tp", "_type")

    def __init__(self) -> None:
        self._tp: Counter[str] = Counter()
        self._fp: Counter[str] = Counter()
        self._fn: Counter[str] = Counter()
        self._boundary = 0
        self._type = 0
        self._spans = False

    def add_spans(self, gold: frozenset[Span], predicted: frozenset[Span]) -> None:
        """Count one document, strictly; each set holds a (label, start, end) once."""
        self._spans = True
        missed, invented = self._add(gold, predicted)
        if missed and invented:
            self._boundary += len(_same_place(missed, invented))
            self._type += len(overlapping(missed, invented))

    def add_pieces(self, gold: frozenset[Piece], predicted: frozenset[Piece]) -> None:
        """Count one document by its normalised pieces."""
        self._add(gold, predicted)

    def _add(
        self, gold: frozenset[ItemT], predicted: frozenset[ItemT]
    ) -> tuple[list[ItemT], list[ItemT]]:
        for item in gold & predicted:
            self._tp[item[0]] += 1
        missed, invented = sorted(gold - predicted), sorted(predicted - gold)
        for item in missed:
            self._fn[item[0]] += 1
        for item in invented:
            self._fp[item[0]] += 1
        return missed, invented

    def scores(self) -> Scores:
        """Return the counts so far; labels by falling support, then by name."""
        names = self._tp.keys() | self._fp.keys() | self._fn.keys()
        labels = {n: Counts(self._tp[n], self._fp[n], self._fn[n]) for n in names}
        ordered = sorted(labels.items(), key=lambda item: (-item[1].support, item[0]))
        scores = Scores(dict(ordered))
        if not self._spans:
            return scores
        total = scores.total
        return Scores(scores.labels, total.forgiving(self._boundary), total.forgiving(self._type))


@dataclass(frozen=True, slots=True)
class Errors:
    """What is wrong in one document; every miss and every invention stands in exactly one field.

    A pair (gold, predicted) in `wrong_label` has the same place (paper: the same surface), one in
    `wrong_boundary` the same label and an overlap (paper: one surface holds the other). What
    differs in both is a miss and an invention.
    """

    missed: tuple[Item, ...] = ()
    invented: tuple[Item, ...] = ()
    wrong_label: tuple[Pair, ...] = ()
    wrong_boundary: tuple[Pair, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missed or self.invented or self.wrong_label or self.wrong_boundary)


def span_errors(gold: frozenset[Span], predicted: frozenset[Span]) -> Errors:
    """Sort one document's strict errors by kind."""
    return _errors(gold, predicted, overlapping)


def piece_errors(gold: frozenset[Piece], predicted: frozenset[Piece]) -> Errors:
    """Sort one document's paper-metric errors by kind."""
    return _errors(gold, predicted, _containing)


def _errors(
    gold: frozenset[ItemT],
    predicted: frozenset[ItemT],
    near: Callable[[Sequence[ItemT], Sequence[ItemT]], list[tuple[ItemT, ItemT]]],
) -> Errors:
    missed, invented = sorted(gold - predicted), sorted(predicted - gold)
    wrong_label = _same_place(missed, invented)
    missed, invented = _without(missed, invented, wrong_label)
    wrong_boundary = near(missed, invented)
    missed, invented = _without(missed, invented, wrong_boundary)
    return Errors(
        tuple(sorted(missed, key=_place)),
        tuple(sorted(invented, key=_place)),
        tuple(sorted(wrong_label, key=_gold_place)),
        tuple(sorted(wrong_boundary, key=_gold_place)),
    )


def _place(item: Item) -> tuple[str | int, ...]:
    return item[1:]


def _gold_place(pair: Pair) -> tuple[str | int, ...]:
    return _place(pair[0])


def _without(
    missed: list[ItemT], invented: list[ItemT], pairs: list[tuple[ItemT, ItemT]]
) -> tuple[list[ItemT], list[ItemT]]:
    golds, guesses = {gold for gold, _ in pairs}, {guess for _, guess in pairs}
    return [m for m in missed if m not in golds], [i for i in invented if i not in guesses]


def _same_place(missed: Iterable[ItemT], invented: Iterable[ItemT]) -> list[tuple[ItemT, ItemT]]:
    """Pair, one to one, items that differ in their label only."""
    waiting: defaultdict[tuple[str | int, ...], deque[ItemT]] = defaultdict(deque)
    for item in missed:
        waiting[_place(item)].append(item)
    pairs = []
    for item in invented:
        if golds := waiting.get(_place(item)):
            pairs.append((golds.popleft(), item))
    return pairs


def _containing(missed: Sequence[Piece], invented: Sequence[Piece]) -> list[tuple[Piece, Piece]]:
    pairs = []
    free = list(missed)
    for guess in invented:
        for gold in free:
            if gold[0] == guess[0] and (gold[1] in guess[1] or guess[1] in gold[1]):
                pairs.append((gold, guess))
                free.remove(gold)
                break
    return pairs


def overlapping(missed: Sequence[Span], invented: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pair, one to one, as many spans of one label that overlap as can be paired at once."""
    golds: defaultdict[str, list[Span]] = defaultdict(list)
    guesses: defaultdict[str, list[Span]] = defaultdict(list)
    for item in missed:
        golds[item[0]].append(item)
    for item in invented:
        guesses[item[0]].append(item)
    return [
        pair
        for label in golds.keys() & guesses.keys()
        for pair in _matching(sorted(golds[label]), sorted(guesses[label]))
    ]


def _matching(golds: list[Span], guesses: list[Span]) -> list[tuple[Span, Span]]:
    """A largest matching of two sorted lists of spans of one label, by augmenting paths."""
    starts = [start for _, start, _ in golds]
    # Highest end so far: it never falls, so gold spans that end too early can be bisected away.
    reach = list(accumulate((end for _, _, end in golds), max))
    guess_of: dict[int, int] = {}  # gold -> guess
    gold_of: dict[int, int] = {}  # guess -> gold

    def neighbours(guess: int) -> Iterable[int]:
        _, start, end = guesses[guess]
        first, past = bisect_right(reach, start), bisect_left(starts, end)
        return (gold for gold in range(first, past) if golds[gold][2] > start)

    for root in range(len(guesses)):
        found_from: dict[int, int] = {}
        queue = deque([root])
        while queue:
            guess = queue.popleft()
            new = [gold for gold in neighbours(guess) if gold not in found_from]
            found_from.update((gold, guess) for gold in new)
            free = next((gold for gold in new if gold not in guess_of), None)
            if free is None:
                queue.extend(guess_of[gold] for gold in new)
                continue
            queue.clear()
            gold: int | None = free
            while gold is not None:  # flip the path, from its end back to the root
                guess = found_from[gold]
                guess_of[gold] = guess
                gold_of[guess], gold = gold, gold_of.get(guess)
    return [(golds[gold], guesses[guess]) for gold, guess in sorted(guess_of.items())]


def span_items(entities: Iterable[Entity]) -> frozenset[Span]:
    """Return what the strict metric sees of entities."""
    return frozenset((entity.label, entity.start, entity.end) for entity in entities)


def paper_items(answer: str) -> frozenset[Piece]:
    """Return what the paper's metric sees of an answer: normalised (label, surface) pairs.

    The answer is normalised whole, cut at each ``;``, and each piece normalised again; pieces
    without ``:`` are ignored.
    """
    *parts, last = normalise(answer).split(";")
    pieces = {_piece(last)}
    # Where the pass over the whole answer cleaned a surface of the last piece only, and found no
    # characters that a second pass sees anew, that pass changes no more than surfaces' wrapping.
    settled = ":" in last and not any(mark in answer for mark in _UNSETTLING)
    pieces.update(map(_settled_piece if settled else _piece, parts))
    return frozenset(piece for piece in pieces if piece is not None)


@lru_cache(maxsize=1 << 17)
def _piece(part: str) -> Piece | None:
    label, colon, surface = normalise(part).partition(":")
    return (label, surface) if colon else None


def _settled_piece(part: str) -> Piece | None:
    label, colon, surface = part.rpartition(":")
    if ":" in label:
        return _piece(part)
    return (label, _bare(surface)) if colon else None


_TIGHT = ",:()._;'-"  # no space is kept beside these
_PLAIN = {"；": ";", "：": ":", "，": ",", "‘": "'", "’": "'", "“": '"', "”": '"'}
_UNSETTLING = ("{", "}", *_PLAIN)
_SPELLINGS = {"located": "location", "organisation": "organization"}
_WRAPPERS = {"《": "》", "<": ">", "（": "）", "(": ")"}


def normalise(text: str) -> str:
    """Return an answer, or a piece of one, in the paper's normal form; the order of steps counts.

    One pass only: full-width punctuation becomes ASCII after spaces are dropped, so that a
    second pass may change the text again, as it does in the authors' evaluator.
    """
    text = " ".join(text.split())
    if " " in text:
        for mark in _TIGHT:
            if mark in text:
                text = text.replace(" " + mark, mark).replace(mark + " ", mark)
    text = text.lower().replace("{", "").replace("}", "")
    for mark in ",.;":
        while mark * 2 in text:
            text = text.replace(mark * 2, mark)
    if not text.isascii():
        for wide, plain in _PLAIN.items():
            text = text.replace(wide, plain)
    for other, usual in _SPELLINGS.items():
        text = text.replace(other, usual)
    label, colon, surface = text.rpartition(":")
    return f"{label}:{_bare(surface)}" if colon else text


def _bare(surface: str) -> str:
    surface = surface.strip("@#")
    opening = surface.find("《")
    closing = surface.find("》", opening)
    if 0 <= opening < closing:
        surface = surface[opening + 1 : closing]
    if len(surface) > 1 and _WRAPPERS.get(surface[0]) == surface[-1]:
        surface = surface[1:-1]
    return surface


@dataclass(frozen=True, slots=True)
class DataSet:
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


def averages(f1: Mapping[DataSet, float]) -> dict[str, float]:
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


def _mean(f1: Mapping[DataSet, float]) -> float:
    values = [f1[data_set] for data_set in _counted(f1)]
    return sum(values) / len(values) if values else 0.0


def _counted(data_sets: Iterable[DataSet]) -> list[DataSet]:
    given = list(data_sets)
    return [data_set for data_set in given if data_set.name not in EXCLUDED] or given


def macro(scores: Mapping[DataSet, Scores]) -> float:
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
