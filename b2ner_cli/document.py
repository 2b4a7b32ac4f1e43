"""The nouns everything else is written in: immutable, and checked when built.

A document holds text; a model says mentions; a mention with a place in the text is an entity;
a document with its entities is a result. Offsets are code points, half-open, into
`Document.text`. Nothing here reads, writes or knows a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

How = Literal["exact", "folded", "given"]
Stop = Literal["eos", "length"]


class Mention(NamedTuple):
    """A label and a surface, as a model or an annotator says them: no place in the text yet.

    `score` is the model's confidence in 0..1, or None where nobody gave one.
    """

    label: str
    surface: str
    score: float | None = None


class _EntityFields(NamedTuple):
    start: int
    end: int
    label: str
    text: str
    score: float | None = None
    how: How = "exact"


class Entity(_EntityFields):
    """A mention with its place: ``text`` is exactly ``document.text[start:end]``.

    `how` says where the offsets come from: found as said (exact), found after folding case,
    width and spaces (folded), or read from annotated data (given).
    """

    # A tuple, as documents bring more of these than of anything else, and a frozen dataclass
    # takes more than twice as long to build.
    __slots__ = ()

    def __new__(
        cls,
        start: int,
        end: int,
        label: str,
        text: str,
        score: float | None = None,
        how: How = "exact",
    ) -> Self:
        if not 0 <= start < end:
            raise ValueError(f"not a span: [{start}, {end})")
        if not label:
            raise ValueError(f"entity at [{start}, {end}) has an empty label")
        return tuple.__new__(cls, (start, end, label, text, score, how))


@dataclass(frozen=True, slots=True)
class Document:
    """One text, with what came along with it.

    `entities` and `mentions` are annotations (gold), None where the source has none: `mentions`
    keeps annotation order and repeats, `entities` holds those that have a place.
    `labels` is the document's own label list. `meta` is the whole record as read and `raw` its
    JSON bytes, so that a writer can pass it through untouched. `origin` is ``FILE:LINE``.
    """

    id: str
    text: str
    entities: tuple[Entity, ...] | None = None
    mentions: tuple[Mention, ...] | None = None
    labels: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    text_field: str = "text"
    origin: str = ""

    def __post_init__(self) -> None:
        for entity in self.entities or ():
            check_entity(self.text, entity)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be read: where, what is wrong, what to do."""

    origin: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model.

    `logprobs[i]` is the log-probability of answer token i and `ends[i]` the offset in `text`
    just past it; both have one element an answer token, the end-of-sequence token not counted.
    """

    text: str
    logprobs: tuple[float, ...] = ()
    ends: tuple[int, ...] = ()
    stop: Stop = "eos"
    prompt_tokens: int = 0

    def __post_init__(self) -> None:
        if len(self.logprobs) != len(self.ends):
            raise ValueError(f"{len(self.logprobs)} log-probabilities for {len(self.ends)} tokens")


class Usage(NamedTuple):
    """What a result cost: chunks, prompt and answer tokens, and answers that came from cache."""

    prompts: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


_NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Result:
    """A tagged document: entities sorted by start, end, label; what has no place in the text.

    `answers` are the model's own words, one for each prompt the document took.
    """

    document: Document
    entities: tuple[Entity, ...]
    unlocated: tuple[Mention, ...] = ()
    problems: tuple[str, ...] = ()
    usage: Usage = _NO_USAGE
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        text = self.document.text
        for entity in self.entities:
            if text[entity.start : entity.end] != entity.text:  # spares a call for each
                check_entity(text, entity)


def check_entity(text: str, entity: Entity) -> None:
    """Raise ValueError unless the entity's text is what stands at its offsets."""
    if text[entity.start : entity.end] != entity.text:
        raise ValueError(
            f"entity text {entity.text!r} is not the document's [{entity.start}, {entity.end})"
        )
