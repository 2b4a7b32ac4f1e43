"""The result of a document that was asked for something other than entities.

    questions + answers -> relations or events, put together over chunks and label groups

`tagging` hands over here what its loop has answered; the place of entities stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from b2ner_cli.core import chunking, events, grounding, relations
from b2ner_cli.core.chunking import Chunk
from b2ner_cli.core.document import Document, Entity, Event, Mention, Relation, Result, Usage
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.tasks import ABOUT_EVENTS, LABELS_ONLY
from b2ner_cli.labels.label_map import relabel
from b2ner_cli.prompts import parsing
from b2ner_cli.tagging.planning import Options, Question


class Found:
    """What the answers about one document have said so far, by chunk."""

    def __init__(self, document: Document, options: Options) -> None:
        self._document, self._options = document, options
        self._relations: list[tuple[Chunk, list[Relation]]] = []
        self._events: list[tuple[Chunk, list[Event]]] = []
        self._arguments: dict[int, list[tuple[Chunk, list[Entity]]]] = {}
        self.unlocated: list[Mention] = []
        self.problems: list[str] = []

    def add(self, question: Question, completion: Completion) -> None:
        """Read one answer."""
        labels, text, task = question.group.labels.names, question.text, question.group.form.task
        if task in LABELS_ONLY:
            said, trouble = parsing.parse_labels(completion, labels)
            if given := question.group.given:
                said = [event._replace(label=given[event.label]) for event in said]
            self._events.append((question.chunk, said))
            self.problems += trouble
            return
        mentions, trouble = parsing.parse(completion, labels, text)
        self.problems += trouble
        if given := question.group.given:
            mentions = [mention._replace(label=given[mention.label]) for mention in mentions]
        if task == "RE":
            found, absent = relations.locate(text, mentions)
            self._relations.append((question.chunk, found))
        elif task == "EET":
            said, absent = events.triggered(text, mentions)
            self._events.append((question.chunk, said))
        else:
            everywhere = self._options.all_occurrences
            entities, absent = grounding.locate(text, mentions, all_occurrences=everywhere)
            self._arguments.setdefault(question.event, []).append((question.chunk, entities))
        self.unlocated += absent

    def relations(self) -> tuple[Relation, ...]:
        return tuple(each for each in relations.merge(self._relations) if self._sure(each.score))

    def events(self) -> tuple[Event, ...]:
        """The events found, or those asked about with the arguments found."""
        if self._options.form.task not in ABOUT_EVENTS:
            found = [each for each in events.merge(self._events) if self._sure(each.score)]
            if self._options.form.task == "Sentiment":  # of several chunks the surest speaks
                found = sorted(found, key=lambda each: -(each.score or 0.0))[:1]
            return tuple(found)
        text = self._document.text
        asked = enumerate(self._document.events or ())
        return tuple(
            event._replace(
                arguments=tuple(
                    entity
                    for entity in chunking.merge(self._arguments.get(number, ()), text)
                    if self._sure(entity.score)
                )
            )
            for number, event in asked
        )

    def _sure(self, score: float | None) -> bool:
        return score is None or score >= self._options.min_score


def result(
    document: Document,
    questions: Sequence[Question],
    completions: Sequence[Completion | None],
    cached: int,
    options: Options,
) -> Result:
    """Make the result of a document whose answers are all in."""
    found = Found(document, options)
    answers: list[str] = []
    prompt_tokens = answer_tokens = 0
    for question, completion in zip(questions, completions, strict=True):
        assert completion is not None
        found.add(question, completion)
        given = question.group.given
        answers.append(relabel(completion.text, given) if given else completion.text)
        prompt_tokens += completion.prompt_tokens
        answer_tokens += len(completion.ends)
    return Result(
        document,
        (),
        tuple(found.unlocated),
        tuple(found.problems),
        Usage(len(answers), cached, prompt_tokens, answer_tokens),
        tuple(answers),
        options.form.task,
        found.relations(),
        found.events(),
    )
