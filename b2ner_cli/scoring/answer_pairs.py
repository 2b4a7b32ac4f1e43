"""Gather the two sides of each record of the authors' prediction files, which have their gold.

What an answer says is read three ways: as the paper's metric sees it, as the tagger would place
it, and mention by mention for what it should not say. Counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from b2ner_cli.core.document import Entity, Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.grounding import ground
from b2ner_cli.core.structures import relations
from b2ner_cli.errors import InputError
from b2ner_cli.formats import predictions
from b2ner_cli.labels.label_map import LabelMap, relabel
from b2ner_cli.prompts import parsing
from b2ner_cli.scoring import items
from b2ner_cli.scoring.counts import SetName, span_items
from b2ner_cli.scoring.error_classes import NOTHING_UNSUPPORTED, Span, Unsupported
from b2ner_cli.scoring.paper_metric import Piece, normalise, split_commas
from b2ner_cli.scoring.scored_documents import Audit, Reading, ScoredDocument, Side

# Those that the authors' evaluator knows; it ends at any other.
TASKS = ("NER", "RE", "EE", "EET", "EEA", "newEEA", "newEET", "Sentiment")
_NO_SPANS: frozenset[Span] = frozenset()
_NO_PIECES: frozenset[Piece] = frozenset()
_NOT_LETTERS = {code: None for code in range(128) if not chr(code).isalnum()}


def answer_pairs(path: Path, reading: Reading) -> Iterator[ScoredDocument]:
    """Yield the records of a prediction file with both their sides."""
    known: dict[tuple[str, str, str], _Asking] = {}
    for record in predictions.read(path):
        key = (record.dataset, record.task, record.language)
        asking = known.get(key)
        if asking is None:
            _check_task(record)
            asking = known[key] = _Asking(SetName(*key))
        asked = asking.labels(record)
        if reading.label_map:
            record, asked = _renamed(record, asked, reading.label_map)
        if reading.fix_commas and "NER" in record.task:
            record = _split(record)
        said = _pieces(record.predicted)
        lost = relations.is_lost if record.task == "RE" else is_lost
        audit, unsupported = _answer_audit(said, record.sentence, asked, lost)
        gold_pieces = pieces = _NO_PIECES
        gold_spans = spans = _NO_SPANS
        if "paper" in reading.metrics:
            gold_pieces = pieces = asking.paper(record.gold)
            if record.predicted != record.gold:
                pieces = asking.paper(record.predicted)
        placed = guess = None
        if asking.strict and "strict" in reading.metrics:
            placed = asking.strict(record.gold, record.sentence)
            guess = asking.strict(record.predicted, record.sentence)
        elif "strict" in reading.metrics:
            gold_spans, spans, unplaced = _spans(record, asked, said)
            if unplaced:
                audit += Audit(unplaced=unplaced)
        yield ScoredDocument(
            asking.data_set,
            record.id,
            record.sentence,
            Side(gold_spans, gold_pieces, placed),
            Side(spans, pieces, guess),
            audit,
            False,
            unsupported,
            record,
        )


class _Asking:
    """A data set, how its answers are read, and its prompts' labels, which mostly begin alike."""

    def __init__(self, data_set: SetName) -> None:
        self.data_set = data_set
        self.paper = items.paper(data_set.task)
        self.strict = items.strict(data_set.task)
        self._opening = ""
        self._labels = ""

    def labels(self, record: predictions.PredictionRecord) -> str | None:
        """What `record.asked` is, looked for only where the prompt begins unlike the last."""
        if self._opening and record.instruction.startswith(self._opening):
            return self._labels
        place = predictions.label_place(record.instruction)
        if place is None:
            return None
        start, end = place
        self._labels = record.instruction[start:end].strip()
        self._opening = record.instruction[: end + 1]  # with the line's end
        return self._labels


def _spans(
    record: predictions.PredictionRecord, asked: str | None, said: list[Piece]
) -> tuple[frozenset[Span], frozenset[Span], int]:
    """What both sides say, in offsets, and how many gold mentions have none."""
    text = record.sentence
    pieces = said if record.predicted == record.gold else _pieces(record.gold)
    mentions = _mentions(record.gold, pieces, text, None)
    placed, unplaced = ground(text, mentions)
    entities: Iterable[Entity] | None = record.entities
    if entities is None:
        guesses = _mentions(record.predicted, said, text, asked)
        entities = placed if guesses == mentions else ground(text, guesses)[0]
    return span_items(placed), span_items(entities), len(unplaced)


def _check_task(record: predictions.PredictionRecord) -> None:
    if record.task not in TASKS:
        raise InputError(
            f"{record.origin}: unknown task {record.task!r} of data set {record.dataset!r}",
            f"Known are {', '.join(TASKS)}.",
        )


def _split(record: predictions.PredictionRecord) -> predictions.PredictionRecord:
    """The record with the commas of its answer split; its entities are then those of before."""
    predicted = split_commas(record.predicted)
    if predicted == record.predicted:
        return record
    return replace(record, predicted=predicted, entities=None)


def _renamed(
    record: predictions.PredictionRecord, asked: str | None, label_map: LabelMap
) -> tuple[predictions.PredictionRecord, str | None]:
    """Rename the labels of a record, and of the line of its prompt that names them."""
    renamed = replace(
        record,
        gold=relabel(record.gold, label_map.names),
        predicted=relabel(record.predicted, label_map.names),
        entities=record.entities
        and tuple(e._replace(label=label_map.asked(e.label)) for e in record.entities),
    )
    return renamed, asked and ", ".join(label_map.asked(n.strip()) for n in asked.split(","))


def _pieces(answer: str) -> list[Piece]:
    """Cut an answer at its separators: label and surface where a piece has both."""
    if not answer.isascii():
        answer = answer.replace("；", ";").replace("：", ":")
    found = []
    for piece in answer.split(";"):
        label, _, surface = piece.partition(":")
        if (surface := surface.strip()) and (label := label.strip()):
            found.append((label, surface))
    return found


def _mentions(answer: str, pieces: list[Piece], text: str, asked: str | None) -> list[Mention]:
    """Read an answer as the tagger would; with `asked` None any label goes."""
    if not pieces:
        return []
    if answer.isascii() and len(pieces) == answer.count(";") + 1:
        names = None if asked is None else _names(asked)
        if names is None or all(label in names for label, _ in pieces):
            return [Mention(label, surface) for label, surface in pieces]
    given = list(dict.fromkeys(label for label, _ in pieces))
    if asked is not None:
        # A label that holds a comma is seen as one where an answer spells it.
        given = [*_names(asked), *(label for label in given if f", {label}, " in f", {asked}, ")]
    mentions, _ = parsing.parse(Completion(answer), given, text)
    return mentions


@lru_cache(maxsize=1 << 12)
def _names(asked: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in asked.split(","))


def _answer_audit(
    said: list[Piece], text: str, asked: str | None, lost: Callable[[str, str], bool]
) -> tuple[Audit, Unsupported]:
    unlocated = [piece for piece in said if piece[1] not in text and lost(text, piece[1])]
    unasked: list[Piece] = []
    if asked is not None:
        unasked = [piece for piece in said if not _is_asked(piece[0], asked)]
    audit = Audit(len(said), len(unlocated), None if asked is None else len(unasked))
    if not unlocated and not unasked:
        return audit, NOTHING_UNSUPPORTED
    absent = dict.fromkeys(piece for piece in unlocated if piece not in unasked)
    return audit, Unsupported(tuple(absent), tuple(dict.fromkeys(unasked)))


@lru_cache(maxsize=1 << 14)
def _is_asked(label: str, asked: str) -> bool:
    return f",{_folded(label)}," in f",{_folded(asked)},"


def is_lost(text: str, surface: str) -> bool:
    """Whether the text does not hold a surface, however it is spelled."""
    # Folding ASCII keeps letters and digits, so most inventions show without the slow search.
    if text.isascii() and surface.isascii() and _letters(surface) not in _letters(text):
        return True
    return bool(ground(text, [Mention("label", surface)])[1])


def _letters(text: str) -> str:
    return text.casefold().translate(_NOT_LETTERS)


@lru_cache(maxsize=1 << 14)
def _folded(labels: str) -> str:
    """Fold one label or a comma list of them: how an answer spells a label is not its fault."""
    return normalise(labels).replace("-> ", "->")
