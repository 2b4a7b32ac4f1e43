"""LoRA fine-tuning on the prompts that tagging uses.

    selections -> groups -> rows of token ids, a step ahead -> loss on answers -> adapter on disk

Everything random follows from the seed and the step, so that a run which was killed goes on
exactly where its last checkpoint stood. Devices are accelerate's matter.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from b2ner_cli.errors import B2nerError, UsageError
from b2ner_cli.models.released import RELEASED
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.training import checkpoints, groups, replay
from b2ner_cli.training.groups import NO_EXAMPLES, FewShot, PromptChoices
from b2ner_cli.training.packing import Bundle, PackedRow, Schedule, pack
from b2ner_cli.training.prepare import Prepared, aside, prepared, unchanged_process
from b2ner_cli.training.recipes import Recipe, decisive
from b2ner_cli.training.selection import Selection
from b2ner_cli.training.start import name_of
from b2ner_cli.training.step import Step, gradients, loss

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How a run stands after a step; `loss` is the mean over the answer tokens of the step."""

    step: int
    steps: int
    loss: float
    documents: int
    seconds: float
    learning_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run did: selections, steps, documents trained on and left out as too long.

    `longest` is the tokens of the longest document's own part of the prompt; `replayed` of the
    documents were replayed. `new_loss` is the loss of the selections' first documents before the
    first step and after the last one, NaN where none fit.
    """

    selections: Sequence[Selection]
    steps: int
    documents: int
    too_long: int
    longest: int
    loss: float
    seconds: float
    processes: int = 1
    replayed: int = 0
    new_loss: tuple[float, float] = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is trained, how and where: a LoRA for `model`, written to ``out/adapter``.

    It starts from zero or from `from_adapter`; `resume` goes on from the last checkpoint in `out`.
    """

    model: str
    out: Path
    recipe: Recipe
    from_adapter: Path | None = None
    resume: bool = False
    device: str = "auto"
    checkpoint_every: int = 100
    few_shot: FewShot = NO_EXAMPLES


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a run tells the one who started it, in the first process alone.

    `ready` is called with the steps already done when data, model and settings have turned out to
    be usable, before anything is written; `evaluate` after each epoch and at the end, and again
    where a run is resumed at one: it hears how the run stands, and how to write the adapter to a
    folder.
    """

    ready: Callable[[int], None] = lambda step: None
    report: Callable[[TrainingProgress], None] = lambda progress: None
    evaluate: Callable[[Trained, Callable[[Path], None]], None] | None = None


_NO_HOOKS = Hooks()
_MEASURED = 64  # documents whose loss is compared before and after


def train(
    selections: Sequence[Selection], setup: Setup, hooks: Hooks = _NO_HOOKS, *, tasks: str = ""
) -> Trained:
    """Train an adapter on documents.

    `tasks` says which task config chose them, and how labels are renamed, in a digest; a run
    resumes with no other.
    Raises ModelError for a model or adapter that cannot be used and B2nerError when the loss
    stops being a number; the last checkpoint stays.
    """
    with unchanged_process():
        return _train(selections, setup, hooks, tasks)


def _train(selections: Sequence[Selection], setup: Setup, hooks: Hooks, tasks: str) -> Trained:
    recipe = setup.recipe
    run = begun(selections, setup, hooks, tasks)
    schedule = scheduled(selections, setup)
    ends = schedule.epoch_ends
    if run.first:
        hooks.ready(run.start)
    run.wait()
    if not run.start:
        run.tally.new_loss = run.loss_on_new()
    began = time.monotonic() - run.tally.seconds
    packed = (
        (step, bundles, [pack(bundle, run.tokenizer, recipe.max_tokens) for bundle in bundles])
        for step, bundles in schedule.batches(run.start)
    )
    for number, bundles, rows in ahead(packed):
        if number in ends:
            began += run.have_evaluated(number)
        run.tally.see(bundles, rows)
        mean_over = recipe.experiments.mean_over // recipe.group
        step = Step(
            number,
            [row for row in rows if row.targets],
            recipe.seed * 1_000_003 + number,
            mean_over,
        )
        if not step.rows:
            continue
        rate = recipe.learning_rate * warm_cosine(number, schedule.steps, recipe.warmup)
        mean = run.take(step, rate)
        run.tally.seconds = time.monotonic() - began
        if run.first:
            done = (run.tally.documents, run.tally.seconds, rate)
            hooks.report(TrainingProgress(number + 1, schedule.steps, mean, *done))
            if (number + 1) % setup.checkpoint_every == 0:
                run.keep(number + 1)
    if run.first:
        run.save_adapter(setup.out / "adapter")
    run.have_evaluated(schedule.steps)
    return replace(run.trained(schedule.steps), new_loss=(run.tally.new_loss, run.loss_on_new()))


def scheduled(selections: Sequence[Selection], setup: Setup) -> Schedule:
    """What is trained on, step by step: the selections, and what the recipe replays."""
    recipe = setup.recipe
    choices = PromptChoices.of(recipe, setup.few_shot)
    return Schedule(selections, recipe, choices, replay.selections() if recipe.replay else ())


def ahead(made: Iterator[T]) -> Iterator[T]:
    """The same items, the next of which is made in the background while one is used."""
    with ThreadPoolExecutor(1, "ahead") as background:
        coming = background.submit(next, made, None)
        while (item := coming.result()) is not None:
            coming = background.submit(next, made, None)
            yield item


@dataclass(slots=True)
class _Tally:
    """What a run has counted so far; goes into its checkpoints."""

    documents: int = 0
    too_long: int = 0
    longest: int = 0
    losses: list[float] = field(default_factory=list)
    replayed: int = 0
    new_loss: float = math.nan  # before the first step
    seconds: float = 0.0
    at_once: int = 0  # rows that memory holds, 0 for all of a step

    def see(self, bundles: Sequence[Bundle], rows: Sequence[PackedRow]) -> None:
        fitting = sum(row.documents for row in rows)
        self.documents += fitting
        self.replayed += sum(
            row.documents for bundle, row in zip(bundles, rows, strict=True) if bundle[0].replayed
        )
        self.too_long += sum(len(g.texts) for bundle in bundles for g in bundle) - fitting
        self.longest = max(self.longest, *(row.longest for row in rows))


def begun(selections: Sequence[Selection], setup: Setup, hooks: Hooks, tasks: str) -> UnderWay:
    """All that is trained, where it was left if the run is resumed."""
    recipe = setup.recipe
    parts = prepared(setup.model, recipe, setup.device, setup.from_adapter)
    settings = json.dumps(recipe.flat(), sort_keys=True)
    notes = {"recipe": settings, "tasks": tasks, "shown": setup.few_shot.digest}
    notes["start"] = name_of(setup.from_adapter)
    start, tally = 0, _Tally()
    if setup.resume:
        start, tally = _resumed(setup.out, parts, notes)
    # what memory held before it was killed, or what the recipe asks for
    tally.at_once = min(filter(None, (tally.at_once, recipe.micro_batch_rows)), default=0)
    return UnderWay(selections, setup, hooks, parts, notes, tally, start)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What a run trains, with what, and what it notes of itself; the first process writes it."""

    selections: Sequence[Selection]
    setup: Setup
    hooks: Hooks
    parts: Prepared
    notes: dict[str, str]
    tally: _Tally
    start: int

    @property
    def first(self) -> bool:
        return bool(self.parts.accelerator.is_main_process)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.parts.tokenizer

    def wait(self) -> None:
        """Wait for all processes."""
        self.parts.accelerator.wait_for_everyone()

    def take(self, step: Step, rate: float) -> float:
        """Take a step, unless loss or gradient is no number; gives the loss."""
        tally, module, accelerator = self.tally, self.parts.module, self.parts.accelerator
        for group in self.parts.optimizer.param_groups:
            group["lr"] = rate
        mean, tally.at_once = gradients(module, accelerator, step, tally.at_once)
        norm = accelerator.clip_grad_norm_(module.parameters(), self.setup.recipe.clip)
        tally.losses = [*tally.losses[-49:], mean]
        _check_finite(step.number + 1, self.setup.out, loss=mean, gradient=float(norm))
        self.parts.optimizer.step()
        return mean

    def loss_on_new(self) -> float:
        """The loss of the first documents that are trained on, asked in one way at all times."""
        recipe, module = self.setup.recipe, self.parts.module
        choices = PromptChoices(recipe.max_labels, dropout=0.0)
        asked = groups.bundles(self.selections, recipe.group, choices, "loss")
        some = islice(asked, max(1, _MEASURED // recipe.group))
        rows = [pack(bundle, self.tokenizer, recipe.max_tokens) for bundle in some]
        return loss(module, self.parts.accelerator, [row for row in rows if row.targets])

    def keep(self, step: int) -> None:
        """Write a checkpoint."""
        noted = {**self.notes, "tally": json.dumps(asdict(self.tally))}
        checkpoints.save(self.setup.out, self.parts.module, self.parts.optimizer, step, noted)

    def have_evaluated(self, step: int) -> float:
        """Have the adapter evaluated by the first process; gives the seconds that it takes."""
        paused = time.monotonic()
        if self.hooks.evaluate is None:
            return 0.0
        if self.first:
            every, taken = self.setup.checkpoint_every, self.parts.optimizer.state
            if step > self.start and step % every and taken:
                self.keep(step)  # what a run goes on from that is killed meanwhile
            with aside(self.parts.module, self.parts.accelerator.device):
                self.hooks.evaluate(self.trained(step), self.save_adapter)
        self.wait()
        return time.monotonic() - paused

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter as it is."""
        base = _HUB_NAMES.get(self.setup.model, self.setup.model)
        checkpoints.save_adapter(folder, self.parts.module.network, base)

    def trained(self, steps: int) -> Trained:
        """What the run did in so many steps."""
        tally = self.tally
        return Trained(
            self.selections, steps, tally.documents, tally.too_long, tally.longest,
            sum(tally.losses) / len(tally.losses) if tally.losses else math.nan,
            tally.seconds, self.parts.accelerator.num_processes, tally.replayed,
        )  # fmt: skip


_HUB_NAMES = {
    "mini": "google/gemma-3-270m",
    **{name: released.base.name for name, released in RELEASED.items()},
}


def _resumed(out: Path, parts: Prepared, wanted: dict[str, str]) -> tuple[int, _Tally]:
    """Restore the last checkpoint of a run with this very recipe and task config."""
    start, notes = checkpoints.load_latest(out, parts.module, parts.optimizer)
    if not start:
        return 0, _Tally()
    recipes = [json.loads(each) for each in (notes.get("recipe", "{}"), wanted["recipe"])]
    for what, same in (
        ("recipe", decisive(recipes[0]) == decisive(recipes[1])),
        ("task config or label map", notes.get("tasks", "") == wanted["tasks"]),
        ("set of examples or descriptions", notes.get("shown", "") == wanted["shown"]),
    ):
        if not same:
            raise UsageError(
                f"the run in {out} has another {what} than the one given",
                "resume with the options it was started with, or train into another folder",
            )
    return start, _Tally(**json.loads(notes["tally"]))


def is_first() -> bool:
    """Whether this process, of those that train together, is the one that writes."""
    if torch.distributed.is_initialized():
        return bool(torch.distributed.get_rank() == 0)
    return os.environ.get("RANK", "0") == "0"


def _check_finite(step: int, out: Path, **values: float) -> None:
    """Stop before a step that would spoil the weights, and with them the next checkpoint."""
    for what, value in values.items():
        if not math.isfinite(value):
            raise B2nerError(
                f"the {what} is {value} at step {step}",
                f"lower the learning rate; {out / 'checkpoints'} keeps the state before",
            )


def warm_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to zero."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return 0.5 * (1 + math.cos(math.pi * done))
