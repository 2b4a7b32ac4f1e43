"""Several devices at once: a process each, answering shards of the prompts one engine is asked.

    prompts -> sorted -> shards -> whichever process is free -> answers, as they come in

Is told how a process makes the engine of its device, and knows no model. Shards are cut from the
prompts alone, before any is asked, and a process answers a shard apart from all others: on
devices of one kind it makes no difference which of them takes it, not even in the last bits.

A process listens to its pipe alone and leaves when that is closed, so it outlives nobody.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from b2ner_cli.core.engine import Completion, Engine, Prompt
from b2ner_cli.errors import B2nerError, UsageError

log = logging.getLogger("b2ner")

Make = Callable[[str], Engine]  # an engine of the device of that name; goes through pickle

_ANSWER = 100  # characters that an answer is as much work as
_ROW = 256  # tokens of a process's batch for each prompt of the smallest shard: half a batch
_EVERY = 0.1  # seconds between two messages with answers: each costs both sides some time
_RESUME = "what was written is kept: the same command with --resume goes on"


# Shards -------------------------------------------------------------------------------------------


def shards(prompts: Sequence[Prompt], workers: int, least: int) -> list[list[int]]:
    """Cut prompts, by their indices, into shards for a number of workers.

    Prompts that begin alike stand together, the longest of them first. The first shards are
    large, for full batches, the last ones small, so that all workers end at about the same time;
    but none is less work than `least` prompts are on average, unless some worker had nothing.
    """
    order = sorted(range(len(prompts)), key=lambda i: (prompts[i].prefix, -len(prompts[i].own), i))
    left = sum(_work(prompt) for prompt in prompts)
    smallest = min(left / workers, left * least / max(1, len(prompts)))
    cut: list[list[int]] = []
    shard, size = list[int](), 0
    for index in order:
        shard.append(index)
        size += _work(prompts[index])
        if size >= max(smallest, left / (2 * workers)):
            cut.append(shard)
            left -= size
            shard, size = [], 0
    return [*cut, shard] if shard else cut


def _work(prompt: Prompt) -> int:
    return len(prompt.own) + _ANSWER


# What is said between the processes ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shard:
    """What a worker is asked; answers bear its number."""

    number: int
    prompts: list[Prompt]
    answered: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a worker's engine is, as soon as it has one."""

    identity: str
    context: int
    max_answer: int
    batch_tokens: int


@dataclass(frozen=True, slots=True)
class _Answers:
    """Some answers to a shard by their places in it; `last` if there are no more."""

    number: int
    answers: list[tuple[int, Completion]]
    last: bool


@dataclass(frozen=True, slots=True)
class _LogLine:
    """A message of a worker's log."""

    level: int
    message: str


# The side that asks -------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Worker:
    """A process and the pipe to it; `pending` counts the shards it has."""

    name: str
    process: Any
    pipe: Connection
    pending: int = 0
    ready: _Ready | None = None

    def send(self, shard: _Shard) -> None:
        """Ask for answers. Raises B2nerError if the process is gone."""
        try:
            self.pipe.send(shard)
        except OSError:
            raise self.lost() from None
        self.pending += 1

    def receive(self) -> Any:
        """Its next message. Raises B2nerError if the process is gone."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            raise self.lost() from None

    def lost(self) -> B2nerError:
        """The error that says how it ended."""
        self.process.join(5)
        code = self.process.exitcode
        killed = code is not None and code < 0
        how = f"killed by {signal.Signals(-code).name}" if killed else f"exit code {code}"
        if self.ready is None:
            hint = "each holds a model of its own: if memory ran out, name fewer devices"
            return B2nerError(f"process {self.name} ended before it had its model: {how}", hint)
        return B2nerError(f"process {self.name} ended while it answered: {how}", _RESUME)

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.pipe.close()
        self.process.kill()  # it has nothing to save, and may be in the middle of a long step
        self.process.join(5)


@dataclass(slots=True, eq=False)
class _Call:
    """A call of `generate`: shards no worker has yet, how many some have, answers that are in."""

    waiting: deque[list[int]]
    out: int = 0
    arrived: list[tuple[int, Completion]] = field(default_factory=list)


class WorkerPool:
    """An engine that hands what it is asked to processes with engines of their own."""

    def __init__(
        self, workers: Sequence[_Worker], each: _Ready, count: Callable[[str], int]
    ) -> None:
        self.identity = each.identity
        self.context = each.context
        self.max_answer = each.max_answer
        self.batch_tokens = each.batch_tokens * len(workers)
        self._least = max(1, each.batch_tokens // _ROW)
        self._count = count
        self._workers = list(workers)
        self._shards = 0
        self._out: dict[int, tuple[_Call, list[int]]] = {}

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return self._count(text)

    def generate(
        self, prompts: Sequence[Prompt], answered: Collection[int] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer prompts greedily; yields (index, completion) as they come in.

        A shard whose indices are all in `answered` is left out. Raises B2nerError when a process
        fails or is gone; all others are stopped then.
        """
        known = frozenset(answered)
        cut = shards(prompts, max(1, len(self._workers)), self._least)
        call = _Call(deque(shard for shard in cut if not known.issuperset(shard)))
        while call.waiting or call.out or call.arrived:
            try:
                self._hand_out(call, prompts, known)
                if not call.arrived:  # while another call listened, ours may have come in
                    self._listen()
            except B2nerError:
                self.close()
                raise
            arrived, call.arrived = call.arrived, []
            yield from arrived

    def close(self) -> None:
        """Stop the processes. Nothing can be asked any more."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.stop()

    def _hand_out(self, call: _Call, prompts: Sequence[Prompt], known: frozenset[int]) -> None:
        """Give shards to the workers that have the fewest."""
        if not self._workers:
            raise B2nerError("the processes that answer are stopped", "load the model again")
        while call.waiting:
            worker = min(self._workers, key=lambda each: each.pending)
            # A second shard ahead, as we may be busy when the first is done; but the last ones go
            # to whoever is free first.
            if worker.pending >= (2 if len(call.waiting) > len(self._workers) else 1):
                return
            shard = call.waiting.popleft()
            places = frozenset(place for place, index in enumerate(shard) if index in known)
            self._shards += 1
            worker.send(_Shard(self._shards, [prompts[index] for index in shard], places))
            self._out[self._shards] = (call, shard)
            call.out += 1

    def _listen(self) -> None:
        """Wait for messages; answers go to the call that asked, which may be another one."""
        workers = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(workers)):
            worker = workers[pipe]  # type: ignore[index]  # of what was waited for
            match worker.receive():
                case _Answers(number, answers, last):
                    call, shard = self._out[number]
                    call.arrived += [(shard[place], answer) for place, answer in answers]
                    if last:
                        del self._out[number]
                        call.out -= 1
                        worker.pending -= 1
                case _LogLine(level, message):
                    log.log(level, "%s: %s", worker.name, message)
                case B2nerError() as error:
                    raise type(error)(f"process {worker.name}: {error.message}", error.hint)


def start(devices: Sequence[str], make: Make, count: Callable[[str], int]) -> WorkerPool:
    """Start a process for each device, have it make its engine, and give the engine of all.

    `count` counts tokens as the engines do. Raises what `make` does; B2nerError if a process ends,
    UsageError if they would not answer alike.
    """
    workers: list[_Worker] = []
    try:
        with _without_interrupts():
            for number, device in enumerate(devices, 1):
                name = f"{number} of {len(devices)}, {device}"
                workers.append(_start(name, device, make))
        return WorkerPool(workers, _get_ready(workers), count)
    except BaseException:
        for worker in workers:
            worker.stop()
        raise


def _start(name: str, device: str, make: Make) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would take locks and CUDA's state along
    ours, theirs = context.Pipe()
    arguments = (device, make, theirs, log.getEffectiveLevel())
    process = context.Process(target=_serve, args=arguments, name=name, daemon=True)
    process.start()
    theirs.close()  # or its end would not be noticed
    return _Worker(name, process, ours)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach while they import: a terminal sends it to all."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # the first process starts it, and it changes the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _get_ready(workers: Sequence[_Worker]) -> _Ready:
    """Wait until all have their engines; what all say meanwhile is passed on once."""
    said: dict[_LogLine, list[str]] = {}
    while missing := {worker.pipe: worker for worker in workers if worker.ready is None}:
        for pipe in wait(list(missing)):
            worker = missing[pipe]  # type: ignore[index]  # of what was waited for
            match worker.receive():
                case _Ready() as ready:
                    worker.ready = ready
                case _LogLine() as line:
                    said.setdefault(line, []).append(worker.name)
                case B2nerError() as error:
                    raise error
    for line, names in said.items():
        who = "" if len(names) >= len(workers) else f"{'; '.join(names)}: "
        log.log(line.level, "%s%s", who, line.message)
    each = [worker.ready for worker in workers if worker.ready is not None]
    for worker, other in zip(workers, each, strict=True):
        if replace(other, batch_tokens=0) != replace(each[0], batch_tokens=0):
            raise UsageError(
                f"the devices would not answer alike: {each[0].identity} on {workers[0].name}, "
                f"{other.identity} on {worker.name}",
                "name the dtype, such as --dtype float32",
            )
    return replace(each[0], batch_tokens=min(ready.batch_tokens for ready in each))


# The side that answers ----------------------------------------------------------------------------


def _serve(device: str, make: Make, pipe: Connection, level: int) -> None:
    """Make an engine and answer shards with it, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that asks sees to it
    os.dup2(2, 1)  # stdout is its alone
    asked: queue.SimpleQueue[_Shard] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, asked), daemon=True).start()
    log.addHandler(_ToPipe(pipe))
    log.setLevel(level)
    log.propagate = False
    try:
        engine = make(device)
        gc.freeze()  # the model is here to stay: no need to look at it again
        mine = _Ready(engine.identity, engine.context, engine.max_answer, engine.batch_tokens)
        _send(pipe, mine)
        while True:
            _answer(engine, asked.get(), pipe)
    except B2nerError as error:
        _send(pipe, error)
    except Exception as error:  # here it would only be a traceback between others' messages
        log.debug("%s", traceback.format_exc())
        what = "; ".join(traceback.format_exception_only(error)).strip().splitlines()[0]
        _send(pipe, B2nerError(what, _RESUME))


def _receive(pipe: Connection, asked: queue.SimpleQueue[_Shard]) -> None:
    """Take in what is asked, at once and always, so that the one who asks never waits."""
    while True:
        try:
            asked.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)  # the one who asks is gone, and nobody wants an answer


def _answer(engine: Engine, shard: _Shard, pipe: Connection) -> None:
    answers, sent = list[tuple[int, Completion]](), time.monotonic()
    for answer in engine.generate(shard.prompts, shard.answered):
        answers.append(answer)
        if time.monotonic() - sent > _EVERY:
            _send(pipe, _Answers(shard.number, answers, last=False))
            answers, sent = [], time.monotonic()
    _send(pipe, _Answers(shard.number, answers, last=True))


def _send(pipe: Connection, message: _Ready | _Answers | _LogLine | B2nerError) -> None:
    try:
        pipe.send(message)
    except OSError:
        os._exit(0)


class _ToPipe(logging.Handler):
    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a message on to the side that asks."""
        _send(self._pipe, _LogLine(record.levelno, record.getMessage()))
