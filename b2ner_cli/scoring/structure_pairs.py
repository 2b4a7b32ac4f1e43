"""Gather the two sides of records of relations, of events or of a sentiment: gold, and predicted.

A document is one pair, but one an event where arguments were asked for: an event of the one side
is that of the other if type and trigger agree, and one without a partner has nothing over there.
Strict sees the places that records give and finds by name what gives none; the paper's metric
sees the answer that would say the same. Counts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from b2ner_cli.core.document import Document, Entity, Mention
from b2ner_cli.core.structures import relations
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import InputError
from b2ner_cli.formats import gold, result_json
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.prompts import rendering
from b2ner_cli.scoring import items
from b2ner_cli.scoring.counts import SetName, span_items
from b2ner_cli.scoring.error_classes import NOTHING_UNSUPPORTED, Unsupported
from b2ner_cli.scoring.paper_metric import Piece
from b2ner_cli.scoring.scored_documents import Audit, Reading, ScoredDocument, Side

_BY_TASK = "score another task with --task"
_Key = tuple[object, ...]  # which event arguments are of; () where no event is asked about


class _Said(NamedTuple):
    """What one side says, as an answer would, and where: as entities, or as pieces where places
    alone do not tell it apart. `lost` is what the text does not hold.
    """

    mentions: Sequence[Mention]
    entities: Sequence[Entity] = ()
    placed: frozenset[Piece] = frozenset()
    lost: Sequence[Mention] = ()


def structure_pairs(
    data_set: SetName,
    documents: Iterable[tuple[Document, Document | None]],
    task: Task,
    reading: Reading,
) -> Iterator[ScoredDocument]:
    """Yield the sides of documents, gold first; predictions are None for one that has none."""
    label_map = reading.label_map
    for annotated, predicted in documents:
        wanted = _said(annotated, task, label_map)
        given = _said(predicted, task, label_map, lost=_unlocated(predicted)) if predicted else {}
        for number, key in enumerate(dict.fromkeys((*wanted, *given))):
            gold_said, said = wanted.get(key), given.get(key)
            lost = said.lost if said else ()
            unplaced = items.strict(task) is None and "strict" in reading.metrics
            yield ScoredDocument(
                data_set,
                f"{annotated.id}.{number}" if number else annotated.id,
                annotated.text,
                _side(gold_said, task, reading),
                _side(said, task, reading),
                Audit(
                    len(said.mentions) if said else 0,
                    len(lost),
                    unplaced=len(gold_said.lost) if gold_said and unplaced else 0,
                ),
                missing=predicted is None,
                unsupported=Unsupported(tuple(dict.fromkeys((m.label, m.surface) for m in lost)))
                if lost
                else NOTHING_UNSUPPORTED,
            )


def with_field(document: Document, field: str, task: Task) -> Document:
    """The document with the gold that it has under another name."""
    if field not in document.meta:
        raise InputError(f"{document.origin}: no gold field {field!r}")
    return document._replace(meta={**document.meta, result_json.key(task): document.meta[field]})


def _side(said: _Said | None, task: Task, reading: Reading) -> Side:
    """What the metrics see; of nothing said, nothing, where an empty answer may be an item."""
    whole = items.strict(task) is not None
    if said is None:
        return Side(placed=frozenset() if whole else None)
    pieces: frozenset[Piece] = frozenset()
    if "paper" in reading.metrics:
        pieces = items.paper(task)(rendering.answer(said.mentions, task).strip())
    return Side(span_items(said.entities), pieces, said.placed if whole else None)


def _unlocated(document: Document | None) -> list[Mention]:
    """What `tag` could not find in the text: said all the same."""
    listed = document.meta.get("unlocated") if document else None
    return [
        Mention(str(each.get("label")), str(each.get("text")))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    ]


def _said(
    document: Document, task: Task, label_map: LabelMap | None, lost: Sequence[Mention] = ()
) -> dict[_Key, _Said]:
    """What a document says, by the event it says it of."""
    try:
        if task in ABOUT_EVENTS:
            said = _arguments(document, task, lost)
        elif task == "RE":
            said = {(): _relations(document, lost)}
        elif task == "EET":
            said = {(): _triggers(document, lost)}
        else:
            said = {(): _labels(document, task)}
    except RecordError as error:
        raise InputError(f"{document.origin}: {error.message}", error.hint or _BY_TASK) from None
    return {key: _renamed(each, label_map) for key, each in said.items()} if label_map else said


def _relations(document: Document, unlocated: Sequence[Mention]) -> _Said:
    placed, lost = gold.placed_relations(document)
    lost += unlocated
    mentions = [
        Mention(label, relations.surface(head.text, tail.text)) for label, head, tail, _ in placed
    ]
    return _Said(mentions + lost, (), items.relation_pieces(placed, lost), lost)


def _triggers(document: Document, unlocated: Sequence[Mention]) -> _Said:
    events = [event for event, _ in gold.placed_events(document)]
    if bare := [event for event in events if not event.trigger]:
        raise RecordError(f"the event {bare[0].label!r} has no trigger", "without: --task neweet")
    entities = [Entity(*e.trigger[:2], e.label, e.trigger.text) for e in events if e.trigger]
    mentions = [Mention(entity.label, entity.text) for entity in entities]
    return _Said([*mentions, *unlocated], entities, lost=unlocated)


def _arguments(document: Document, task: Task, unlocated: Sequence[Mention]) -> dict[_Key, _Said]:
    said: dict[_Key, _Said] = {}
    seen: Counter[_Key] = Counter()
    for event, item in gold.placed_events(document):
        entities, mentions, lost = gold.placed_arguments(item, document.text)
        if not said:  # of which event it was said is not known
            mentions, lost = [*mentions, *unlocated], [*lost, *unlocated]
        key: _Key = (event.label, event.trigger if task == "EEA" else None)
        said[*key, seen[key]] = _Said(mentions, entities, lost=lost)
        seen[key] += 1
    return said


def _labels(document: Document, task: Task) -> _Said:
    if task == "Sentiment" and document.meta.get("sentiment", "") is None:
        return _Said(())
    (read,) = gold.as_task(document, task)
    names = [mention.label for mention in read.mentions or ()]
    return _Said(read.mentions or (), (), frozenset((name, "") for name in names))


def _renamed(said: _Said, label_map: LabelMap) -> _Said:
    def mentions(each: Sequence[Mention]) -> list[Mention]:
        return [m._replace(label=label_map.asked(m.label)) for m in each]

    return _Said(
        mentions(said.mentions),
        [e._replace(label=label_map.asked(e.label)) for e in said.entities],
        frozenset((label_map.asked(label), piece) for label, piece in said.placed),
        mentions(said.lost),
    )
