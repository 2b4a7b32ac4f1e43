"""The loop: documents in, results out, in the same order.

    documents -> windows -> chunks x label groups -> prompts -> engine -> results

A window of documents is answered in whatever order the engine likes; a result leaves as soon as
all results before it have. Answers come from the cache where it has them, and the same question
is asked once. What goes wrong with one document is data on that document. Is handed an engine
and a cache, and knows neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.core.engine import Completion, Engine, Prompt
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging.planning import Options, Planner, Question
from b2ner_cli.tagging.results import make_result
from b2ner_cli.tagging.windows import windows

__all__ = ["Answers", "CutRun", "Engine", "Options", "questions", "tag", "with_labels"]

_SETS = 10_000  # label sets of documents that are remembered to be good


class Answers(Protocol):
    """A store of answers by key; see `answer_cache.Cache`."""

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Completion]:
        """The known answers among the keys."""

    def put_many(self, answers: Mapping[bytes, Completion]) -> None:
        """Remember answers."""

    def flush(self) -> None:
        """Make what was put last through a kill."""


def with_labels(
    documents: Iterable[Document | BadRecord], labels: LabelSet | None
) -> Iterator[Document | BadRecord]:
    """Turn documents that have no usable labels, of their own or of the run, into bad records."""
    checked: dict[tuple[str, ...], BadRecord | None] = {}
    for document in documents:
        if isinstance(document, BadRecord):
            yield document
        elif document.labels is None:
            if labels is None:
                yield BadRecord(document.origin, "no labels", "give --labels for such documents")
            else:
                yield document
        else:
            if document.labels not in checked:
                if len(checked) >= _SETS:  # a file of nothing but distinct label sets
                    checked.clear()
                checked[document.labels] = _refusal(document.labels)
            refusal = checked[document.labels]
            yield BadRecord(document.origin, refusal.message, refusal.hint) if refusal else document


def _refusal(names: tuple[str, ...]) -> BadRecord | None:
    try:
        LabelSet(tuple(dict.fromkeys(names)))
    except UsageError as error:
        return BadRecord("", error.message, error.hint)
    return None


@dataclass(slots=True)
class CutRun:
    """What is still to come of an earlier run that was cut and is gone on with.

    `written` documents stand in its output: they give no result. While the window in which it
    was cut is `ahead`, windows are asked in the very batches of that run, less those that are
    answered: rounding differs between batches in the last bits of a score, and the same command
    must end with the same bytes. One value may serve one call of `tag` after the other.
    """

    written: int = 0
    ahead: bool = True


def tag(
    documents: Iterable[Document | BadRecord],
    engine: Engine,
    labels: LabelSet | None,
    options: Options = Options(),
    cache: Answers | None = None,
    *,
    cut: CutRun | None = None,
    live: bool = False,
) -> Iterator[Result | BadRecord]:
    """Tag documents; results and bad records come in input order.

    `cut` is the run that this one goes on with, None if it begins. `live` input is a stream that
    may pause: what has arrived is then answered without waiting for a full window.
    """
    planner = Planner(engine, labels, options)
    cut = cut or CutRun(ahead=False)
    for window in windows(documents, engine.batch_tokens, live):
        count = sum(isinstance(item, Document) for item in window)
        written = min(cut.written, count)
        cut.written -= written
        if written == count:
            yield from (item for item in window if isinstance(item, BadRecord))
            continue
        work = [item if isinstance(item, BadRecord) else _plan(planner, item) for item in window]
        results = _answered(work, engine, options, cache, repeat=cut.ahead)
        yield from _without(results, written) if written else results
        # A window that lacked answers is where the other run was cut; all after it is new.
        cut.ahead = cut.ahead and not any(isinstance(w, _Work) and w.asked for w in work)


def _without(results: Iterable[Result | BadRecord], written: int) -> Iterator[Result | BadRecord]:
    """Leave out the first results, as many as were written, but no bad record."""
    for result in results:
        if written and isinstance(result, Result):
            written -= 1
        else:
            yield result


def questions(
    documents: Iterable[Document | BadRecord],
    engine: Engine,
    labels: LabelSet | None,
    options: Options = Options(),
) -> Iterator[list[Prompt] | BadRecord]:
    """The prompts that `tag` asks about each document; none about one of white space."""
    planner = Planner(engine, labels, options)
    for item in documents:
        plan = item if isinstance(item, BadRecord) else _plan(planner, item)
        yield plan if isinstance(plan, BadRecord) else [q.prompt() for q in plan.questions]


@dataclass(slots=True)
class _Work:
    """A document on its way: its questions and the answers in so far."""

    document: Document
    questions: list[Question]
    completions: list[Completion | None] = field(default_factory=list)
    missing: int = 0
    cached: int = 0

    @property
    def asked(self) -> bool:
        """Whether the engine was needed for it."""
        return self.cached < len(self.questions)


def _plan(planner: Planner, document: Document) -> _Work | BadRecord:
    """Lay out a document; its own labels, unlike the run's, can spoil that document alone."""
    try:
        return _Work(document, planner.plan(document))
    except UsageError as error:
        if document.labels is None:
            raise
        return BadRecord(document.origin, error.message, error.hint)


def _answered(
    work: list[_Work | BadRecord],
    engine: Engine,
    options: Options,
    cache: Answers | None,
    repeat: bool,
) -> Iterator[Result | BadRecord]:
    """Answer one window and yield its results in order, each as soon as it can leave.

    `repeat` asks all of its questions, known or not, in the batches of a run from nothing.
    """
    plans = [plan for plan in work if isinstance(plan, _Work)]
    known: dict[bytes, Completion] = {}
    if cache is not None:
        stored = cache.get_many({q.key for plan in plans for q in plan.questions})
        most = engine.max_answer
        known = {key: answer for key, answer in stored.items() if _serves(answer, most)}
    waiting: dict[bytes, list[tuple[_Work, int]]] = {}
    asked: dict[bytes, Question] = {}
    for plan in plans:
        for place, question in enumerate(plan.questions):
            completion = known.get(question.key)
            plan.completions.append(completion)
            if completion is None:
                plan.missing += 1
                waiting.setdefault(question.key, []).append((plan, place))
            else:
                plan.cached += 1
            if completion is None or repeat:
                asked.setdefault(question.key, question)
    keys = list(asked)
    answered = {index for index, name in enumerate(keys) if name in known}
    pending = [q.prompt() for q in asked.values()] if waiting else []
    answers = iter(engine.generate(pending, answered) if pending else ())
    for due in work:
        if isinstance(due, BadRecord):
            yield due
            continue
        if due.missing:
            _take_answers(due, answers, keys, waiting, cache)
        yield make_result(due.document, due.questions, due.completions, due.cached, options)


def _serves(stored: Completion, max_answer: int) -> bool:
    """Whether an answer of another run is what this one would get, whose answers may be as long.

    One that ended by itself took a step more than it has tokens.
    """
    tokens = len(stored.ends)
    return tokens < max_answer if stored.stop == "eos" else tokens == max_answer


def _take_answers(
    due: _Work,
    answers: Iterator[tuple[int, Completion]],
    keys: list[bytes],
    waiting: dict[bytes, list[tuple[_Work, int]]],
    cache: Answers | None,
) -> None:
    """Take answers until the document that is due has all of its own; keep them all."""
    while due.missing:
        index, completion = next(answers)
        name = keys[index]
        if name not in waiting:
            continue  # asked again only to fill its batch; the answer in the cache stays
        if cache is not None:
            cache.put_many({name: completion})
        for plan, place in waiting[name]:
            plan.completions[place] = completion
            plan.missing -= 1
    if cache is not None:
        cache.flush()
