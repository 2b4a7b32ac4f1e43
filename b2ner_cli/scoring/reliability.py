"""Whether scores mean what they say: of all entities scored 0.9, are nine of ten right?

Pure functions of pairs of a score in 0..1 and whether that entity was right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

Pair = tuple[float, bool]
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """The entities whose scores lie in [low, high), the last bin's in [low, 1]."""

    low: float
    high: float
    count: int
    score: float
    right: float


def bins(pairs: Iterable[Pair], number: int = BINS) -> list[Bin]:
    """Equal bins of scores that hold any: how many, their mean score, and the share that is right.

    *Shape:* at most `number` bins.
    """
    held: dict[int, list[Pair]] = {}
    for score, right in pairs:
        held.setdefault(min(int(score * number), number - 1), []).append((score, right))
    return [
        Bin(
            at / number, (at + 1) / number, len(held[at]),
            sum(score for score, _ in held[at]) / len(held[at]),
            sum(right for _, right in held[at]) / len(held[at]),
        )
        for at in sorted(held)
    ]  # fmt: skip


def calibration_error(pairs: Sequence[Pair], number: int = BINS) -> float:
    """Expected calibration error: how far mean score and share of right ones are apart in a bin,
    a mean over all entities. Guo et al. 2017, equation 3. 0 for no entities.
    """
    apart = sum(each.count * abs(each.score - each.right) for each in bins(pairs, number))
    return apart / len(pairs) if pairs else 0.0


def auroc(pairs: Sequence[Pair]) -> float | None:
    """How often a right entity has a higher score than a wrong one; equal ones count half.

    None where all are right, or none.
    """
    right = sum(good for _, good in pairs)
    wrong = len(pairs) - right
    if not right or not wrong:
        return None
    above = sum(rank for rank, good in _ranked(pairs) if good) - right * (right + 1) / 2
    return above / (right * wrong)


def _ranked(pairs: Sequence[Pair]) -> Iterator[tuple[float, bool]]:
    """Each pair's rank by score, from 1; equal scores share the mean of theirs."""
    before = 0
    for _, group in groupby(sorted(pairs), key=lambda pair: pair[0]):
        equal = list(group)
        for _, good in equal:
            yield before + (len(equal) + 1) / 2, good
        before += len(equal)
