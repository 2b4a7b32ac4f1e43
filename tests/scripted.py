"""Stand-ins: an engine that answers from a script, and the command line without its start-up time.

ScriptedEngine       answers prompts by a function of labels and text, in a shuffled order
run([...])           `b2ner ...` to its end, in a process of its own: exit code, stdout, stderr
start([...])         the same, but still running: to be killed or interrupted
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from b2ner_cli.core.engine import Completion
from b2ner_cli.prompts.rendering import NONE, TEMPLATES

WORD = re.compile(r"\s*\S+|\s+$")


def asked(prompt):
    """The labels and the text of a prompt, read back out of it."""
    for template in TEMPLATES.values():
        if prompt.own.endswith(template.answer) and prompt.prefix.endswith(template.text):
            head = prompt.prefix.removesuffix(template.labels + template.text)
            start = template.instruction
            if template.shown and head.startswith(template.shown):
                break
            if not head.startswith((start, template.described or start)):
                continue
            if not head.startswith(start):
                start, head = template.described, head.partition(template.description)[0]
            labels = head.removeprefix(start).split(", ")
            return labels, prompt.own.removesuffix(template.answer)[1:]
    return list(prompt.labels), prompt.about  # another task's, or one with examples


def name_words(labels, text):
    """Say every word that begins with a label, in any case: `person: Person7`."""
    said = [
        f"{label}: {word}"
        for word in text.split()
        for label in labels
        if word.casefold().startswith(label.casefold())
    ]
    return " " + "; ".join(said) if said else NONE


@dataclass
class ScriptedEngine:
    """Answers in batches of `rows` of the prompts asked, batches and their rows shuffled.

    `calls` keeps what was asked: the prompts' texts and the indices already answered. Tokens are
    words. With `drift` a score depends on the batch it was computed in, as rounding does.
    `on_answer` is called with the number of answers before each one.
    """

    answer: Callable[[list[str], str], str] = name_words
    rows: int = 4
    context: int = 2048
    max_answer: int = 64
    batch_tokens: int = 6144
    seed: int = 0
    drift: bool = False
    on_answer: Callable[[int], None] = lambda count: None
    identity: str = "scripted"
    calls: list[tuple[list[str], set[int]]] = field(default_factory=list)
    answers: int = 0

    def count(self, text):
        return len(text.split())

    def generate(self, prompts, answered=()):
        prompts = list(prompts)
        self.calls.append(([prompt.text for prompt in prompts], set(answered)))
        shuffled = random.Random(self.seed)
        starts = list(range(0, len(prompts), self.rows))
        shuffled.shuffle(starts)
        for start in starts:
            batch = list(range(start, min(start + self.rows, len(prompts))))
            if all(index in answered for index in batch):
                continue
            composition = "\0".join(prompts[index].text for index in batch)
            noise = zlib.crc32(composition.encode(errors="replace")) / 2**32 if self.drift else 0.0
            shuffled.shuffle(batch)
            for index in batch:
                self.on_answer(self.answers)
                self.answers += 1
                text = self.answer(*asked(prompts[index]))
                ends = tuple(word.end() for word in WORD.finditer(text))
                logprobs = (-0.1 - noise,) * len(ends)
                yield index, Completion(text, logprobs, ends, "eos", self.count(prompts[index].own))


@dataclass(frozen=True)
class KillAt:
    """Sends this process a signal before its answer of that number."""

    number: int
    signal: int = signal.SIGKILL

    def __call__(self, count):
        if count == self.number:
            os.kill(os.getpid(), self.signal)


# The command line ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    code: int
    out: bytes
    err: str


@dataclass
class Running:
    process: Any
    out: Path
    err: Path

    def wait(self, seconds=120) -> Finished:
        self.process.join(seconds)
        assert self.process.exitcode is not None, "still running"
        out = self.out.read_bytes() if self.out.is_file() else b""
        return Finished(self.process.exitcode, out, self.err.read_text("utf-8"))

    def wait_until(self, ready: Callable[[], bool], seconds=60):
        """Wait for something to happen while it runs."""
        limit = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < limit, "waited in vain: " + self.err.read_text("utf-8")
            assert self.process.is_alive(), self.err.read_text("utf-8")
            time.sleep(0.005)

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)


class Shell:
    """Runs `b2ner` in forks of a process that has imported torch already."""

    _context = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        if Shell._context is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(
                [
                    "b2ner_cli.cli.app",
                    "b2ner_cli.tagging.opening",
                    "tests.scripted",
                    "transformers.generation",
                ]
                + [f"transformers.models.{name}.modeling_{name}" for name in ("llama", "gemma3")]
            )
            Shell._context = context

    def start(
        self,
        arguments: Sequence[object],
        *,
        stdin: bytes | Path = b"",
        stdout: Path | str | None = None,
        engine: Callable[[], ScriptedEngine] | None = None,
        **environment: str,
    ) -> Running:
        """Start a command in the shell's folder; with `engine`, on it instead of a model."""
        self.count += 1
        outputs = self.folder / ".shell"
        outputs.mkdir(exist_ok=True)
        if isinstance(stdin, bytes):
            (outputs / f"{self.count}.in").write_bytes(stdin)
            stdin = outputs / f"{self.count}.in"
        out = Path(stdout or outputs / f"{self.count}.out")
        err = outputs / f"{self.count}.err"
        err.touch()
        environment = {"B2NER_CACHE_DIR": str(self.folder / "cache"), **environment}
        command = [str(argument) for argument in arguments]
        process = Shell._context.Process(
            target=_child,
            args=(command, self.folder, [stdin, out, err], environment, engine),
            daemon=True,
        )
        process.start()
        return Running(process, out, err)

    def run(self, arguments: Sequence[object], **more: Any) -> Finished:
        """Run a command to its end."""
        return self.start(arguments, **more).wait()


def _child(command, folder, streams, environment, engine):
    os.chdir(folder)
    flags = [os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_APPEND]
    for number, (path, flag) in enumerate(zip(streams, flags, strict=True)):
        opened = os.open(path, flag, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.environ.update(environment)
    # What must not outlive the tests may all the same have children, as `b2ner` itself may.
    multiprocessing.current_process()._config["daemon"] = False
    # A job that a shell starts in the background ignores Ctrl-C; this one is to heed it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    torch.set_num_threads(1)
    if engine is not None:
        _use_engine(engine)
    sys.argv = ["b2ner", *command]
    from b2ner_cli.cli.app import main

    main()


def _use_engine(make):
    from b2ner_cli.tagging.loop import Options
    from b2ner_cli.tagging.tagger import Tagger

    def load(cls, model, labels=None, *, options=Options(), cache=None):
        return cls(make(), labels, options, cache)

    Tagger.load = classmethod(load)


def numbered(count, words=("Person{}", "met", "Person{}", "in", "City{}", ".")):
    """JSON lines of invented documents in which ScriptedEngine finds persons and cities."""
    text = " ".join(words)
    rows = [
        f'{{"id": {n}, "text": "{text.format(n, n + 1, n % 7)}"}}\n'.encode() for n in range(count)
    ]
    return b"".join(rows)
