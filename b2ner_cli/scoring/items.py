"""What the metrics see of an answer to another task than named entities.

    paper    RE, EEA, newEEA   the set of normalised pieces, as of named entities
             EET, newEET       the set of types, right or wrong as a whole; triggers do not count
             Sentiment         the one label, right or wrong
    strict   RE                label and places of head and tail
             newEET, Sentiment the labels
             EET, EEA, newEEA  label and place, as of named entities

An answer that is right or wrong as a whole is one item, so that its F1 is the authors' accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from b2ner_cli.core.document import Mention, Relation
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.structures import relations
from b2ner_cli.prompts import parsing
from b2ner_cli.scoring.paper_metric import Piece, normalise, paper_items

PaperItems = Callable[[str], frozenset[Piece]]
StrictItems = Callable[[str, str], frozenset[Piece]]


def paper(task: str) -> PaperItems:
    """How the authors' evaluator of a task reads an answer."""
    if task in ("EET", "newEET"):
        return _types
    return _sentiment if task == "Sentiment" else paper_items


def strict(task: str) -> StrictItems | None:
    """How answers are read strictly, given the text; None where spans say it all."""
    if task == "RE":
        return _placed_relations
    return _labels if task in ("newEET", "Sentiment") else None


def relation_pieces(found: Iterable[Relation], lost: Iterable[Mention]) -> frozenset[Piece]:
    """Relations with their places, and by their words those that the text does not hold."""
    placed = {
        (label, f"{head.text} [{head.start}, {head.end}), {tail.text} [{tail.start}, {tail.end})")
        for label, head, tail, _ in found
    }
    return frozenset(placed | {(mention.label, mention.surface) for mention in lost})


def _types(answer: str) -> frozenset[Piece]:
    # None is a type like any other: an answer that finds nothing is right where gold has nothing.
    said = {normalise(piece).partition(":")[0] for piece in normalise(answer).split(";")}
    return frozenset({("types", "; ".join(sorted(said)))})


def _sentiment(answer: str) -> frozenset[Piece]:
    said = normalise(answer)
    return frozenset({("sentiment", said.split(":")[1] if ":" in said else said)})


def _placed_relations(answer: str, text: str) -> frozenset[Piece]:
    names = list(dict.fromkeys(parsing.labels_said(answer)))
    mentions, _ = parsing.parse(Completion(answer), names, text)
    return relation_pieces(*relations.ground(text, mentions))


def _labels(answer: str, text: str) -> frozenset[Piece]:
    names = [piece.partition(":")[0].strip() for piece in answer.replace("；", ";").split(";")]
    said, _ = parsing.parse_labels(Completion(answer), [name for name in names if name])
    return frozenset((event.label, "") for event in said)
