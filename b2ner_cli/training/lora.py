"""The layers of a model that training changes: a LoRA on some of its linear layers.

    all          every linear layer but the head
    attention    the projections to queries, keys and values, as the reference has it
    q_proj,...   layers by name

Which names a model's attention has is seen from its modules, not from what it is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch

from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models import adapters
from b2ner_cli.models.device_errors import first_line
from b2ner_cli.training.recipes import Recipe

# Names of the projections: apart, or in one matrix (InternLM2, Baichuan, Phi-3, GPT-NeoX).
_ATTENTION: tuple[tuple[str, ...], ...] = (
    ("wqkv",), ("W_pack",), ("qkv_proj",), ("query_key_value",), ("q_proj", "k_proj", "v_proj"),
)  # fmt: skip


def targets(network: Any, names: Sequence[str]) -> list[str]:
    """Names of the linear layers of this model that a recipe's `targets` mean.

    Raises UsageError where it has none of them, with those that it has.
    """
    found = _linear_names(network)
    last = sorted({name.rpartition(".")[2] for name in found})
    if tuple(names) == ("all",):
        return last
    if tuple(names) == ("attention",):
        for together in _ATTENTION:
            if set(together) <= set(last):
                return list(together)
        known = "; ".join(", ".join(together) for together in _ATTENTION)
        raise UsageError(
            f"the model has no attention layers under a known name: {known}",
            f"name its own, as --set target=NAME,NAME: it has {', '.join(last)}",
        )
    for name in names:
        if not any(each == name or each.endswith(f".{name}") for each in found):
            raise UsageError(
                f"target: the model has no linear layer {name}",
                f"it has {', '.join(last)}",
            )
    return list(names)


def _linear_names(network: Any) -> list[str]:
    """Full names of the linear layers inside the model's blocks; the head is not one."""
    head = network.get_output_embeddings()
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]


def _layers(network: Any, first: int) -> list[int] | None:
    count = network.config.num_hidden_layers
    if first >= count:
        raise UsageError(f"first_layer {first}: the model has layers 0 to {count - 1}")
    return list(range(first, count)) if first else None


def put_on(network: Any, recipe: Recipe, from_adapter: Path | None = None) -> Any:
    """Put a LoRA on the layers that a recipe names; start it from an adapter if one is given."""
    torch.manual_seed(recipe.seed)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets(network, recipe.targets),
        layers_to_transform=_layers(network, recipe.experiments.first_layer),
    )
    with warnings.catch_warnings():
        # of the libraries among themselves: peft 0.21 reads what transformers 5.23 renamed
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        try:
            adapted = peft.get_peft_model(network, config)
        except ValueError as error:  # its layers are not linear, or of a kind that it cannot adapt
            raise ModelError(
                f"no LoRA can be put on this model: {first_line(error)}",
                "take a model of linear layers, such as Llama, Qwen or Gemma",
            ) from None
    if from_adapter is not None:
        _start_from(adapted, network.config, recipe, from_adapter)
    return adapted


def _start_from(adapted: Any, config: Any, recipe: Recipe, adapter: Path) -> None:
    """Give the LoRA the weights of an adapter, which must change no layers but its own."""
    state = {}
    for update in adapters.for_model(adapters.read(adapter), config, adapter):
        rank = update.a.shape[0]
        if rank != recipe.rank:
            raise ModelError(
                f"adapter {adapter} has rank {rank}, the recipe {recipe.rank}",
                f"train with --set rank={rank}, or from the bare model: --from-scratch",
            )
        name = f"base_model.model.{update.module}"
        state[f"{name}.lora_A.weight"] = update.a.float()
        # B absorbs what the two scalings differ by
        scaled = update.b.float() * (update.scaling * recipe.rank / recipe.alpha)
        state[f"{name}.lora_B.weight"] = scaled
    try:
        unexpected = peft.set_peft_model_state_dict(adapted, state).unexpected_keys
    except RuntimeError as error:  # shapes differ; the first line only says that
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(f"adapter {adapter} does not fit the model: {reason}") from None
    if unexpected:
        raise ModelError(
            f"adapter {adapter} does not fit the model: no {unexpected[0]}",
            f"or it changes layers that target={recipe.target} with "
            f"first_layer={recipe.experiments.first_layer} leaves out",
        )
