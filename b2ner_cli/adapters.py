"""LoRA adapters on disk: read, merge into a model, reduce in rank.

    adapter_config.json          {"peft_type": "LORA", "r": 32, "lora_alpha": 64, ...}
    adapter_model.safetensors    base_model.model.<module>.lora_A.weight  (r, in)
                                 base_model.model.<module>.lora_B.weight  (out, r)

Merging computes W + scaling * B @ A in float32 and rounds once to the weight's dtype, whatever
that is. Knows the peft format, but needs no peft to read it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from b2ner_cli.errors import ModelError

_PREFIX = "base_model.model."
_CHANGE_THE_MODEL = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class Update:
    """The low-rank change to one linear layer: (out, r) @ (r, in) * scaling."""

    module: str
    a: torch.Tensor
    b: torch.Tensor
    scaling: float

    def delta(self) -> torch.Tensor:
        """The full change in float32. *Shape:* (out, in)"""
        return (self.b.float() @ self.a.float()) * self.scaling


def read(directory: Path) -> list[Update]:
    """Read every update of an adapter.

    Raises ModelError for what a plain LoRA merge cannot represent exactly (DoRA, trained
    biases, saved modules, repeated layers) and for files that are damaged.
    """
    try:
        config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("adapter_config.json holds no object")
        tensors = load_file(directory / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        pickled = (directory / "adapter_model.bin").is_file()
        hint = "adapter_model.bin is a pickle, which can run code; save it as safetensors"
        raise ModelError(
            f"cannot read adapter {directory}: {error}",
            hint if pickled else "give the directory of a LoRA in peft's format",
        ) from None
    _refuse_unsupported(directory, config)
    updates = []
    for key, a in sorted(tensors.items()):
        if not key.endswith(".lora_A.weight"):
            continue
        module = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        b = tensors.get(key.replace(".lora_A.", ".lora_B."))
        if b is None:
            raise ModelError(f"adapter {directory}: no lora_B for {module}")
        updates.append(Update(module, a, b, _scaling(config, module, a.shape[0])))
    if not updates or len(updates) * 2 != len(tensors):
        others = [k for k in tensors if ".lora_A." not in k and ".lora_B." not in k]
        raise ModelError(
            f"adapter {directory} is not a plain LoRA: "
            + (f"it holds {others[0]}" if others else "it holds no complete layer")
        )
    return updates


def merge(model: Any, directory: Path) -> None:
    """Add an adapter to a model's weights, in place. Raises ModelError where it does not fit."""
    modules = dict(model.named_modules())
    updates = read(directory)
    for update in updates:
        linear = modules.get(update.module)
        weight = getattr(linear, "weight", None)
        if weight is None:
            raise ModelError(
                f"adapter {directory} does not fit the model: no layer {update.module}",
                "use the model that adapter_config.json names as base_model_name_or_path",
            )
        wanted = (update.b.shape[0], update.a.shape[1])
        if tuple(weight.shape) != wanted or update.a.shape[0] != update.b.shape[1]:
            raise ModelError(
                f"adapter {directory} does not fit the model: {update.module} is "
                f"{tuple(weight.shape)} in the model and {wanted} in the adapter",
                "use the model that adapter_config.json names as base_model_name_or_path",
            )
    with torch.no_grad():
        for update in updates:
            weight = modules[update.module].weight
            weight.copy_((weight.float() + update.delta().to(weight.device)).to(weight.dtype))


def _scaling(config: dict[str, Any], module: str, rank: int) -> float:
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", rank))
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _by_pattern(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    # peft matches a pattern against the end of the module's name, at a dot
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _refuse_unsupported(directory: Path, config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ModelError(f"adapter {directory} is {config.get('peft_type')}, not LORA")
    start = config.get("init_lora_weights")
    reasons = {
        "DoRA": config.get("use_dora"),
        "trained biases": config.get("bias", "none") != "none" or config.get("lora_bias"),
        "saved modules": config.get("modules_to_save"),
        "repeated layers": config.get("layer_replication"),
        "transposed weights": config.get("fan_in_fan_out"),
        "trained token rows": config.get("trainable_token_indices"),
        # such an initialisation takes its share out of the model's weights
        f"{start} initialisation": str(start).lower().startswith(_CHANGE_THE_MODEL),
    }
    for what, present in reasons.items():
        if present:
            raise ModelError(
                f"adapter {directory} has {what}, which cannot be merged exactly",
                "train or export it as a plain LoRA",
            )
