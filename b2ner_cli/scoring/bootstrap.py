"""How far scores would move had other documents been drawn: percentile bootstrap intervals.

Documents of each data set are drawn anew with replacement, each draw is scored, and the middle
95 % of the scores is the interval. A document counts only by its hits, inventions and misses, so
draws are made among the distinct triples of these, which is the same and needs no documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from b2ner_cli.scoring.counts import Scores, SetName, averages

Interval = tuple[float, float]

_MIDDLE = 0.95


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of F1, of data sets and of the averages; the draws can be repeated by `seed`."""

    rounds: int = 0
    seed: int = 0
    data_sets: Mapping[SetName, Interval] = field(default_factory=dict)
    averages: Mapping[str, Interval] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says of them."""
        return {
            "rounds": self.rounds,
            "seed": self.seed,
            "level": _MIDDLE,
            "datasets": {each.key: list(ends) for each, ends in self.data_sets.items()},
            "averages": {name: list(ends) for name, ends in self.averages.items()},
        }


def intervals(scores: Mapping[SetName, Scores], rounds: int, seed: int = 0) -> Intervals:
    """Draw the documents of each data set `rounds` times; data sets are drawn independently."""
    import numpy as np

    random = np.random.default_rng(seed)
    drawn: dict[SetName, list[float]] = {}
    for data_set, each in scores.items():
        triples = sorted(each.documents)
        numbers = np.array([each.documents[triple] for triple in triples])
        draws = random.multinomial(numbers.sum(), numbers / numbers.sum(), size=rounds)
        tp, fp, fn = (draws @ np.array(triples)).T
        drawn[data_set] = (2 * tp / np.maximum(2 * tp + fp + fn, 1)).tolist()
    means = [
        averages({data_set: values[turn] for data_set, values in drawn.items()})
        for turn in range(rounds)
    ]

    def middle(values: list[float]) -> Interval:
        low, high = np.quantile(values, [(1 - _MIDDLE) / 2, (1 + _MIDDLE) / 2])
        return float(low), float(high)

    return Intervals(
        rounds,
        seed,
        {data_set: middle(values) for data_set, values in drawn.items()},
        {name: middle([mean[name] for mean in means]) for name in means[0]},
    )
