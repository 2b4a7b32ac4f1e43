"""Gather the two sides of every document that is to be scored: gold, and predicted.

Reads the authors' prediction files (gold inside), our JSONL (gold from a second file or from a
field of the same record) and CoNLL. A data set is named as in the authors' tables,
``NER_en_<set>``; a plain file is one data set, named by its file name without suffix. Whatever
cannot be paired ends the run: a score that skips is no score. Counts nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from b2ner_cli import formats, prompts
from b2ner_cli.document import BadRecord, Completion, Document, Entity, Mention
from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.evaluation import DataSet, Metric, Piece, Span, normalise, paper_items, span_items
from b2ner_cli.formats import fields, predictions, sources
from b2ner_cli.grounding import locate
from b2ner_cli.label_map import LabelMap, relabel

_SEPARATOR = re.compile("[;；]")
_COLON = re.compile("[:：]")
_PREDICTED = "entities"  # the field that holds them, in predictions and in gold files
_NAMED = 3
_NOT_LETTERS = {code: None for code in range(128) if not chr(code).isalnum()}


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
        known = [each.invalid for each in (self, other) if each.invalid is not None]
        return Audit(
            self.mentions + other.mentions,
            self.unlocated + other.unlocated,
            sum(known) if known else None,
            self.unplaced + other.unplaced,
        )


@dataclass(frozen=True, slots=True)
class Side:
    """What one side says of a document, as a metric sees it: only one of the two is filled."""

    spans: frozenset[Span] = frozenset()
    pieces: frozenset[Piece] = frozenset()


@dataclass(frozen=True, slots=True)
class Pair:
    """One document's two sides."""

    data_set: DataSet
    id: str
    text: str
    gold: Side
    predicted: Side
    audit: Audit
    missing: bool = False


def read_pairs(
    path: Path,
    gold: Path | None,
    named: fields.Fields,
    metric: Metric,
    label_map: LabelMap | None = None,
) -> Iterator[Pair]:
    """Yield the documents of a prediction file, or of a directory that has one, with their gold.

    The authors' files bring their gold along; any other needs `gold` or a field `named.gold`.
    With `label_map` the labels of both sides are renamed.
    """
    path = _prediction_file(path)
    kind = _kind(path)
    if kind == "answers":
        if gold or named.gold:
            raise UsageError(
                f"{path} brings its gold answers along",
                "Leave out --gold and --gold-field for the authors' prediction files.",
            )
        return _answer_pairs(path, metric, label_map)
    found: Iterator[tuple[Document, Document | None]]
    if gold is None:
        found = _one_file(path, kind, named)
    elif named.gold:
        raise UsageError("gold comes from --gold or from --gold-field, not from both")
    elif _kind(gold) == "answers":
        raise InputError(f"{gold}: a file of predictions, not of gold")
    else:
        found = _two_files(path, gold, named)
    data_set = DataSet(Path(path.name.removesuffix(".gz")).stem)
    if label_map:
        found = ((label_map.document(g), p and label_map.document(p)) for g, p in found)
    return (_document_pair(data_set, *each, metric) for each in found)


def named_ids(ids: Sequence[str]) -> str:
    """Name the first few ids for a message, and count the others."""
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(map(repr, ids[:_NAMED])) + more


# The authors' prediction files ------------------------------------------------------------------


def _prediction_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    inside = path / predictions.FILE_NAME
    if inside.is_file():
        return inside
    deeper = sorted(path.glob(f"*/{predictions.FILE_NAME}"))
    hint = f"Did you mean {deeper[0].parent}?" if deeper else "Name the file of predictions itself."
    raise InputError(f"{path}: no {predictions.FILE_NAME} in this directory", hint)


def _kind(path: Path) -> str:
    """Tell what a file of predictions or gold is: ``answers``, ``jsonl`` or ``conll``."""
    if str(path) == sources.STDIN or sources.is_stream(str(path)):
        raise UsageError(
            f"{path}: predictions are read from a file, not from a pipe",
            "Write them to a file first: its records are looked at more than once.",
        )
    with sources.opened(str(path), None, None) as (format, lines):
        first = next((line for line in lines if line.strip()), b"")
    if not first:
        raise InputError(
            f"{path}: nothing in the file to score", "Did the run that wrote it finish?"
        )
    if format == "jsonl":
        return "answers" if predictions.is_prediction(first) else format
    if format == "conll":
        return format
    raise InputError(
        f"{path}: a file of format {format} cannot be scored",
        "Predictions and gold are JSONL with entities, CoNLL, or the authors' prediction files.",
    )


def _answer_pairs(path: Path, metric: Metric, label_map: LabelMap | None) -> Iterator[Pair]:
    for record in predictions.read(path):
        data_set = DataSet(record.dataset, record.task, record.language)
        asked = record.asked
        if label_map:
            record, asked = _renamed(record, label_map)
        audit = _answer_audit(record.predicted, record.sentence, asked)
        if metric == "paper":
            gold = predicted = Side(pieces=paper_items(record.gold))
            if record.predicted != record.gold:
                predicted = Side(pieces=paper_items(record.predicted))
            yield Pair(data_set, record.id, record.sentence, gold, predicted, audit)
            continue
        placed, unplaced = locate(record.sentence, _said(record.gold, record.sentence, None))
        entities: Iterable[Entity] | None = record.entities
        if entities is None:
            said = _said(record.predicted, record.sentence, asked)
            entities, _ = locate(record.sentence, said)
        yield Pair(
            data_set,
            record.id,
            record.sentence,
            Side(span_items(placed)),
            Side(span_items(entities)),
            audit + Audit(unplaced=len(unplaced)),
        )


def _renamed(
    record: predictions.PredictionRecord, label_map: LabelMap
) -> tuple[predictions.PredictionRecord, str | None]:
    """Rename the labels of a record, and of the line of its prompt that names them."""
    renamed = replace(
        record,
        gold=relabel(record.gold, label_map.names),
        predicted=relabel(record.predicted, label_map.names),
        entities=record.entities
        and tuple(e._replace(label=label_map.asked(e.label)) for e in record.entities),
    )
    asked = record.asked
    return renamed, asked and ", ".join(label_map.asked(n.strip()) for n in asked.split(","))


def _pieces(answer: str) -> Iterator[tuple[str, str]]:
    """Cut an answer at its separators; yield label and surface where a piece has both."""
    for piece in _SEPARATOR.split(answer):
        parts = _COLON.split(piece, maxsplit=1)
        if len(parts) == 2 and (label := parts[0].strip()) and (surface := parts[1].strip()):
            yield label, surface


def _said(answer: str, text: str, asked: str | None) -> list[Mention]:
    """Read an answer as the tagger would; with `asked` None any label goes."""
    given = list(dict.fromkeys(label for label, _ in _pieces(answer)))
    if asked is not None:
        # A label that holds a comma is seen as one where an answer spells it.
        names = [name.strip() for name in asked.split(",")]
        given = names + [label for label in given if f", {label}, " in f", {asked}, "]
    mentions, _ = prompts.parse(Completion(answer), given, text)
    return mentions


def _answer_audit(answer: str, text: str, asked: str | None) -> Audit:
    said = list(_pieces(answer))
    strange = [Mention(label, surface) for label, surface in said if surface not in text]
    unlocated = _count_unlocated(text, strange) if strange else 0
    invalid = None
    if asked is not None:
        known = f",{_folded(asked)},"
        invalid = sum(f",{_folded(label)}," not in known for label, _ in said)
    return Audit(len(said), unlocated, invalid)


def _count_unlocated(text: str, mentions: Sequence[Mention]) -> int:
    # Folding ASCII keeps letters and digits, so most inventions show without the slow search.
    letters = _letters(text) if text.isascii() else None
    doubtful = [
        mention
        for mention in mentions
        if letters is None or not mention.surface.isascii() or _letters(mention.surface) in letters
    ]
    lost = len(locate(text, doubtful)[1]) if doubtful else 0
    return len(mentions) - len(doubtful) + lost


def _letters(text: str) -> str:
    return text.casefold().translate(_NOT_LETTERS)


@lru_cache(maxsize=1 << 14)
def _folded(labels: str) -> str:
    """Fold one label or a comma list of them: how an answer spells a label is not its fault."""
    return normalise(labels).replace("-> ", "->")


# Documents with entities ------------------------------------------------------------------------


def _two_files(
    path: Path, gold: Path, named: fields.Fields
) -> Iterator[tuple[Document, Document | None]]:
    """Yield gold documents with their predictions; None for a document that has none.

    Matched by id, repeats of an id in their order; records without an id by their place.
    """
    waiting = dict(_keyed(_documents(path, named)))
    for key, document in _keyed(_documents(gold, named)):
        predicted = waiting.pop(key, None)
        if predicted and predicted.text != document.text:
            raise InputError(
                f"{predicted.origin}: the text of {predicted.id!r} is not the gold text "
                f"({document.origin})",
                "Tag the gold file's own texts, in the same order and with the same ids.",
            )
        yield document, predicted
    if waiting:
        strangers = [document.id for document in waiting.values()]
        raise InputError(
            f"{path}: no gold for {named_ids(strangers)} in {gold}",
            "Score with the gold file that the predictions were made from.",
        )


def _keyed(documents: Iterable[Document]) -> Iterator[tuple[tuple[str, int], Document]]:
    seen: Counter[str] = Counter()
    for document in documents:
        # Without an id of its own a document is named after its place in its file.
        name = "" if document.id == document.origin else document.id
        yield (name, seen[name]), document
        seen[name] += 1


def _one_file(
    path: Path, kind: str, named: fields.Fields
) -> Iterator[tuple[Document, Document | None]]:
    if named.gold is None:
        raise UsageError(
            f"{path} has no gold entities to compare with",
            "Name a file of gold with --gold, or a field of the same records with --gold-field.",
        )
    if kind != "jsonl":
        raise UsageError(f"--gold-field needs records with fields: {path} is not JSONL")
    if named.gold == _PREDICTED:
        raise UsageError(
            f"{named.gold!r} holds the predictions",
            f"`b2ner tag` keeps gold that stood there as {_PREDICTED}_in.",
        )
    for document in _documents(path, fields.Fields(named.text, named.id)):
        gold = fields.Fields(named.text, named.id, gold=named.gold)
        try:
            annotated = fields.document(document.meta, document.raw, document.origin, gold)
        except fields.RecordError as error:
            raise InputError(f"{document.origin}: {error.message}", error.hint) from error
        if annotated.mentions is None:
            raise InputError(f"{document.origin}: no gold field {named.gold!r}")
        yield annotated, document


def _documents(path: Path, named: fields.Fields) -> Iterator[Document]:
    """Read documents with entities; anything else ends the run: a score must not skip."""
    empty = True
    for found in formats.read(
        [str(path)], text_field=named.text, id_field=named.id, gold_field=_PREDICTED
    ):
        empty = False
        if isinstance(found, BadRecord):
            raise InputError(f"{found.origin}: {found.message}", found.hint)
        if found.mentions is None:
            raise InputError(
                f"{found.origin}: no {_PREDICTED!r} in this record",
                "Predictions and gold are lists of objects with start, end and label.",
            )
        yield found
    if empty:
        raise InputError(f"{path}: no records in the file")


def _document_pair(
    data_set: DataSet, gold: Document, predicted: Document | None, metric: Metric
) -> Pair:
    placed, unplaced = _placed(gold)
    audit = Audit(unplaced=unplaced if metric == "strict" else 0)
    said: Sequence[Mention] = ()
    entities: Sequence[Entity] = ()
    if predicted:
        entities, lost = _placed(predicted)
        said = predicted.mentions or ()
        dropped = predicted.meta.get("unlocated")
        lost += len(dropped) if isinstance(dropped, list) else 0
        audit += Audit(len(entities) + lost, lost)
    if metric == "strict":
        sides = Side(span_items(placed)), Side(span_items(entities))
    else:
        sides = _as_answer(gold.mentions or ()), _as_answer(said)
    return Pair(data_set, gold.id, gold.text, *sides, audit, missing=predicted is None)


def _placed(document: Document) -> tuple[Sequence[Entity], int]:
    """Return a document's entities, by name if it has no offsets at all, and how many lack them."""
    entities, mentions = document.entities or (), document.mentions or ()
    if mentions and not entities:
        found, lost = locate(document.text, mentions)
        return found, len(lost)
    return entities, len(mentions) - len(entities)


def _as_answer(mentions: Sequence[Mention]) -> Side:
    return Side(pieces=paper_items(prompts.answer(mentions)))
