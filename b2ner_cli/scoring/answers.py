"""The authors' prediction files, which have their gold: both sides of each record.

What an answer says is read three ways: as the paper's metric sees it, as the tagger would place
it, and mention by mention for what it should not say. Counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from b2ner_cli.core.document import Entity, Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.grounding import ground
from b2ner_cli.core.structures import relations
from b2ner_cli.errors import InputError
from b2ner_cli.formats import predictions
from b2ner_cli.formats.predictions import PredictionRecord
from b2ner_cli.labels.label_map import LabelMap, relabel
from b2ner_cli.prompts import parsing
from b2ner_cli.scoring.counts import SetName, span_items
from b2ner_cli.scoring.error_classes import NOTHING_UNSUPPORTED, Span, Unsupported
from b2ner_cli.scoring.paper_metric import Piece, normalise, split_commas
from b2ner_cli.scoring.scored_documents import (
    Audit,
    ScoredDocument,
    ScoreJob,
    Side,
    paper_reader,
    spelled_as_asked,
    strict_reader,
)

# Those that the authors' evaluator knows; it ends at any other.
TASKS = ("NER", "RE", "EE", "EET", "EEA", "newEEA", "newEET", "Sentiment")
_NO_SPANS: frozenset[Span] = frozenset()
_NO_PIECES: frozenset[Piece] = frozenset()
_NOT_LETTERS = {code: None for code in range(128) if not chr(code).isalnum()}


def scored_documents(path: Path, job: ScoreJob) -> Iterator[ScoredDocument]:
    """Yield the records of a prediction file with both their sides."""
    readers: dict[tuple[str, str, str], _SetReader] = {}
    for record in predictions.read(path):
        key = (record.dataset, record.task, record.language)
        reader = readers.get(key)
        if reader is None:
            _check_task(record)
            reader = readers[key] = _SetReader(SetName(*key), job)
        yield reader.read(record)


class _SetReader:
    """How the answers of a data set are read, and its prompts' labels, which mostly begin alike."""

    def __init__(self, data_set: SetName, job: ScoreJob) -> None:
        self._data_set, self._job = data_set, job
        self._paper = paper_reader(data_set.task) if "paper" in job.metrics else None
        self._strict = strict_reader(data_set.task) if "strict" in job.metrics else None
        self._has_spans = "strict" in job.metrics and self._strict is None
        self._lost = relations.is_lost if data_set.task == "RE" else is_lost
        self._opening = ""
        self._labels = ""

    def read(self, record: PredictionRecord) -> ScoredDocument:
        """Both sides of a record."""
        job, asked = self._job, self._asked(record)
        if job.label_map:
            record, asked = _renamed(record, asked, job.label_map)
        if job.fix_commas and "NER" in record.task:
            record = _split(record)
        said = _pieces(record.predicted)
        audit, unsupported = _audit(said, record.sentence, asked, self._lost)
        gold_pieces = pieces = _NO_PIECES
        gold_spans = spans = _NO_SPANS
        gold_placed = placed = None
        if self._paper:
            gold_pieces = pieces = self._paper(record.gold)
            if record.predicted != record.gold:
                pieces = self._paper(record.predicted)
        if self._strict:
            names = _names(asked or "")
            gold_placed = self._strict(record.gold, record.sentence, names)
            placed = self._strict(record.predicted, record.sentence, names)
        if self._has_spans:
            gold_spans, spans, unplaced = _spans(record, asked, said)
            if unplaced:
                audit = replace(audit, unplaced=unplaced)
        return ScoredDocument(
            self._data_set,
            record.id,
            record.sentence,
            Side(gold_spans, gold_pieces, gold_placed),
            Side(spans, pieces, placed),
            audit,
            False,
            unsupported,
            record,
        )

    def _asked(self, record: PredictionRecord) -> str | None:
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
    record: PredictionRecord, asked: str | None, said: list[Piece]
) -> tuple[frozenset[Span], frozenset[Span], int]:
    """What both sides say, in offsets, and how many gold mentions have none."""
    text = record.sentence
    pieces = said if record.predicted == record.gold else _pieces(record.gold)
    names = None if asked is None else _names(asked)
    mentions = _mentions(record.gold, pieces, text, names)
    placed, unplaced = ground(text, mentions)
    entities: Iterable[Entity] | None = record.entities
    if entities is None:
        guesses = _mentions(record.predicted, said, text, names, asked)
        entities = placed if guesses == mentions else ground(text, guesses)[0]
    return span_items(placed), span_items(entities), len(unplaced)


def _check_task(record: PredictionRecord) -> None:
    if record.task not in TASKS:
        raise InputError(
            f"{record.origin}: unknown task {record.task!r} of data set {record.dataset!r}",
            f"Known are {', '.join(TASKS)}.",
        )


def _split(record: PredictionRecord) -> PredictionRecord:
    """The record with the commas of its answer split; its entities are then those of before."""
    predicted = split_commas(record.predicted)
    if predicted == record.predicted:
        return record
    return replace(record, predicted=predicted, entities=None)


def _renamed(
    record: PredictionRecord, asked: str | None, label_map: LabelMap
) -> tuple[PredictionRecord, str | None]:
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


def _mentions(
    answer: str,
    pieces: list[Piece],
    text: str,
    names: Sequence[str] | None,
    only: str | None = None,
) -> list[Mention]:
    """Read an answer as the tagger would, labels spelled as in `names` where these are known.

    Other labels go as well, unless `only` lists those asked for.
    """
    if not pieces:
        return []
    plain = answer.isascii() and len(pieces) == answer.count(";") + 1
    if plain and (names is None or all([label in names for label, _ in pieces])):
        return [Mention(label, surface) for label, surface in pieces]
    said = [label for label, _ in pieces]
    if only is not None:
        # A label that holds a comma is seen as one where an answer spells it.
        said = [label for label in said if f", {label}, " in f", {only}, "]
    mentions, _ = parsing.parse(Completion(answer), spelled_as_asked(said, names or ()), text)
    return mentions


@lru_cache(maxsize=1 << 12)
def _names(asked: str) -> tuple[str, ...]:
    return tuple(name for part in asked.split(",") if (name := part.strip()))


def _audit(
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
