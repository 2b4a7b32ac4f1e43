"""How far two answers about the same documents agree, label by label: what needs no gold.

The strict F1 of the one against the other: an entity of both has its label and its place in both.
"""

from __future__ import annotations

from collections.abc import Iterable

from b2ner_cli.core.document import Result
from b2ner_cli.errors import UsageError
from b2ner_cli.scoring.counts import Scores, Tally, span_items


def agreement(first: Iterable[Result], second: Iterable[Result]) -> Scores:
    """Compare two lists of results of the same documents, in the same order.

    `tp` counts entities of both, `fp` of `second` alone, `fn` of `first` alone; each F1 is the
    same either way round. Raises UsageError for results of other documents.
    """
    tally = Tally()
    for one, other in _paired(first, second):
        tally.add_spans(span_items(one.entities), span_items(other.entities))
    return tally.scores()


def _paired(first: Iterable[Result], second: Iterable[Result]) -> list[tuple[Result, Result]]:
    ones, others = list(first), list(second)
    if [each.document.text for each in ones] != [each.document.text for each in others]:
        raise UsageError(
            f"these are not results of the same documents: {len(ones)} and {len(others)}",
            "Give both lists in one order.",
        )
    return list(zip(ones, others, strict=True))
