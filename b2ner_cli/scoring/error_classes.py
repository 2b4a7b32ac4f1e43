"""What is wrong in one document: misses and inventions, paired where they are one error.

Knows no text and no label set: which predictions are not in the text, or have a label that was
not asked for, it is told.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from b2ner_cli.scoring.paper_metric import Piece

Span = tuple[str, int, int]  # label, start, end: what strict compares
Item = Span | Piece
ItemPair = tuple[Item, Item]  # gold, predicted
ItemT = TypeVar("ItemT", Span, Piece)

CLASSES = (
    "missed", "invented", "wrong_label", "wrong_boundary", "not_in_text", "not_in_labels"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Errors:
    """What is wrong in one document; every miss and every invention stands in exactly one field.

    A pair (gold, predicted) in `wrong_label` has the same place (paper: the same surface), one in
    `wrong_boundary` the same label and an overlap (paper: one surface holds the other). What
    differs in both is a miss and an invention. `not_in_labels` has a label that was not asked
    for, `not_in_text` a surface that the text does not hold: of the paper's inventions these are
    taken out first; strict knows no place for them, so there they stand beside its inventions.
    """

    missed: tuple[Item, ...] = ()
    invented: tuple[Item, ...] = ()
    wrong_label: tuple[ItemPair, ...] = ()
    wrong_boundary: tuple[ItemPair, ...] = ()
    not_in_text: tuple[Piece, ...] = ()
    not_in_labels: tuple[Piece, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.missed
            or self.invented
            or self.wrong_label
            or self.wrong_boundary
            or self.not_in_text
            or self.not_in_labels
        )

    def counts(self) -> dict[str, int]:
        """How many there are of each class."""
        return {name: len(getattr(self, name)) for name in CLASSES}


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Predictions of a document that no gold can match: each stands in one field."""

    not_in_text: tuple[Piece, ...] = ()
    not_in_labels: tuple[Piece, ...] = ()


NOTHING_UNSUPPORTED = Unsupported()


def span_errors(
    gold: frozenset[Span],
    predicted: frozenset[Span],
    unsupported: Unsupported = NOTHING_UNSUPPORTED,
) -> Errors:
    """Sort one document's strict errors by kind."""
    found = _errors(sorted(gold - predicted), sorted(predicted - gold), overlapping)
    return Errors(*found, unsupported.not_in_text, unsupported.not_in_labels)


def piece_errors(
    gold: frozenset[Piece],
    predicted: frozenset[Piece],
    unsupported: Unsupported = NOTHING_UNSUPPORTED,
) -> Errors:
    """Sort one document's paper-metric errors by kind; `unsupported` holds normalised pieces."""
    invented = predicted - gold
    unasked = invented.intersection(unsupported.not_in_labels)
    absent = invented.intersection(unsupported.not_in_text) - unasked
    found = _errors(sorted(gold - predicted), sorted(invented - unasked - absent), _containing)
    return Errors(*found, tuple(sorted(absent)), tuple(sorted(unasked)))


def _errors(
    missed: list[ItemT],
    invented: list[ItemT],
    near: Callable[[Sequence[ItemT], Sequence[ItemT]], list[tuple[ItemT, ItemT]]],
) -> tuple[tuple[ItemT, ...], tuple[ItemT, ...], tuple[ItemPair, ...], tuple[ItemPair, ...]]:
    """What is missed, invented, of a wrong label and of a wrong boundary, in order of place."""
    wrong_label: list[tuple[ItemT, ItemT]] = []
    wrong_boundary: list[tuple[ItemT, ItemT]] = []
    if missed and invented:
        wrong_label = same_place(missed, invented)
        missed, invented = _without(missed, invented, wrong_label)
        wrong_boundary = near(missed, invented)
        missed, invented = _without(missed, invented, wrong_boundary)
    return (
        tuple(sorted(missed, key=_place)),
        tuple(sorted(invented, key=_place)),
        tuple(sorted(wrong_label, key=_gold_place)),
        tuple(sorted(wrong_boundary, key=_gold_place)),
    )


def _place(item: Item) -> tuple[str | int, ...]:
    return item[1:]


def _gold_place(pair: ItemPair) -> tuple[str | int, ...]:
    return _place(pair[0])


def _without(
    missed: list[ItemT], invented: list[ItemT], pairs: list[tuple[ItemT, ItemT]]
) -> tuple[list[ItemT], list[ItemT]]:
    if not pairs:
        return missed, invented
    golds, guesses = {gold for gold, _ in pairs}, {guess for _, guess in pairs}
    return [m for m in missed if m not in golds], [i for i in invented if i not in guesses]


def same_place(missed: Iterable[ItemT], invented: Iterable[ItemT]) -> list[tuple[ItemT, ItemT]]:
    """ItemPair, one to one, items that differ in their label only."""
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
    """ItemPair, one to one, as many spans of one label that overlap as can be paired at once."""
    golds: defaultdict[str, list[Span]] = defaultdict(list)
    guesses: defaultdict[str, list[Span]] = defaultdict(list)
    for item in missed:
        golds[item[0]].append(item)
    for item in invented:
        guesses[item[0]].append(item)
    return [
        pair
        for label in golds
        if label in guesses
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
