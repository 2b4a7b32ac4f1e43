"""A document that is to be scored: its two sides, and what each metric sees of an answer.

    paper    RE, EEA, newEEA   the set of normalised pieces, as of named entities
             EET, newEET       the set of types, right or wrong as a whole; triggers do not count
             Sentiment         the one label, right or wrong
    strict   RE                label and places of head and tail
             newEET, Sentiment the labels
             EET, EEA, newEEA  label and place, as of named entities

An answer that is right or wrong as a whole is one item, so that its F1 is the authors' accuracy.
Knows no files and counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from b2ner_cli.core.document import Mention, Relation
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.structures import relations
from b2ner_cli.core.tasks import LABELS_ONLY, Task
from b2ner_cli.formats.fields import Fields
from b2ner_cli.formats.predictions import PredictionRecord
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import fold
from b2ner_cli.prompts import parsing
from b2ner_cli.scoring.counts import Metric, SetName
from b2ner_cli.scoring.error_classes import NOTHING_UNSUPPORTED, Span, Unsupported
from b2ner_cli.scoring.paper_metric import Piece, normalise, paper_items

_PLAIN_FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """How a file of predictions is read and scored.

    The authors' files bring their gold along; any other file needs `gold` or a field
    `fields.gold`. `label_map` renames the labels of both sides; those that get one name are scored
    as one. `fix_commas` rewrites the answers of the authors' files to ``a: b; a: c`` where they
    say ``a: b, c``. `task` is what was found, None where records tell it. What is wrong in each
    document is written to `errors`. With `bootstrap` rounds, seeded by `seed`, scores come with
    intervals.
    """

    metrics: tuple[Metric, ...] = ("strict",)
    gold: Path | None = None
    fields: Fields = _PLAIN_FIELDS
    label_map: LabelMap | None = None
    fix_commas: bool = False
    task: Task | None = None
    errors: Path | None = None
    bootstrap: int = 0
    seed: int = 0


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
    record: PredictionRecord | None = None

    def unsupported_pieces(self) -> Unsupported:
        """What is unsupported in the paper's normal form."""
        if self.unsupported is NOTHING_UNSUPPORTED:
            return self.unsupported
        absent, unasked = self.unsupported.not_in_text, self.unsupported.not_in_labels
        return Unsupported(_normal_pieces(absent), _normal_pieces(unasked))


def _normal_pieces(said: Iterable[Piece]) -> tuple[Piece, ...]:
    found = (paper_items(f"{label}: {surface}") for label, surface in said)
    return tuple(piece for items in found for piece in items)


# What the metrics see of an answer ----------------------------------------------------------------


def paper_reader(task: str) -> Callable[[str], frozenset[Piece]]:
    """How the authors' evaluator of a task reads an answer."""
    if task in ("EET", "newEET"):
        return _types
    return _sentiment if task == "Sentiment" else paper_items


StrictReader = Callable[[str, str, Sequence[str]], frozenset[Piece]]


def strict_reader(task: str) -> StrictReader | None:
    """How answers are read strictly, given text and labels; None where spans say it all."""
    if task == "RE":
        return _placed_relations
    return _labels if task in LABELS_ONLY else None


def relation_pieces(found: Iterable[Relation], lost: Iterable[Mention]) -> frozenset[Piece]:
    """Relations with their places, and by their words those that the text does not hold."""
    placed = {
        (label, f"{head.text} [{head.start}, {head.end}), {tail.text} [{tail.start}, {tail.end})")
        for label, head, tail, _ in found
    }
    return frozenset(placed | {(mention.label, mention.surface) for mention in lost})


def spelled_as_asked(said: Iterable[str], asked: Sequence[str]) -> list[str]:
    """The labels asked for, and behind them those said that are no spelling of one of them."""
    known = set(map(fold, asked))
    return [*asked, *(label for label in dict.fromkeys(said) if fold(label) not in known)]


def _types(answer: str) -> frozenset[Piece]:
    # None is a type like any other: an answer that finds nothing is right where gold has nothing.
    said = {normalise(piece).partition(":")[0] for piece in normalise(answer).split(";")}
    return frozenset({("types", "; ".join(sorted(said)))})


def _sentiment(answer: str) -> frozenset[Piece]:
    said = normalise(answer)
    return frozenset({("sentiment", said.split(":")[1] if ":" in said else said)})


def _placed_relations(answer: str, text: str, asked: Sequence[str]) -> frozenset[Piece]:
    names = spelled_as_asked(parsing.labels_said(answer), asked)
    mentions, _ = parsing.parse(Completion(answer), names, text)
    return relation_pieces(*relations.ground(text, mentions))


def _labels(answer: str, text: str, asked: Sequence[str]) -> frozenset[Piece]:
    pieces = answer.replace("；", ";").replace("：", ":").split(";")
    said = (name for piece in pieces if (name := piece.partition(":")[0].strip()))
    mentions, _ = parsing.parse_labels(Completion(answer), spelled_as_asked(said, asked))
    return frozenset((mention.label, "") for mention in mentions)
