"""What the answers about a document come to, task by task: entities, relations, events.

    NER                person: Ann               -> entities                           entities.py
    RE                 author: Emma, Jane Austen -> relations between two places       relations.py
    EET                attack: bombed            -> events, each with its trigger      events.py
    EEA, newEEA        place: Aleppo             -> the arguments of the events asked about
    newEET, Sentiment  attack                    -> events of the text as a whole

`find` is the one way in; mentions by chunk are what it takes. Knows no model and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from b2ner_cli.core.chunking import ChunkMentions
from b2ner_cli.core.document import Document, Entity, Event, Mention, Relation, Span
from b2ner_cli.core.model_text import ModelText, model_text
from b2ner_cli.core.structures import entities, events, relations
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task

_T = TypeVar("_T", Entity, Relation, Event)
_Spanned = TypeVar("_Spanned", Entity, Span)


class Found(NamedTuple):
    """What stands in a document, and the mentions that have no place in it."""

    ungrounded: list[Mention]
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    events: tuple[Event, ...] = ()


def find(
    document: Document,
    task: Task,
    answers: Sequence[ChunkMentions],
    *,
    all_occurrences: bool = False,
    min_score: float = 0.0,
    min_scores: Mapping[str, float] | None = None,
) -> Found:
    """Ground the answers about a document and put them together.

    What scores below what `min_scores` has for its label, else below `min_score`, is dropped.
    """
    sure = partial(_sure, min_score=min_score, min_scores=min_scores or {})
    read = model_text(document.text)
    back = partial(_in_document, read, document.text)
    if task == "NER":
        tagged, ungrounded = entities.find(read.text, answers, all_occurrences)
        return Found(ungrounded, sure(tuple(map(back, tagged))))
    if task == "RE":
        related, ungrounded = relations.find(answers)
        related = tuple(
            each._replace(head=back(each.head), tail=back(each.tail)) for each in related
        )
        return Found(ungrounded, relations=sure(related))
    if task in ABOUT_EVENTS:
        asked, ungrounded = [], []
        for number, event in enumerate(document.events or ()):
            about = [answer for answer in answers if answer.event == number]
            arguments, absent = entities.find(read.text, about, all_occurrences)
            arguments = tuple(map(back, arguments))
            asked.append(event._replace(arguments=sure(arguments)))
            ungrounded += absent
        return Found(ungrounded, events=tuple(asked))
    happened, ungrounded = events.find(answers, triggers=task == "EET")
    if read.starts:
        happened = tuple(
            each._replace(trigger=each.trigger and back(each.trigger)) for each in happened
        )
    happened = sure(happened)
    if task == "Sentiment":  # of several chunks the surest speaks
        happened = tuple(sorted(happened, key=lambda each: -(each.score or 0.0))[:1])
    return Found(ungrounded, events=happened)


def _in_document(read: ModelText, text: str, found: _Spanned) -> _Spanned:
    """What was found in the text that the model read, at its place in the document."""
    if not read.starts:
        return found
    start, end = read.place(found.start, found.end)
    return found._replace(start=start, end=end, text=text[start:end])


def _sure(
    found: tuple[_T, ...], min_score: float, min_scores: Mapping[str, float]
) -> tuple[_T, ...]:
    if not min_score and not min_scores:
        return found
    return tuple(
        each
        for each in found
        if each.score is None or each.score >= min_scores.get(each.label, min_score)
    )
