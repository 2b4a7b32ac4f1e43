"""What was found in a document, as JSON values: entities, relations, events, a sentiment.

    entities   [{"start": 0, "end": 4, "label": "player", "text": "Moon", "score": 0.98}]
    relations  [{"label": "plays", "head": {"start": 0, "end": 4, "text": "Moon"},
                 "tail": {...}, "score": 0.91}]
    events     [{"label": "attack", "trigger": {"start": 3, "end": 9, "text": "bombed"},
                 "arguments": [an entity each, its label a role], "score": 0.88}]
    sentiment  {"label": "积极", "score": 0.97}, or null

Scores are left out where nobody gave one, a trigger where none was asked for, and arguments where
types alone were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from b2ner_cli.core.document import Entity, Event, Relation, Result, Span
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task

_KEYS: dict[Task, str] = {"NER": "entities", "RE": "relations", "Sentiment": "sentiment"}


def key(task: Task) -> str:
    """The key that holds what a task finds."""
    return _KEYS.get(task, "events")


def task(record: Mapping[str, Any]) -> Task | None:
    """The task that a record was written for, by the last of these keys in it, as writers put them
    behind all others; None where nothing tells it, as of a record without events.
    """
    named: dict[str, Task] = {name: task for task, name in _KEYS.items()}
    keys = [name for name in record if name in (*named, "events")]
    if not keys or keys[-1] != "events":
        return named[keys[-1]] if keys else "NER"
    events = record["events"] or [None]
    first = events[0] if isinstance(events, list) else None
    if not isinstance(first, dict):
        return None
    if "arguments" in first:
        return "EEA" if "trigger" in first else "newEEA"
    return "EET" if "trigger" in first else "newEET"


def spelled(result: Result) -> Any:
    """What stands under that key."""
    if result.task == "NER":
        return [entity(each) for each in result.entities]
    if result.task == "RE":
        return [_relation(each) for each in result.relations]
    events = [_event(each, result.task in ABOUT_EVENTS) for each in result.events]
    if result.task == "Sentiment":
        return events[0] if events else None
    return events


def entity(entity: Entity) -> dict[str, Any]:
    """One entity."""
    start, end, label, text, score, _ = entity
    if score is None:
        return {"start": start, "end": end, "label": label, "text": text}
    return {"start": start, "end": end, "label": label, "text": text, "score": round(score, 4)}


def _relation(relation: Relation) -> dict[str, Any]:
    label, head, tail, score = relation
    return {"label": label, "head": _span(head), "tail": _span(tail), **_score(score)}


def _event(event: Event, arguments: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"label": event.label}
    if event.trigger:
        found["trigger"] = _span(event.trigger)
    if arguments:
        found["arguments"] = [entity(each) for each in event.arguments]
    return found | _score(event.score)


def _span(span: Span) -> dict[str, Any]:
    return span._asdict()


def _score(score: float | None) -> dict[str, float]:
    return {} if score is None else {"score": round(score, 4)}
