"""Events: what answers about types, triggers and arguments say, and where it stands.

    EET     attack: bombed; meet: talks        -> an event each, with its trigger's place
    EEA     attacker: rebels; place: Aleppo    -> the arguments of the event that was asked about
    newEET  attack; meet                       -> events without a trigger
    Sentiment  积极                             -> the same, of the text as a whole

Strings only, no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from b2ner_cli import grounding, prompts
from b2ner_cli.chunking import Chunk
from b2ner_cli.document import Completion, Event, Mention, Span
from b2ner_cli.relations import shift

_SEPARATOR = re.compile("[;；]")


def triggered(text: str, mentions: Sequence[Mention]) -> tuple[list[Event], list[Mention]]:
    """Events whose triggers the text holds, in its order, and the mentions of the others."""
    entities, unlocated = grounding.locate(text, mentions)
    events = [Event(e.label, Span(e.start, e.end, e.text), (), e.score) for e in entities]
    return events, unlocated


def parse_labels(completion: Completion, labels: Sequence[str]) -> tuple[list[Event], list[str]]:
    """Read an answer that is labels alone; a part behind a colon does not count."""
    said = completion.text.strip()
    if not said or said.casefold() == prompts.NONE.strip().casefold():
        return [], []
    known = {name.casefold(): name for name in labels}
    score = prompts.score(completion, 0, len(completion.text))
    events: dict[str, Event] = {}
    problems: list[str] = []
    pieces = _SEPARATOR.split(said)
    if completion.stop == "length":
        pieces.pop()
        problems.append(f"answer cut off after {len(completion.ends)} tokens")
    for piece in pieces:
        name = re.split("[:：]", piece, maxsplit=1)[0].strip()
        if label := known.get(name.casefold()):
            events[label] = Event(label, score=score)
        elif name:
            problems.append(f"label not in the label set: {name[:80]!r}")
    return list(events.values()), problems


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
