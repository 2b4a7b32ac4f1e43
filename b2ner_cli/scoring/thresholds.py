"""For each label the least score that gives the best strict F1, found from predictions with gold.

    scores of predictions, right or wrong, and how many gold has -> threshold -> counts above it

A threshold that is shown with the documents it was chosen on flatters, so each comes with the F1
of one chosen on half of the documents and scored on the other half, both ways. Scores in files
have four digits: a threshold stands clear of both its neighbours. Prints nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from b2ner_cli.core.document import Document, Entity
from b2ner_cli.errors import InputError
from b2ner_cli.scoring import pairing, records
from b2ner_cli.scoring.counts import Counts, span_items
from b2ner_cli.scoring.scored_documents import ScoreJob

LEAST = 5  # gold and predicted mentions that a label needs for a threshold
_ROUNDED = 0.00005  # how far a score in a file may be from what it was


class _Guess(NamedTuple):
    """A predicted entity: its score, whether gold has it, and the number of its document."""

    score: float
    right: bool
    document: int


@dataclass(slots=True)
class _Evidence:
    """All there is of a label: guesses, the documents of gold mentions, and who predicted it.

    `named` are the labels in the file, of which a label map may have made one.
    """

    guesses: list[_Guess] = field(default_factory=list)
    gold: list[int] = field(default_factory=list)
    named: set[str] = field(default_factory=set)

    def half(self, documents: frozenset[int]) -> _Evidence:
        """What there is of it in some of the documents."""
        return _Evidence(
            [guess for guess in self.guesses if guess.document in documents],
            [number for number in self.gold if number in documents],
        )

    def counts(self, threshold: float = 0.0) -> Counts:
        """What is right and wrong among the guesses from a score on."""
        kept = [guess.right for guess in self.guesses if guess.score >= threshold]
        right = sum(kept)
        return Counts(right, len(kept) - right, len(self.gold) - right)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A label's threshold, and the counts without it, with it, and cross-validated.

    Only what the label was called in the predictions, `named`, is what `tag` can be told of.
    """

    value: float
    without: Counts
    with_it: Counts
    cross_validated: Counts
    named: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says of it; scores in 0..1, unrounded."""
        return {
            "threshold": self.value,
            "f1_without": self.without.f1,
            "f1": self.with_it.f1,
            "f1_cross_validated": self.cross_validated.f1,
            "precision": self.with_it.precision,
            "recall": self.with_it.recall,
            "gold": self.without.support,
            "found": self.without.tp + self.without.fp,
            "kept": self.with_it.tp + self.with_it.fp,
        }


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of labels, most supported first; `left_out` have too little to go by."""

    labels: Mapping[str, Threshold]
    left_out: Mapping[str, Counts]

    @property
    def total(self) -> Threshold:
        """All labels together, those left out as they are; its value says nothing."""
        found = self.labels.values()
        rest = sum(self.left_out.values(), Counts())
        return Threshold(
            0.0,
            sum((each.without for each in found), rest),
            sum((each.with_it for each in found), rest),
            sum((each.cross_validated for each in found), rest),
        )

    @property
    def min_scores(self) -> dict[str, float]:
        """What to tell `tag`: the threshold of each label that is better with one."""
        return {
            name: each.value for each in self.labels.values() if each.value for name in each.named
        }

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Labels with a threshold that is of no use on other documents than it was chosen on."""
        return tuple(
            label
            for label, each in self.labels.items()
            if each.value and each.cross_validated.f1 <= each.without.f1
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        total = self.total.as_dict()
        del total["threshold"]
        return {
            "labels": {label: each.as_dict() for label, each in self.labels.items()},
            "total": total,
            "doubtful": list(self.doubtful),
            "left_out": {
                label: {"gold": each.support, "found": each.tp + each.fp}
                for label, each in self.left_out.items()
            },
        }


def find_thresholds(path: Path, job: ScoreJob) -> Thresholds:
    """Find the thresholds of a file of predictions; the halves are drawn by the job's seed.

    Raises InputError for predictions without scores.
    """
    evidence: defaultdict[str, _Evidence] = defaultdict(_Evidence)
    count = 0
    for gold, predicted in pairing.entity_pairs(path, job):
        _add(evidence, count, records.entities(gold, job.label_map), predicted, job)
        count += 1
    drawn = Random(job.seed).sample(range(count), count // 2)
    half = frozenset(drawn)
    halves = (half, frozenset(range(count)) - half)
    found, left_out = {}, {}
    for label, each in sorted(evidence.items(), key=lambda item: (-len(item[1].gold), item[0])):
        if min(len(each.gold), len(each.guesses)) < LEAST:
            left_out[label] = each.counts()
        else:
            found[label] = _threshold(each, halves)
    return Thresholds(found, left_out)


def _add(
    evidence: defaultdict[str, _Evidence],
    number: int,
    gold: Iterable[Entity],
    predicted: Document | None,
    job: ScoreJob,
) -> None:
    """Take in a document: its gold, and the guesses about it, each place and label once."""
    wanted = span_items(gold)
    for label, _, _ in wanted:
        evidence[label].gold.append(number)
    best: dict[tuple[str, int, int], float] = {}
    if predicted:
        for entity in records.entities(predicted):
            label = job.label_map.asked(entity.label) if job.label_map else entity.label
            evidence[label].named.add(entity.label)
            span = (label, entity.start, entity.end)
            best[span] = max(best.get(span, 0.0), _score(entity, predicted))
    for span, score in best.items():
        evidence[span[0]].guesses.append(_Guess(score, span in wanted, number))


def _score(entity: Entity, document: Document) -> float:
    if entity.score is None:
        raise InputError(
            f"{document.origin}: no score on {entity.text!r}, so no threshold can be found",
            "Score JSONL that `b2ner tag` wrote: its entities have scores. CoNLL has none.",
        )
    if not 0 <= entity.score <= 1:
        raise InputError(
            f"{document.origin}: the score of {entity.text!r} is {entity.score}",
            "Give scores from 0 to 1.",
        )
    return entity.score


def _threshold(each: _Evidence, halves: Sequence[frozenset[int]]) -> Threshold:
    one, other = map(each.half, halves)
    crossed = other.counts(best_threshold(one)) + one.counts(best_threshold(other))
    value = best_threshold(each)
    return Threshold(value, each.counts(), each.counts(value), crossed, tuple(sorted(each.named)))


def best_threshold(each: _Evidence) -> float:
    """The least score that gives the best F1, the lowest of equal ones; 0 keeps all."""
    counts, best, value = each.counts(), each.counts().f1, 0.0
    ordered = sorted(each.guesses)
    for guess, following in pairwise(ordered):
        right = int(guess.right)
        counts += Counts(-right, right - 1, right)
        if counts.f1 > best and following.score > guess.score:
            best, value = counts.f1, _between(guess.score, following.score)
    return value


def _between(low: float, high: float) -> float:
    """A number above one score and not above another, of two digits if there is one."""
    for digits in (2, 3, 4):
        value = round(math.ceil((low + _ROUNDED) * 10**digits) / 10**digits, digits)
        if value <= high - _ROUNDED:
            return value
    return round((low + high) / 2, 5)
