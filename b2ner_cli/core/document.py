"""The nouns everything else is written in: immutable.

A document holds text; a model says mentions; a mention with a place in the text is an entity;
a document with its entities is a result. Offsets are code points, half-open, into
`Document.text`. Nothing here reads, writes or knows a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

from b2ner_cli.core.tasks import Task

How = Literal["exact", "folded", "given"]

# What comes once a document or more is a named tuple: to build a frozen dataclass takes three to
# four times as long, a tenth of a run whose answers are all in the cache.


class Mention(NamedTuple):
    """A label and a surface, as a model or an annotator says them: no place in the text yet.

    `score` is the model's confidence in 0..1, or None where nobody gave one.
    """

    label: str
    surface: str
    score: float | None = None


class Entity(NamedTuple):
    """A mention with its place: ``text`` is exactly ``document.text[start:end]``.

    `how` says where the offsets come from: found as said (exact), found after folding case,
    width and spaces (folded), or read from annotated data (given).
    """

    start: int
    end: int
    label: str
    text: str
    score: float | None = None
    how: How = "exact"


class Span(NamedTuple):
    """A place in a text, and what stands there."""

    start: int
    end: int
    text: str


class Relation(NamedTuple):
    """What holds between two places of a text."""

    label: str
    head: Span
    tail: Span
    score: float | None = None


class Event(NamedTuple):
    """Something that happens: its type, the word that says so, and who and what takes part.

    The labels of `arguments` are roles. Without a trigger it is said of the text as a whole.
    """

    label: str
    trigger: Span | None = None
    arguments: tuple[Entity, ...] = ()
    score: float | None = None


_NO_META: Mapping[str, Any] = MappingProxyType({})


class Document(NamedTuple):
    """One text, with what came along with it.

    `entities` and `mentions` are annotations (gold), None where the source has none: `mentions`
    keeps annotation order and repeats, `entities` holds those that have a place.
    `labels` is the document's own label list. `meta` is the whole record as read and `raw` its
    JSON bytes, so that a writer can pass it through untouched. `origin` is ``FILE:LINE``.
    `events` are those whose arguments are asked for, in tasks that do.
    """

    id: str
    text: str
    entities: tuple[Entity, ...] | None = None
    mentions: tuple[Mention, ...] | None = None
    labels: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = _NO_META
    raw: bytes = b""
    text_field: str = "text"
    origin: str = ""
    events: tuple[Event, ...] | None = None


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be read: where, what is wrong, what to do."""

    origin: str
    message: str
    hint: str = ""


class Usage(NamedTuple):
    """What a result cost: chunks, prompt and answer tokens, and answers that came from cache."""

    prompts: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


_NO_USAGE = Usage()


class Result(NamedTuple):
    """A tagged document: entities sorted by start, end, label; what has no place in the text.

    `answers` are the model's own words, one for each prompt the document took. `relations` and
    `events` take the place of entities where these were asked for, as `task` says; of Sentiment
    the one event is what the whole text was found to be.
    """

    document: Document
    entities: tuple[Entity, ...]
    unlocated: tuple[Mention, ...] = ()
    problems: tuple[str, ...] = ()
    usage: Usage = _NO_USAGE
    answers: tuple[str, ...] = ()
    task: Task = "NER"
    relations: tuple[Relation, ...] = ()
    events: tuple[Event, ...] = ()

    def checked(self) -> Self:
        """The result, once it is sure that all offsets are those of the document's text.

        Raises ValueError for one that is not.
        """
        check_entities(self.document.text, self.entities)
        if self.relations or self.events:
            _check_spans(self.document.text, self.relations, self.events)
        return self


def check_entities(text: str, entities: Iterable[Entity]) -> None:
    """Raise ValueError unless each entity has a label and is what stands at its offsets."""
    for start, end, label, surface, _, _ in entities:
        if not 0 <= start < end or text[start:end] != surface:
            raise ValueError(f"entity text {surface!r} is not the document's [{start}, {end})")
        if not label:
            raise ValueError(f"entity at [{start}, {end}) has an empty label")


def _check_spans(text: str, relations: Iterable[Relation], events: Iterable[Event]) -> None:
    spans = [span for relation in relations for span in (relation.head, relation.tail)]
    for event in events:
        check_entities(text, event.arguments)
        if event.trigger:
            spans.append(event.trigger)
    for start, end, surface in spans:
        if not 0 <= start < end or text[start:end] != surface:
            raise ValueError(f"span {surface!r} is not the document's [{start}, {end})")
