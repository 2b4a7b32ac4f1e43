"""From the answers about a document to its result, whatever task was asked.

questions + answers -> mentions of each chunk -> entities, relations or events of the document
"""

from __future__ import annotations

from collections.abc import Sequence

from b2ner_cli.core import structures
from b2ner_cli.core.chunking import ChunkMentions
from b2ner_cli.core.document import Document, Result, Usage
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.tasks import LABELS_ONLY
from b2ner_cli.labels.label_map import relabel
from b2ner_cli.prompts import parsing
from b2ner_cli.prompts.confidence import likelihood
from b2ner_cli.tagging.planning import Options, Question


def make_result(
    document: Document,
    questions: Sequence[Question],
    completions: Sequence[Completion | None],
    cached: int,
    options: Options,
) -> Result:
    """Make the result of a document whose answers are all in; `cached` of them were in the cache.

    Labels get back the names that they had before they were asked.
    """
    task, confidence = options.form.task, options.calibration or likelihood
    found: list[ChunkMentions] = []
    problems: list[str] = []
    answers: list[str] = []
    prompt_tokens = answer_tokens = 0
    for question, completion in zip(questions, completions, strict=True):
        assert completion is not None
        names, given, text = question.group.labels.names, question.group.given, question.text
        if task in LABELS_ONLY:
            mentions, trouble = parsing.parse_labels(completion, names)
        else:
            mentions, trouble = parsing.parse(completion, names, text, confidence)
        if given:
            mentions = [mention._replace(label=given[mention.label]) for mention in mentions]
        if mentions:
            found.append(ChunkMentions(question.chunk, text, mentions, question.event))
        problems += trouble
        answers.append(relabel(completion.text, given) if given else completion.text)
        prompt_tokens += completion.prompt_tokens
        answer_tokens += len(completion.ends)
    ungrounded, entities, relations, events = structures.find(
        document,
        task,
        found,
        all_occurrences=options.all_occurrences,
        min_score=options.min_score,
        min_scores=options.min_scores,
    )
    return Result(
        document,
        entities,
        tuple(ungrounded),
        tuple(problems),
        Usage(len(answers), cached, prompt_tokens, answer_tokens),
        tuple(answers),
        task,
        relations,
        events,
    ).checked()
