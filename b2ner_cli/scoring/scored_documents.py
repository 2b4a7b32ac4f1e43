"""The two sides of a document that is to be scored, and how files are read for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from b2ner_cli.core.tasks import Task
from b2ner_cli.formats import fields, predictions
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.scoring.counts import Metric, SetName
from b2ner_cli.scoring.error_classes import NOTHING_UNSUPPORTED, Span, Unsupported
from b2ner_cli.scoring.paper_metric import Piece, paper_items

_PLAIN_FIELDS = fields.Fields()


@dataclass(frozen=True, slots=True)
class Audit:
    """How honest the predictions of one or more documents are, in numbers that add up.

    `mentions` were predicted; `unlocated` of them have a surface that the text does not hold,
    `invalid` a label that was not asked for, None where the labels asked for are not known.
    `unplaced` gold mentions have no place in the text, so that strict leaves them out.
    """

    mentions: int = 0
    unlocated: int = 0
    invalid: int | None = None
    unplaced: int = 0

    def __add__(self, other: Audit) -> Audit:
        return sum_audits([self, other])


def sum_audits(audits: Sequence[Audit]) -> Audit:
    """The audit of all documents together."""
    known = [each.invalid for each in audits if each.invalid is not None]
    return Audit(
        sum([each.mentions for each in audits]),
        sum([each.unlocated for each in audits]),
        sum(known) if known else None,
        sum([each.unplaced for each in audits]),
    )


class Side(NamedTuple):
    """What one side says of a document: filled is what the metrics asked for see of it.

    `placed` is what strict sees of answers that are no spans, as those about relations.
    """

    spans: frozenset[Span] = frozenset()
    pieces: frozenset[Piece] = frozenset()
    placed: frozenset[Piece] | None = None


class ScoredDocument(NamedTuple):
    """One document's two sides.

    `unsupported` are predictions that no gold can match, as said; `record` is the line of the
    authors' file that the document comes from, None for other files.
    """

    data_set: SetName
    id: str
    text: str
    gold: Side
    predicted: Side
    audit: Audit
    missing: bool = False
    unsupported: Unsupported = NOTHING_UNSUPPORTED
    record: predictions.PredictionRecord | None = None

    def unsupported_pieces(self) -> Unsupported:
        """What is unsupported in the paper's normal form."""
        if self.unsupported is NOTHING_UNSUPPORTED:
            return self.unsupported
        return Unsupported(
            _normal_pieces(self.unsupported.not_in_text),
            _normal_pieces(self.unsupported.not_in_labels),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: which metrics they are read for, and what is changed on the way.

    With `label_map` the labels of both sides are renamed; `fix_commas` rewrites the answers of
    the authors' files to ``a: b; a: c`` where they say ``a: b, c``. `task` is what records were
    written for, None where they tell it themselves.
    """

    metrics: tuple[Metric, ...] = ("strict",)
    named: fields.Fields = _PLAIN_FIELDS
    label_map: LabelMap | None = None
    fix_commas: bool = False
    task: Task | None = None


def _normal_pieces(said: Iterable[Piece]) -> tuple[Piece, ...]:
    found = (paper_items(f"{label}: {surface}") for label, surface in said)
    return tuple(piece for items in found for piece in items)
