"""The loop: documents in, results out, in the same order.

    documents -> windows -> chunks x label groups -> prompts -> engine -> results

A window of documents is answered in whatever order the engine likes; a result leaves as soon as
all results before it have. Answers come from the cache where it has them, and the same question
is asked once. What goes wrong with one document is data on that document. Is handed an engine
and a cache, and knows neither.

Windows are cut by number and length of the documents alone, and a run that resumes asks its first
window in the very batches in which it was asked before, less those that are answered: rounding
differs between batches in the last bits of a score, and the same command must end with the same
bytes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.core.engine import Completion, Engine, Prompt
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging.planning import Options, Planner, Question
from b2ner_cli.tagging.results import make_result

__all__ = ["Answers", "Engine", "Options", "questions", "tag", "with_labels"]

_FIRST, _SMALLEST, _LARGEST = 32, 256, 32_768  # documents a window: the first, then no less, most
_TYPICAL = 24  # tokens of a batch to a document of the window, so that it holds several batches
_ROOM = 2000  # characters a window has for each document: it is cut before one that is too long
_SETS = 10_000  # label sets of documents that are remembered to be good
_PAUSE = 1.0  # seconds without a document after which a live window is answered as it is
_PATIENCE = 5.0  # the longest a live window is waited for, however steadily it fills


class Answers(Protocol):
    """A store of answers by key; see `cache.Cache`."""

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


def tag(
    documents: Iterable[Document | BadRecord],
    engine: Engine,
    labels: LabelSet | None,
    options: Options = Options(),
    cache: Answers | None = None,
    *,
    skip: int = 0,
    resumed: bool = False,
    live: bool = False,
) -> Iterator[Result | BadRecord]:
    """Tag documents; results and bad records come in input order.

    The first `skip` documents have been tagged by a run that was cut: they give no result, and
    the window that run was cut in is asked as that run asked it. `resumed` says that there was
    such a run where nothing is skipped. `live` input is a stream that may pause: what has
    arrived is then answered without waiting for a full window.
    """
    planner = Planner(engine, labels, options)
    done, resumed = 0, resumed or skip > 0
    for window in _windows(documents, _sizes(engine.batch_tokens), live):
        count = sum(isinstance(item, Document) for item in window)
        before, done = done, done + count
        if done < skip or (done == skip and count):
            yield from (item for item in window if isinstance(item, BadRecord))
            continue
        work = [item if isinstance(item, BadRecord) else _plan(planner, item) for item in window]
        results = _answered(work, engine, options, cache, repeat=resumed)
        if skip > before:
            results = _without(results, skip - before)
        yield from results
        # A window that lacked answers is where the other run was cut; all after it is new.
        resumed = resumed and not any(isinstance(w, _Work) and w.asked for w in work)


def _without(results: Iterable[Result | BadRecord], skip: int) -> Iterator[Result | BadRecord]:
    """Leave out the first `skip` results, but no bad record."""
    for result in results:
        if skip and isinstance(result, Result):
            skip -= 1
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
        known = cache.get_many({q.key for plan in plans for q in plan.questions})
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


def _sizes(batch_tokens: int) -> Iterator[int]:
    """Documents in each window: few at first, for an early first result, then several batches."""
    most = max(_SMALLEST, min(batch_tokens // _TYPICAL, _LARGEST))
    size = _FIRST
    while True:
        yield min(size, most)
        size *= 2


def _windows(
    documents: Iterable[Document | BadRecord], sizes: Iterator[int], live: bool
) -> Iterator[list[Document | BadRecord]]:
    """Cut documents into windows, which hold so many at most and `_ROOM` characters for each.

    A document too long for that begins a window, so that none before it waits for its answers.
    """
    if live:
        yield from _live_windows(documents, sizes)
        return
    window: list[Document | BadRecord] = []
    size = next(sizes)
    left = size * _ROOM
    for item in documents:
        length = _length(item)
        if window and length > left:
            yield window
            window, size = [], next(sizes)
            left = size * _ROOM
        window.append(item)
        left -= length
        if len(window) == size:
            yield window
            window, size = [], next(sizes)
            left = size * _ROOM
    if window:
        yield window


def _length(item: Document | BadRecord) -> int:
    return len(item.text) if isinstance(item, Document) else 0


def _live_windows(
    documents: Iterable[Document | BadRecord], sizes: Iterator[int]
) -> Iterator[list[Document | BadRecord]]:
    """Windows of a stream: full ones, or after a pause what has arrived; a thread reads ahead."""
    arrived: queue.Queue[Document | BadRecord | BaseException | None] = queue.Queue(_SMALLEST)

    def read() -> None:
        try:
            for document in documents:
                arrived.put(document)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=read, name="reader", daemon=True).start()
    long: list[Document | BadRecord] = []  # one that the next window begins with
    while True:
        size = next(sizes)
        left = size * _ROOM
        window: list[Document | BadRecord] = []
        item = long.pop() if long else arrived.get()
        limit = time.monotonic() + _PATIENCE
        while isinstance(item, (Document, BadRecord)):
            length = _length(item)
            if window and length > left:
                long.append(item)
                break
            window.append(item)
            left -= length
            if len(window) == size:
                break
            try:
                item = arrived.get(timeout=max(0.0, min(_PAUSE, limit - time.monotonic())))
            except queue.Empty:
                break
        if window:
            yield window
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return
