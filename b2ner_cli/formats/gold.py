"""Annotated relations and events of records: as the mentions an answer would say, and by place.

    ours    {"relations": [{"label": "author", "head": {"start": 0, "end": 4, "text": "Emma"},
             "tail": {"text": "Austen"}}]}
            {"events": [{"label": "attack", "trigger": {"text": "bombed"},
             "arguments": [{"label": "place", "text": "Aleppo"}]}]}
    B2NERD  {"relations": [{"type": "author", "head": {"name": "Emma", "pos": [0, 4]}, ...}],
             "events": [{"type": "attack", "trigger": "bombed", "pos": [3, 9],
             "arguments": [{"role": "place", "name": "Aleppo"}]}]}

`as_task` turns a document into those that a task asks about: one each, but one an event where
arguments are asked for. `placed_relations`, `placed_events` and `placed_arguments` take the places
given, and find by name what has none. Raises RecordError for what is neither spelling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from b2ner_cli.core import grounding
from b2ner_cli.core.document import Document, Entity, Event, Mention, Relation, Span
from b2ner_cli.core.structures import relations
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.formats.fields import RecordError, json_type

NOTHING = ("", "NA")  # labels that mean: none


def as_task(
    document: Document, task: Task, roles: Mapping[str, tuple[str, ...]] | None = None
) -> Iterator[Document]:
    """The documents a task asks about, their gold as mentions; `roles` are labels by event type.

    A document without events gives none where a task asks for their arguments.
    """
    if task == "NER":
        yield document
    elif task == "RE":
        said = tuple(_relation(item, document.text) for item in _items(document, "relations"))
        yield document._replace(mentions=tuple(m for m in said if m.label not in NOTHING))
    elif task == "Sentiment":
        label = document.meta.get("sentiment", document.meta.get("label"))
        if isinstance(label, dict):
            label = label.get("label")
        if not isinstance(label, str) or not label:
            raise RecordError(f"'sentiment' is {json_type(label)}, not a label")
        yield document._replace(mentions=(Mention(label, ""),))
    elif task in ABOUT_EVENTS:
        for number, (event, arguments) in enumerate(_events(document)):
            yield document._replace(
                id=f"{document.id}.{number}" if number else document.id,
                mentions=arguments,
                labels=(roles or {}).get(event.label) or document.labels,
                events=(event,),
            )
    else:
        found = [event for event, _ in _events(document)]
        # The same type by the same word is said once.
        said = tuple(
            dict.fromkeys(
                Mention(event.label, event.trigger.text if event.trigger else "") for event in found
            )
        )
        if task == "EET" and (bare := next((m for m in said if not m.surface), None)):
            raise RecordError(f"the event {bare.label!r} has no trigger")
        yield document._replace(mentions=said)


def with_events(document: Document) -> Document:
    """The document with the events it brings along, whose arguments are to be found."""
    return document._replace(events=tuple(event for event, _ in _events(document)))


def placed_relations(document: Document) -> tuple[list[Relation], list[Mention]]:
    """The relations with their places, and those whose head or tail the text does not hold."""
    placed, open_ = [], []
    for item in _items(document, "relations"):
        mention = _relation(item, document.text)
        if mention.label in NOTHING:
            continue
        head, tail = (_span(item[side], document.text, side) for side in ("head", "tail"))
        if head and tail:
            placed.append(Relation(mention.label, head, tail))
        else:
            open_.append(mention)
    found, lost = relations.ground(document.text, open_)
    return placed + found, lost


def placed_events(document: Document) -> list[tuple[Event, Mapping[str, Any]]]:
    """The events, triggers with their places, and each as it is spelled."""
    spelled = (item for item in _items(document, "events") if _label(item) not in NOTHING)
    return [(event, item) for (event, _), item in zip(_events(document), spelled, strict=True)]


def placed_arguments(
    item: Mapping[str, Any], text: str
) -> tuple[list[Entity], list[Mention], list[Mention]]:
    """Of an event as spelled its arguments with places, all as an answer says them, and those
    that the text does not hold.
    """
    placed, open_, said = [], [], []
    for each in _arguments(item):
        mention = _argument(each, text)
        said.append(mention)
        if span := _span(each, text, "argument"):
            placed.append(Entity(*span[:2], mention.label, span.text, how="given"))
        else:
            open_.append(mention)
    found, lost = grounding.ground(text, open_)
    return placed + found, said, lost


def _items(document: Document, field: str) -> list[Any]:
    value = document.meta.get(field)
    if not isinstance(value, list):
        what = f"{field!r} is {json_type(value)}, not a list" if field in document.meta else ""
        raise RecordError(what or f"no {field!r}", f"give [] where there are no {field}")
    for item in value:
        if not isinstance(item, dict):
            raise RecordError(f"{field} hold {json_type(item)}, not an object")
    return value


def _relation(item: Mapping[str, Any], text: str) -> Mention:
    label = _name(item, ("label", "type"), "a relation")
    head, tail = (_surface(item.get(side), text, side) for side in ("head", "tail"))
    return Mention(label, relations.surface(head, tail))


def _events(document: Document) -> Iterator[tuple[Event, tuple[Mention, ...]]]:
    for item in _items(document, "events"):
        label = _label(item)
        if label in NOTHING:
            continue
        said = tuple(_argument(each, document.text) for each in _arguments(item))
        yield Event(label, _trigger(item, document.text)), said


def _label(item: Mapping[str, Any]) -> str:
    return _name(item, ("label", "type"), "an event")


def _arguments(item: Mapping[str, Any]) -> list[Any]:
    arguments = item.get("arguments", [])
    if not isinstance(arguments, list):
        raise RecordError(f"'arguments' is {json_type(arguments)}, not a list")
    return arguments


def _argument(item: object, text: str) -> Mention:
    return Mention(_name(item, ("label", "role"), "an argument"), _surface(item, text, "argument"))


def _trigger(item: Mapping[str, Any], text: str) -> Span | None:
    trigger = item.get("trigger")
    if trigger is None or trigger == "":
        return None
    part = {"text": trigger, "pos": item.get("pos")} if isinstance(trigger, str) else trigger
    surface = _surface(part, text, "trigger")
    start, end = _place(part)
    if start is not None and end is not None and text[start:end] == surface and surface:
        return Span(start, end, surface)
    found, _ = grounding.ground(text, [Mention("trigger", surface)])
    if not found:
        raise RecordError(f"the trigger {surface!r} does not stand in the text")
    return Span(found[0].start, found[0].end, found[0].text)


def _name(item: object, keys: tuple[str, ...], what: str) -> str:
    if not isinstance(item, dict):
        raise RecordError(f"{what} is {json_type(item)}, not an object")
    for key in keys:
        if isinstance(item.get(key), str):
            return str(item[key])
    raise RecordError(f"{what} has no {' or '.join(map(repr, keys))}")


def _surface(part: object, text: str, what: str) -> str:
    """What a part of a relation or event is called: by its text, else by its place."""
    if not isinstance(part, dict):
        raise RecordError(f"{what!r} is {json_type(part)}, not an object")
    said = part.get("text", part.get("name"))
    if isinstance(said, str) and said.strip():
        return said
    start, end = _place(part)
    if start is None or end is None or not 0 <= start < end <= len(text):
        raise RecordError(f"{what!r} has neither 'text' nor a place in the text")
    return text[start:end]


def _span(part: Mapping[str, Any], text: str, what: str) -> Span | None:
    """Where a part stands, if it says so; a place where something else stands is refused."""
    start, end = _place(part)
    if start is None or end is None:
        return None
    surface = _surface(part, text, what)
    found = text[start:end] if 0 <= start < end <= len(text) else ""
    if found != surface:
        raise RecordError(
            f"{what!r}: [{start}, {end}) is {found!r}, not {surface!r}",
            "offsets count code points from 0, the end is exclusive",
        )
    return Span(start, end, surface)


def _place(part: Mapping[str, Any]) -> tuple[int | None, int | None]:
    pos = part.get("pos")
    edges = pos if isinstance(pos, list) and len(pos) == 2 else [part.get("start"), part.get("end")]
    start, end = (edge if type(edge) is int else None for edge in edges)
    return start, end
