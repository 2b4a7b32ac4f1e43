"""What a run trains: the model with a LoRA on it, on its device, and AdamW for the LoRA.

The model's own weights stay as they are, in the dtype that the recipe asks for; those of the LoRA
are float32. Nothing of the process is left changed: see `unchanged_process`. Knows no documents.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from accelerate.utils.memory import clear_device_cache

from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models import devices, loading
from b2ner_cli.models.device_errors import is_out_of_memory
from b2ner_cli.models.devices import Choice
from b2ner_cli.models.files import locate
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.training import lora, self_check
from b2ner_cli.training.packing import AnswerLoss
from b2ner_cli.training.recipes import Recipe

log = logging.getLogger("b2ner")

# One process predicts and scores for as long as it takes, and the others wait for it.
_PATIENCE = timedelta(days=30)
_WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model that can take steps, and what it takes them with."""

    accelerator: Accelerator
    module: AnswerLoss
    optimizer: torch.optim.Optimizer
    tokenizer: Tokenizer


def prepared(model: str, recipe: Recipe, device: str, from_adapter: Path | None) -> Prepared:
    """Load a model and put on it what is trained.

    Raises ModelError for a model or adapter that cannot be used, UsageError for what the model
    or this machine does not have.
    """
    where = devices.choose_device(device)
    kind = devices.choose_dtype(recipe.dtype, where.value)
    base = base_dtype(recipe.base_dtype, where.value, kind.value)
    for choice in (where, kind, base):
        log.info(choice.reason)
    network, tokenizer = loading.load_parts(locate(model, "none"), devices.DTYPES[base.value])
    module = AnswerLoss(
        lora.put_on(network, recipe, from_adapter), recipe.experiments.sampled_softmax
    )
    if recipe.checkpointing:
        _compute_again(module.network)
    accelerator = make_accelerator(where.value, kind.value)
    optimizer = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )
    place(module, accelerator.device)
    with _fitting(module, accelerator.device):
        self_check.check(module)
    return Prepared(accelerator, module, optimizer, tokenizer)


def base_dtype(asked: str, device: str, computed: str) -> Choice:
    """What the weights that are not trained are kept in; `computed` is what is computed in."""
    if asked != "auto":
        return Choice(asked, f"the model's own weights in {asked}: asked for")
    if device == "cpu":
        return Choice("float32", "the model's own weights in float32: on a CPU")
    return Choice(computed, f"the model's own weights in {computed}: what is computed in")


def make_accelerator(device: str, dtype: str) -> Accelerator:
    """What computes on a device, of one process or several. Raises UsageError for split models."""
    # accelerate holds on to a process's first device and precision unless told to forget them
    AcceleratorState._reset_state(reset_partial_state=True)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    made = Accelerator(
        cpu=device == "cpu",
        mixed_precision="bf16" if dtype == "bfloat16" else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    if made.distributed_type not in _WHOLE:
        raise UsageError(
            f"training keeps the model whole on each device, accelerate is set up for "
            f"{made.distributed_type.value}",
            "launch with --multi_gpu or --cpu, without FSDP, DeepSpeed or Megatron",
        )
    return made


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Give the process back as it was: random numbers, card in use, what accelerate remembers."""
    kept = [(state, dict(state)) for state in _remembered()]
    cards = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(cards):
        try:
            yield
        finally:
            for state, before in kept:
                state.clear()
                state.update(before)
            if torch.cuda.is_initialized():
                torch.cuda.set_device(cards[0] if cards else 0)


def _remembered() -> list[dict[str, Any]]:
    return [each._shared_state for each in (AcceleratorState, PartialState, GradientState)]


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


@contextmanager
def aside(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Leave the device's memory to another model meanwhile."""
    module.to("cpu")
    clear_device_cache(garbage_collection=True)
    yield
    clear_device_cache(garbage_collection=True)
    place(module, device)


def place(module: torch.nn.Module, device: torch.device) -> None:
    """Move a model to its device. Raises ModelError where it does not fit."""
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
            "take a smaller model, --set base_dtype=bfloat16 or another --device",
        ) from None
