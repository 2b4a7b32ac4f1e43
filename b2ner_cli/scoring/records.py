"""What both sides of a document's records claim, task by task, as the metrics see it.

A document is scored as one, but one an event where arguments were asked for: an event of the one
side is that of the other if type and trigger agree, and one without a partner has nothing over
there. Strict sees the places that records give and finds by name what gives none; the paper's
metric sees the answer that would say the same. Knows no files and counts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from b2ner_cli.core.document import Document, Entity, Mention
from b2ner_cli.core.grounding import ground
from b2ner_cli.core.structures import relations
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import InputError
from b2ner_cli.formats import gold
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.prompts import rendering
from b2ner_cli.scoring.answers import is_lost
from b2ner_cli.scoring.counts import SetName, span_items
from b2ner_cli.scoring.error_classes import NOTHING_UNSUPPORTED, Unsupported
from b2ner_cli.scoring.paper_metric import Piece
from b2ner_cli.scoring.scored_documents import (
    Audit,
    ScoredDocument,
    ScoreJob,
    Side,
    paper_reader,
    relation_pieces,
    strict_reader,
)

_BY_TASK = "score another task with --task"
_Event = tuple[object, ...]  # which event arguments are of; () where no event is asked about


class Claims(NamedTuple):
    """What one side says, as an answer would, and where: as entities, or as pieces where places
    alone do not tell it apart. `lost` has no place, and of it `absent` is not in the text.
    """

    mentions: Sequence[Mention]
    entities: Sequence[Entity] = ()
    placed: frozenset[Piece] = frozenset()
    lost: Sequence[Mention] = ()
    absent: Sequence[Mention] = ()

    def renamed(self, label_map: LabelMap) -> Claims:
        """The same under the names that a map gives labels."""

        def mentions(each: Sequence[Mention]) -> list[Mention]:
            return [m._replace(label=label_map.asked(m.label)) for m in each]

        return Claims(
            mentions(self.mentions),
            [e._replace(label=label_map.asked(e.label)) for e in self.entities],
            frozenset((label_map.asked(label), piece) for label, piece in self.placed),
            mentions(self.lost),
            mentions(self.absent),
        )


_NOTHING = Claims(())


def scored_documents(
    data_set: SetName,
    documents: Iterable[tuple[Document, Document | None]],
    task: Task,
    job: ScoreJob,
) -> Iterator[ScoredDocument]:
    """Yield the sides of documents, gold first; predictions are None for one that has none."""
    has_spans, strict = strict_reader(task) is None, "strict" in job.metrics
    for annotated, predicted in documents:
        wanted = _claims(annotated, task, job.label_map)
        found = _claims(predicted, task, job.label_map, _unlocated(predicted)) if predicted else {}
        for number, event in enumerate(dict.fromkeys((*wanted, *found))):
            expected, said = wanted.get(event), found.get(event, _NOTHING)
            unplaced = len(expected.lost) if expected and has_spans and strict else 0
            mentions = len(said.mentions)
            if task == "NER":  # where places are found by name, a repeat has none and is not lost
                mentions = len(said.entities) + len(said.lost)
            absent = dict.fromkeys((m.label, m.surface) for m in said.absent)
            yield ScoredDocument(
                data_set,
                f"{annotated.id}.{number}" if number else annotated.id,
                annotated.text,
                _side(expected, task, job),
                _side(found.get(event), task, job),
                Audit(mentions, len(said.lost), unplaced=unplaced),
                missing=predicted is None,
                unsupported=Unsupported(tuple(absent)) if absent else NOTHING_UNSUPPORTED,
            )


def entities(document: Document, label_map: LabelMap | None = None) -> Sequence[Entity]:
    """The entities that a document says, by their places; found by name where none has one."""
    return _claims(document, "NER", label_map)[()].entities


def _side(claims: Claims | None, task: Task, job: ScoreJob) -> Side:
    """What the metrics see; of nothing said, nothing, where an empty answer may be an item."""
    whole = strict_reader(task) is not None
    if claims is None:
        return Side(placed=frozenset() if whole else None)
    pieces: frozenset[Piece] = frozenset()
    if "paper" in job.metrics:
        # What the text does not hold was said as well: the authors' metric counts it as wrong.
        pieces = paper_reader(task)(rendering.answer(claims.mentions, task).strip())
    return Side(span_items(claims.entities), pieces, claims.placed if whole else None)


def _unlocated(document: Document) -> list[Mention]:
    """What `tag` could not find in the text: said all the same."""
    listed = document.meta.get("unlocated")
    return [
        Mention(str(each.get("label")), str(each.get("text")))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    ]


def _claims(
    document: Document,
    task: Task,
    label_map: LabelMap | None,
    unlocated: Sequence[Mention] = (),
) -> dict[_Event, Claims]:
    """What a document says, by the event it says it of."""
    try:
        if task in ABOUT_EVENTS:
            said = _arguments(document, task, unlocated)
        elif task == "NER":
            said = {(): _entities(document, unlocated)}
        elif task == "RE":
            said = {(): _relations(document, unlocated)}
        elif task == "EET":
            said = {(): _triggers(document, unlocated)}
        else:
            said = {(): _labels(document, task)}
    except RecordError as error:
        raise InputError(f"{document.origin}: {error.message}", error.hint or _BY_TASK) from None
    return {key: each.renamed(label_map) for key, each in said.items()} if label_map else said


def _entities(document: Document, unlocated: Sequence[Mention]) -> Claims:
    """Entities by their places; by name if none has a place."""
    entities, mentions = list(document.entities or ()), document.mentions or ()
    lost: list[Mention] = []
    if mentions and not entities:
        entities, lost = ground(document.text, mentions)
        absent = lost
    elif len(entities) < len(mentions):
        left = Counter((entity.label, entity.text) for entity in entities)
        known = set(left)
        for mention in mentions:
            if left[mention.label, mention.surface] > 0:
                left[mention.label, mention.surface] -= 1
            else:
                lost.append(mention)
        absent = [m for m in lost if m[:2] not in known and is_lost(document.text, m.surface)]
    else:
        absent = []
    lost, absent = [*unlocated, *lost], [*unlocated, *absent]
    return Claims([*mentions, *unlocated], entities, lost=lost, absent=absent)


def _relations(document: Document, unlocated: Sequence[Mention]) -> Claims:
    placed, lost = gold.placed_relations(document)
    lost += unlocated
    mentions = [
        Mention(label, relations.surface(head.text, tail.text)) for label, head, tail, _ in placed
    ]
    return Claims(mentions + lost, (), relation_pieces(placed, lost), lost, lost)


def _triggers(document: Document, unlocated: Sequence[Mention]) -> Claims:
    events = [event for event, _ in gold.placed_events(document)]
    if bare := [event for event in events if not event.trigger]:
        raise RecordError(f"the event {bare[0].label!r} has no trigger", "without: --task neweet")
    entities = [Entity(*e.trigger[:2], e.label, e.trigger.text) for e in events if e.trigger]
    mentions = [Mention(entity.label, entity.text) for entity in entities]
    return Claims([*mentions, *unlocated], entities, lost=unlocated, absent=unlocated)


def _arguments(
    document: Document, task: Task, unlocated: Sequence[Mention]
) -> dict[_Event, Claims]:
    said: dict[_Event, Claims] = {}
    seen: Counter[_Event] = Counter()
    for event, item in gold.placed_events(document):
        entities, mentions, lost = gold.placed_arguments(item, document.text)
        if not said:  # of which event it was said is not known
            mentions, lost = [*mentions, *unlocated], [*lost, *unlocated]
        key: _Event = (event.label, event.trigger if task == "EEA" else None)
        said[*key, seen[key]] = Claims(mentions, entities, lost=lost, absent=lost)
        seen[key] += 1
    return said


def _labels(document: Document, task: Task) -> Claims:
    if task == "Sentiment" and document.meta.get("sentiment", "") is None:
        return _NOTHING
    (read,) = gold.as_task(document, task)
    mentions = read.mentions or ()
    return Claims(mentions, placed=frozenset((mention.label, "") for mention in mentions))
