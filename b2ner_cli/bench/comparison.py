"""Engines answer the same prompts in turns: how fast each is, and where they differ.

Documents are cut into slices; every slice is answered by all engines before the next one, and
who goes first changes, so that whatever else the machine does falls on all. Medians of the
slices are reported. Knows prompts, no documents.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from b2ner_cli.bench.machine import clock
from b2ner_cli.core.engine import Completion, Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import rendering

Engine = PackedEngine | PlainEngine

ROWS = 4  # prompts of a batch of plain `generate`


@dataclass(frozen=True, slots=True)
class Measured:
    """The pace of one engine: medians of the slices. `device_memory` is the most it took on a card.

    Prompt tokens are those of whole prompts, however few of them the engine had to compute.
    """

    documents_per_second: float
    prompt_tokens_per_second: float
    answer_tokens_per_second: float
    cpu_seconds_per_document: float
    device_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Engines over the same slices, by name. `differing` counts answers of other tokens.

    Tokens are those of all prompts and answers; `truncated` answers were cut off. The ratios are
    those of plain to fast, by the clock and by CPU time; without both engines they are None, as
    `differing` is.
    """

    engines: Mapping[str, Measured]
    slices: int
    answers: int
    prompt_tokens: int
    answer_tokens: int
    truncated: int
    ratio: float | None = None
    cpu_ratio: float | None = None
    differing: int | None = None


@dataclass(slots=True)
class _Spent:
    """What one engine spent on each slice, a document."""

    wall: list[float]
    cpu: list[float]
    memory: list[int]


def compare(
    engines: Mapping[str, Engine],
    asked: Sequence[Sequence[Prompt]],
    rounds: int,
    show: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Answer `rounds` slices of documents, each given as its prompts, with every engine in turns.

    A comparison is made of the engines "fast" and "plain" where both are there. `show` hears how
    it goes.
    """
    _warm_up(engines, asked)
    size = -(-len(asked) // max(1, rounds))
    slices = [asked[start : start + size] for start in range(0, len(asked), size)]
    spent = {name: _Spent([], [], []) for name in engines}
    said: dict[str, list[list[Completion]]] = {name: [] for name in engines}
    for number, piece in enumerate(slices):
        flat = [prompt for document in piece for prompt in document]
        for name in sorted(engines, reverse=number % 2 == 1):
            said[name].append(_timed(engines[name], flat, len(piece), spent[name]))
        pace = ", ".join(f"{name} {1 / each.wall[-1]:,.2f}" for name, each in spent.items())
        show(f"slice {number + 1} of {len(slices)}, documents a second: {pace}")
    sizes = [len(piece) for piece in slices]
    answers = [answer for piece in next(iter(said.values())) for answer in piece]
    found = Comparison(
        {name: _measured(spent[name], said[name], sizes) for name in engines},
        len(slices),
        len(answers),
        sum(answer.prompt_tokens for answer in answers),
        sum(len(answer.ends) for answer in answers),
        sum(answer.stop == "length" for answer in answers),
    )
    if "fast" not in engines or "plain" not in engines:
        return found
    fast, plain = spent["fast"], spent["plain"]
    others = (answer._replace(logprobs=()) for piece in said["plain"] for answer in piece)
    own = (answer._replace(logprobs=()) for piece in said["fast"] for answer in piece)
    return replace(
        found,
        ratio=statistics.median(p / f for p, f in zip(plain.wall, fast.wall, strict=True)),
        cpu_ratio=statistics.median(p / f for p, f in zip(plain.cpu, fast.cpu, strict=True)),
        differing=sum(one != other for one, other in zip(own, others, strict=True)),
    )


def _warm_up(engines: Mapping[str, Engine], asked: Sequence[Sequence[Prompt]]) -> None:
    """Answer some of the texts for a label of no interest: the prefix asked for stays unknown."""
    labels = LabelSet(("word",))
    prefix = rendering.prefix(labels, "en")
    some = [document[0] for document in asked[:ROWS]]
    for engine in engines.values():
        list(engine.generate([replace(p, prefix=prefix, labels=labels.names) for p in some]))


def _timed(
    engine: Engine, asked: Sequence[Prompt], documents: int, spent: _Spent
) -> list[Completion]:
    device = engine.backbone.device
    on_card = device.startswith("cuda")
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    wall, cpu = clock(device), time.process_time()
    completions = dict(engine.generate(asked))
    spent.wall.append((clock(device) - wall) / documents)
    spent.cpu.append(max(time.process_time() - cpu, 1e-9) / documents)
    if on_card:
        spent.memory.append(torch.cuda.max_memory_allocated(device))
    return [completions[index] for index in range(len(asked))]


def _measured(
    spent: _Spent, said: Sequence[Sequence[Completion]], sizes: Sequence[int]
) -> Measured:
    seconds = [wall * size for wall, size in zip(spent.wall, sizes, strict=True)]
    prompt = [sum(answer.prompt_tokens for answer in piece) for piece in said]
    answer = [sum(len(answer.ends) for answer in piece) for piece in said]
    return Measured(
        1 / statistics.median(spent.wall),
        statistics.median(n / s for n, s in zip(prompt, seconds, strict=True)),
        statistics.median(n / s for n, s in zip(answer, seconds, strict=True)),
        statistics.median(spent.cpu),
        max(spent.memory, default=None),
    )
