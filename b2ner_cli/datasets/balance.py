"""How many documents are taken of a set: limits, and a draw that gives each label its share."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How many documents to take: a set gives at most `per_set`, a label at most `per_label`
    documents of its set, documents without entities at most `empty` of a set's share, and texts
    over `max_chars` characters are passed over.
    """

    per_set: int = 800
    per_label: int = 200
    empty: float = 0.2
    max_chars: int = 1200


def balanced(
    labels: Sequence[Collection[str] | None], limits: Limits, rng: random.Random
) -> list[int]:
    """Take documents in random order while they hold a label that is still short of its cap.

    `labels` are those that each document has entities of, None for one to be passed over.
    """
    order = list(range(len(labels)))
    rng.shuffle(order)
    taken: list[int] = []
    seen: Counter[str] = Counter()
    empty = 0
    for index in order:
        if len(taken) == limits.per_set:
            break
        held = labels[index]
        if held is None:
            continue
        if not held:
            if empty >= limits.empty * limits.per_set:
                continue
            empty += 1
        elif all(seen[label] >= limits.per_label for label in held):
            continue
        seen.update(held)
        taken.append(index)
    return taken
