"""Events: what answers about types, triggers and arguments say, and where it stands.

    EET     attack: bombed; meet: talks        -> an event each, with its trigger's place
    EEA     attacker: rebels; place: Aleppo    -> the arguments of the event that was asked about
    newEET  attack; meet                       -> events without a trigger
    Sentiment  积极                             -> the same, of the text as a whole

Strings only, no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from b2ner_cli.core import grounding
from b2ner_cli.core.chunking import Chunk
from b2ner_cli.core.document import Event, Mention, Span
from b2ner_cli.core.relations import shift


def triggered(text: str, mentions: Sequence[Mention]) -> tuple[list[Event], list[Mention]]:
    """Events whose triggers the text holds, in its order, and the mentions of the others."""
    entities, unlocated = grounding.locate(text, mentions)
    events = [Event(e.label, Span(e.start, e.end, e.text), (), e.score) for e in entities]
    return events, unlocated


def merge(parts: Iterable[tuple[Chunk, Sequence[Event]]]) -> tuple[Event, ...]:
    """Move events without arguments from their chunks to the document; of equals the surest."""
    best: dict[tuple[int, int, str], Event] = {}
    for chunk, events in parts:
        for event in events:
            trigger = shift(event.trigger, chunk) if event.trigger else None
            key = (trigger.start if trigger else -1, trigger.end if trigger else -1, event.label)
            known = best.get(key)
            if known is None or (known.score or 0.0) < (event.score or 0.0):
                best[key] = event._replace(trigger=trigger)
    return tuple(best[key] for key in sorted(best))
