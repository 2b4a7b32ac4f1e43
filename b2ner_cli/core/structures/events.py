"""Events: types said with the word that triggers each, or alone, of the text as a whole.

attack: bombed; meet: talks    -> an event each, with its trigger's place
attack; meet                   -> events without a trigger
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from b2ner_cli.core import chunking, grounding
from b2ner_cli.core.chunking import Chunk, ChunkMentions
from b2ner_cli.core.document import Event, Mention, Span
from b2ner_cli.core.structures.relations import shift


def find(
    answers: Sequence[ChunkMentions], *, triggers: bool
) -> tuple[tuple[Event, ...], list[Mention]]:
    """The events of a document, without arguments, and the mentions whose trigger it lacks."""
    parts, ungrounded = chunking.ground_each(answers, ground if triggers else _labelled)
    return merge(parts), ungrounded


def ground(text: str, mentions: Sequence[Mention]) -> tuple[list[Event], list[Mention]]:
    """Events whose triggers the text holds, in its order, and the mentions of the others."""
    entities, ungrounded = grounding.ground(text, mentions)
    events = [Event(e.label, Span(e.start, e.end, e.text), (), e.score) for e in entities]
    return events, ungrounded


def _labelled(text: str, mentions: Sequence[Mention]) -> tuple[list[Event], list[Mention]]:
    return [Event(mention.label, score=mention.score) for mention in mentions], []


def merge(parts: Iterable[tuple[Chunk, Sequence[Event]]]) -> tuple[Event, ...]:
    """Move events from their chunks to the document, sorted by place; of equals the surest."""
    moved = (
        event._replace(trigger=event.trigger and shift(event.trigger, chunk))
        for chunk, events in parts
        for event in events
    )
    return chunking.surest(((*(e.trigger or (-1, -1, "")), e.label), e) for e in moved)
