"""LoRA fine-tuning on the prompts that tagging uses.

    picks -> groups -> rows of token ids, a step ahead -> loss on the answers -> adapter on disk

Everything random follows from the seed and the step, so that a run which was killed goes on
exactly where its last checkpoint stood. Devices are accelerate's matter.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from accelerate.utils.memory import clear_device_cache

from b2ner_cli.errors import B2nerError, ModelError, UsageError
from b2ner_cli.models import devices, loading
from b2ner_cli.models.device_errors import is_out_of_memory
from b2ner_cli.models.files import locate
from b2ner_cli.models.released import RELEASED
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.training import checkpoints, lora, selection, self_check
from b2ner_cli.training.packing import AnswerLoss, Bundle, Row, Schedule, pack
from b2ner_cli.training.recipes import NOTHING, Recipe, Shown
from b2ner_cli.training.step import Step, gradients

log = logging.getLogger("b2ner")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands after a step; `loss` is the mean over the answer tokens of the step."""

    step: int
    steps: int
    loss: float
    documents: int
    seconds: float
    learning_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run did: its picks, steps, documents trained on and left out as too long.

    `longest` is the tokens of the longest document's own part of the prompt.
    """

    picks: Sequence[selection.Pick]
    steps: int
    documents: int
    too_long: int
    longest: int
    loss: float
    seconds: float
    processes: int = 1


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
    shown: Shown = NOTHING


Evaluate = Callable[[Trained, Callable[[Path], None]], None]
"""Hears how a run stands, and how to write its adapter to a folder."""


def train(
    picks: Sequence[selection.Pick],
    setup: Setup,
    *,
    tasks: str = "",
    ready: Callable[[int], None] = lambda step: None,
    report: Callable[[Progress], None] = lambda progress: None,
    evaluate: Evaluate | None = None,
) -> Trained:
    """Train an adapter on `picks`.

    `tasks` says which task config chose the picks, and how labels are renamed, in a digest; a run
    resumes with no other. `ready` is called with the steps already done when data, model and
    settings have turned out to be usable, before anything is written; `evaluate` after each epoch
    and at the end, and again where a run is resumed at one.
    Raises ModelError for a model or adapter that cannot be used and B2nerError when the loss
    stops being a number; the last checkpoint stays.
    """
    recipe = setup.recipe
    state, tokenizer = _prepared(setup, tasks)
    schedule = Schedule(
        picks, recipe.batch, recipe.group, recipe.asking(setup.shown), recipe.epochs, recipe.seed,
        recipe.nearby, recipe.redraw,
    )  # fmt: skip
    tally, ends = state.tally, schedule.epoch_ends
    if state.first:
        ready(state.start)
    state.accelerator.wait_for_everyone()
    began = time.monotonic() - tally.seconds
    packed = (
        (step, bundles, [pack(bundle, tokenizer, recipe.max_tokens) for bundle in bundles])
        for step, bundles in schedule.batches(state.start)
    )
    for step, bundles, rows in ahead(packed):
        if evaluate and step in ends:
            began += state.have_evaluated(step, evaluate, picks)
        tally.see(bundles, rows)
        asked = Step(
            step, [row for row in rows if row.targets], recipe.seed * 1_000_003 + step,
            recipe.mean_over // recipe.group,
        )  # fmt: skip
        if not asked.rows:
            continue
        rate = recipe.learning_rate * warm_cosine(step, schedule.steps, recipe.warmup)
        loss = state.take(asked, rate)
        tally.seconds = time.monotonic() - began
        if state.first:
            report(Progress(step + 1, schedule.steps, loss, tally.documents, tally.seconds, rate))
        if state.first and (step + 1) % setup.checkpoint_every == 0:
            state.keep(step + 1)
    if state.first:
        state.save_adapter(setup.out / "adapter")
    if evaluate:
        state.have_evaluated(schedule.steps, evaluate, picks)
    return tally.trained(picks, schedule.steps, state.accelerator.num_processes)


def ahead(made: Iterator[T]) -> Iterator[T]:
    """The same items, the next of which is made in the background while one is used."""
    with ThreadPoolExecutor(1, "ahead") as background:
        coming = background.submit(next, made, None)
        while (item := coming.result()) is not None:
            coming = background.submit(next, made, None)
            yield item


def _prepared(setup: Setup, tasks: str) -> tuple[_State, Tokenizer]:
    """All that is trained, where it was left if the run is resumed."""
    recipe = setup.recipe
    where = devices.choose_device(setup.device)
    kind = devices.choose_dtype(recipe.dtype, where.value)
    for choice in (where, kind):
        log.info(choice.reason)
    network, tokenizer = loading.load_parts(locate(setup.model, "none"), torch.float32)
    module = AnswerLoss(lora.put_on(network, recipe, setup.from_adapter), recipe.candidates)
    if recipe.checkpointing:
        _compute_again(module.network)
    accelerator = _accelerator(where.value, kind.value)
    optimizer = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )
    _place(module, accelerator.device)
    with _fitting(module, accelerator.device):
        self_check.check(module)
    settings = json.dumps(asdict(recipe), sort_keys=True)
    notes = {"recipe": settings, "tasks": tasks, "shown": setup.shown.digest}
    start, tally = 0, _Tally()
    if setup.resume:
        start, tally = _resumed(setup.out, module, optimizer, notes)
    # what memory held before it was killed, or what the recipe asks for
    tally.at_once = min(filter(None, (tally.at_once, recipe.rows_at_once)), default=0)
    return _State(setup, accelerator, module, optimizer, notes, tally, start), tokenizer


@dataclass(frozen=True, slots=True)
class _State:
    """What a run trains, with what, and what it notes of itself; the first process writes it."""

    setup: Setup
    accelerator: Accelerator
    module: AnswerLoss
    optimizer: torch.optim.Optimizer
    notes: dict[str, str]
    tally: _Tally
    start: int

    @property
    def first(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def take(self, step: Step, rate: float) -> float:
        """Take a step, unless loss or gradient is no number; gives the loss."""
        tally, recipe = self.tally, self.setup.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, tally.at_once = gradients(self.module, self.accelerator, step, tally.at_once)
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), recipe.clip)
        tally.losses = [*tally.losses[-49:], loss]
        _check_finite(step.number + 1, self.setup.out, loss=loss, gradient=float(norm))
        self.optimizer.step()
        return loss

    def keep(self, step: int) -> None:
        """Write a checkpoint."""
        noted = {**self.notes, "tally": json.dumps(asdict(self.tally))}
        checkpoints.save(self.setup.out, self.module, self.optimizer, step, noted)

    def have_evaluated(
        self, step: int, evaluate: Evaluate, picks: Sequence[selection.Pick]
    ) -> float:
        """Have the adapter evaluated by the first process; gives the seconds that it takes."""
        paused = time.monotonic()
        if self.first:
            if step > self.start and step % self.setup.checkpoint_every and self.optimizer.state:
                self.keep(step)  # what a run goes on from that is killed meanwhile
            trained = self.tally.trained(picks, step, self.accelerator.num_processes)
            with _aside(self.module, self.accelerator.device):
                evaluate(trained, self.save_adapter)
        self.accelerator.wait_for_everyone()
        return time.monotonic() - paused

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter as it is."""
        base = _HUB_NAMES.get(self.setup.model, self.setup.model)
        checkpoints.save_adapter(folder, self.module.network, base)


@contextmanager
def _aside(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Leave the device's memory to another model meanwhile."""
    module.to("cpu")
    clear_device_cache(garbage_collection=True)
    yield
    clear_device_cache(garbage_collection=True)
    _place(module, device)


@dataclass(slots=True)
class _Tally:
    """What a run has counted so far; goes into its checkpoints."""

    documents: int = 0
    too_long: int = 0
    longest: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    at_once: int = 0  # rows that memory holds, 0 for all of a step

    def see(self, bundles: Sequence[Bundle], rows: Sequence[Row]) -> None:
        fitting = sum(row.documents for row in rows)
        self.documents += fitting
        self.too_long += sum(len(g.texts) for bundle in bundles for g in bundle) - fitting
        self.longest = max(self.longest, *(row.longest for row in rows))

    def trained(self, picks: Sequence[selection.Pick], steps: int, processes: int) -> Trained:
        loss = sum(self.losses) / len(self.losses) if self.losses else math.nan
        counted = (self.documents, self.too_long, self.longest)
        return Trained(picks, steps, *counted, loss, self.seconds, processes)


def _resumed(
    out: Path, module: AnswerLoss, optimizer: torch.optim.Optimizer, wanted: dict[str, str]
) -> tuple[int, _Tally]:
    """Restore the last checkpoint of a run with this very recipe and task config."""
    start, notes = checkpoints.load_latest(out, module, optimizer)
    if not start:
        return 0, _Tally()
    for what, same in (
        ("recipe", decisive(notes.get("recipe", "{}")) == decisive(wanted["recipe"])),
        ("task config or label map", notes.get("tasks", "") == wanted["tasks"]),
        ("set of examples or descriptions", notes.get("shown", "") == wanted["shown"]),
    ):
        if not same:
            raise UsageError(
                f"the run in {out} has another {what} than the one given",
                "resume with the options it was started with, or train into another folder",
            )
    return start, _Tally(**json.loads(notes["tally"]))


def decisive(recipe: str) -> dict[str, Any]:
    """The settings, of a recipe in JSON, that a run's result depends on."""
    # A run begun before a setting was known did as its default says.
    settings = {**asdict(Recipe()), **json.loads(recipe)}
    for name in ("checkpointing", "at_once"):
        del settings[name]
    return settings


def is_first() -> bool:
    """Whether this process, of those that train together, is the one that writes."""
    return bool(PartialState().is_main_process)


def _accelerator(device: str, dtype: str) -> Accelerator:
    # accelerate holds on to a process's first device and precision unless told to forget them
    AcceleratorState._reset_state(reset_partial_state=True)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    made = Accelerator(cpu=device == "cpu", mixed_precision="bf16" if dtype == "bfloat16" else "no")
    if made.distributed_type not in _WHOLE:
        raise UsageError(
            f"training keeps the model whole on each device, accelerate is set up for "
            f"{made.distributed_type.value}",
            "launch with --multi_gpu or --cpu, without FSDP, DeepSpeed or Megatron",
        )
    return made


_WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def _compute_again(network: Any) -> None:
    """Have each layer keep its input alone, and compute the rest again for the backward pass."""
    causal = network.get_base_model()
    enable = getattr(causal, "activation_checkpointing_enable", None)  # its name from 5.20 on
    try:
        (enable or causal.gradient_checkpointing_enable)({"use_reentrant": False})
    except ValueError as error:
        raise ModelError(str(error).strip(), "leave checkpointing = false") from None
    # Layers do so in training only. The flag is set on them alone: what is below them would begin
    # to drop out, which without checkpointing it does not.
    for module in causal.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


def _place(module: torch.nn.Module, device: torch.device) -> None:
    with _fitting(module, device):
        module.to(device)


@contextmanager
def _fitting(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory before the first step into a ModelError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = sum(p.numel() * p.element_size() for p in module.parameters()) / 1e9
        raise ModelError(
            f"out of memory: the model takes {size:.1f} GB on {device}, and training more",
            "take a smaller model or another --device",
        ) from None


_HUB_NAMES = {
    "mini": "google/gemma-3-270m",
    **{name: released.base.name for name, released in RELEASED.items()},
}


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
