"""How sure a mention of an answer is: from the probabilities of its tokens to that of being right.

The geometric mean of the tokens' probabilities is what a model says of itself, which is too much:
it ranks, and 0.9 may be right half of the time. A `Calibration` is a logistic regression on what
tells right from wrong, fitted on annotated documents that the adapter was not trained on (see
`training.calibrating`), and kept in the adapter's run.json. Free and constrained answers have one
each, because a probability among all tokens and one among the allowed few are not the same.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from b2ner_cli.core.engine import Completion

FEATURES = (
    "label begins", "surface begins", "weakest token", "all tokens", "weakest of the answer",
    "others of the label",
)  # fmt: skip
DECODINGS = ("constrained", "free")
_OTHERS = 3  # mentions of a label beside one: more of them tell no more, as in a list of things
_MOST, _LEAST = 9.0, -6.0  # log-odds: beyond these a float's rounding speaks


class Place(NamedTuple):
    """Where a mention stands in its answer: offsets of its label, its surface and its end.

    `others` are the mentions of the same label in the answer, beside this one.
    """

    label: int
    surface: int
    end: int
    others: int = 0


Confidence = Callable[[Completion, Place], float | None]
"""How sure a mention is, in 0..1; None where the answer has no log-probabilities."""


def likelihood(completion: Completion, place: Place) -> float | None:
    """Geometric mean probability of the answer tokens that spell a mention."""
    spelling = _spelling(completion, place.label, place.end)
    if not spelling:
        return None
    mean = sum(spelling) / len(spelling)
    return math.exp(mean) if mean < 0 else 1.0


def features(completion: Completion, place: Place) -> tuple[float, ...] | None:
    """What tells right from wrong, by `FEATURES`: log-odds of tokens, and a count.

    None where the answer has no log-probabilities.
    """
    label = _spelling(completion, place.label, place.surface)
    both = _spelling(completion, place.label, place.end)
    if not both:
        return None
    surface = both[len(label) : len(label) + 1]
    odds = (both[0], sum(surface), min(both), sum(both), min(completion.logprobs))
    return (*map(_log_odds, odds), float(min(place.others, _OTHERS)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A weight for each of `FEATURES`, and a constant: together the log-odds of being right."""

    weights: tuple[float, ...]
    constant: float

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES):
            raise ValueError(f"{len(self.weights)} weights for {len(FEATURES)} features")
        if not all(map(math.isfinite, (*self.weights, self.constant))):
            raise ValueError("a weight that is no number")

    def __call__(self, completion: Completion, place: Place) -> float | None:
        """The probability that a mention is right; None without log-probabilities."""
        found = features(completion, place)
        return None if found is None else self.probability(found)

    def probability(self, found: Sequence[float]) -> float:
        """The probability of being right that goes with these features."""
        odds = self.constant + sum(w * x for w, x in zip(self.weights, found, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))

    def as_dict(self) -> dict[str, float]:
        """The weights by what they are of, as run.json keeps them."""
        rounded = {name: round(w, 4) for name, w in zip(FEATURES, self.weights, strict=True)}
        return {**rounded, "constant": round(self.constant, 4)}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`. Raises ValueError for anything else."""
        try:
            weights = tuple(float(kept[name]) for name in FEATURES)
            return cls(weights, float(kept["constant"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no calibration: {error}") from None


def _spelling(completion: Completion, start: int, end: int) -> tuple[float, ...]:
    """Log-probabilities of the tokens that spell characters [start, end) of an answer."""
    ends = completion.ends
    return completion.logprobs[bisect_right(ends, start) : bisect_left(ends, end) + 1]


def _log_odds(logprob: float) -> float:
    """From a log-probability to log-odds, within what can be told; of no tokens the most."""
    if logprob > -1e-4:
        return _MOST
    return max(_LEAST, logprob - math.log(-math.expm1(logprob)))
