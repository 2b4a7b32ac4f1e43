"""What a run would do, without a file of it: its documents and steps, and the time and memory of a
few steps that are really taken.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from b2ner_cli.bench import machine
from b2ner_cli.training import loop, run
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.loop import Hooks
from b2ner_cli.training.packing import pack
from b2ner_cli.training.prepare import unchanged_process
from b2ner_cli.training.selection import Selection
from b2ner_cli.training.step import Step

_TRIED = 3  # steps, the first of which is slower and does not count


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do: `documents` are new ones, each trained on `times` times, beside which
    `replayed` are trained on. `seconds` are those of all steps, `memory` bytes at most, None where
    the system does not say.
    """

    selections: Sequence[Selection]
    documents: int
    times: float
    replayed: int
    steps: int
    seconds: float
    memory: int | None

    def lines(self) -> list[str]:
        """The same in words."""
        lines = []
        for each in self.selections:
            labels = ", ".join(each.labels[:12]) + (", ..." if len(each.labels) > 12 else "")
            lines.append(
                f"{each.name}: {len(each.documents):,} of {each.read:,} documents, "
                f"{len(each.labels)} labels: {labels}"
            )
        lines.append(
            f"{self.documents:,} new documents, each {self.times:.1f} times, "
            f"and {self.replayed:,} replayed, in {self.steps:,} steps"
        )
        memory = f", {self.memory / 1e9:.1f} GB of memory" if self.memory else ""
        lines.append(f"about {self.seconds / 60:.1f} minutes without scoring{memory}")
        return lines


def preview(job: TrainJob) -> Preview:
    """Look at the data and take a few steps; nothing is written.

    Raises what `run.run` would raise before its first steps.
    """
    run.check(job)
    selections = run.selected(job)
    with unchanged_process():
        return _tried(selections, job)


def _tried(selections: Sequence[Selection], job: TrainJob) -> Preview:
    setup = run.setup(job)
    begun = loop.begun(selections, setup, Hooks(), "")
    schedule = loop.scheduled(selections, setup)
    seconds = []
    for number, bundles in islice(schedule.batches(), _TRIED):
        began = time.monotonic()
        rows = [pack(bundle, begun.tokenizer, job.recipe.max_tokens) for bundle in bundles]
        if kept := [row for row in rows if row.targets]:
            begun.take(Step(number, kept, number), 0.0)
        seconds.append(time.monotonic() - began)
    counted = seconds[1:] or seconds
    replayed = sum(
        len(group.texts)
        for _, bundles in schedule.batches()
        for bundle in bundles
        for group in bundle
        if group.replayed
    )
    documents = sum(len(each.documents) for each in selections)
    device = begun.parts.accelerator.device
    memory = machine.peak_resident()
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    return Preview(
        selections, documents, schedule.epochs, replayed, schedule.steps,
        sum(counted) / len(counted) * schedule.steps, memory,
    )  # fmt: skip
