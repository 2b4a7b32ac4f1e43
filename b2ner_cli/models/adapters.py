"""LoRA adapters on disk: read, merge into a model, translate to InternLM2's layout and back.

    adapter_config.json          {"peft_type": "LORA", "r": 32, "lora_alpha": 64, ...}
    adapter_model.safetensors    base_model.model.<module>.lora_A.weight  (r, in)
                                 base_model.model.<module>.lora_B.weight  (out, r)

Merging computes W + scaling * B @ A in float32 and rounds once to the weight's dtype, whatever
that is. Knows the peft format, but needs no peft to read it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from b2ner_cli.errors import ModelError
from b2ner_cli.models import internlm2

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


def recorded(directory: Path | None, key: str) -> object:
    """What an adapter's run.json says, None where there is none or it does not."""
    if directory is None:
        return None
    try:
        run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run.get(key) if isinstance(run, dict) else None


def merge(model: Any, directory: Path, dtype: torch.dtype | None = None) -> None:
    """Add an adapter to a model's weights, in place. Raises ModelError where it does not fit.

    With `dtype` every parameter ends in it, a changed one rounded once, from float32. Buffers,
    the rotary frequencies among them, stay as they are.
    """
    modules, updates = _fitting(model, directory)
    with torch.no_grad():
        for update in updates:
            weight = modules[update.module].weight
            merged = weight.float() + update.delta().to(weight.device)
            weight.data = merged.to(dtype or weight.dtype)
        for parameter in model.parameters() if dtype else ():
            parameter.data = parameter.data.to(dtype)


def check(model: Any, directory: Path) -> None:
    """Raise ModelError where an adapter does not fit a model, which may be one without weights."""
    _fitting(model, directory)


def for_model(updates: list[Update], config: Any, directory: Path) -> list[Update]:
    """Updates under the names of a model's modules: InternLM2's fused ones become Llama's.

    Exact: B's rows are split as the weight's are, and q, k and v each take what they use of A.
    """
    fused = [update.module for update in updates if internlm2.is_fused(update.module)]
    if not fused:
        return updates
    kind = getattr(config, "model_type", "")
    if kind not in (internlm2.MODEL_TYPE, "llama"):
        raise ModelError(
            f"adapter {directory} is for InternLM2 (it changes {fused[0]}), the model is {kind}",
            _ITS_BASE,
        )
    heads = internlm2.Heads.of(config)
    try:
        return [part for update in updates for part in _split(update, heads)]
    except ValueError as error:
        raise ModelError(
            f"adapter {directory} does not fit the model: {error}", _ITS_BASE
        ) from None


def _split(update: Update, heads: internlm2.Heads) -> list[Update]:
    """One update of InternLM2's files as updates of Llama's modules.

    What `_fuse` has added goes again: ranks at either end at which a part of B is zero, and parts
    that are zero altogether. An update that changes nothing yet stays as it is.
    """
    parts = [
        replace(update, module=module, b=b)
        for module, b in internlm2.split_module(update.module, update.b, heads)
    ]
    if len(parts) == 1 or update.a.shape[0] != update.b.shape[1] or not update.b.any():
        return parts
    kept = []
    for part in parts:
        if used := part.b.any(dim=0).nonzero().flatten().tolist():
            ranks = slice(used[0], used[-1] + 1)
            kept.append(replace(part, a=part.a[ranks], b=part.b[:, ranks]))
    return kept


def for_internlm2(updates: list[Update], config: Any, directory: Path) -> list[Update]:
    """The inverse of `for_model`: updates under the names of InternLM2's own files.

    Exact: q, k and v of a layer become one update of wqkv. Raises ModelError where they are scaled
    differently.
    """
    heads = internlm2.Heads.of(config)
    wholes: dict[str, dict[str, Update]] = {}
    for update in for_model(updates, config, directory):
        parts = wholes.setdefault(internlm2.fused_module(update.module), {})
        parts[update.module] = update
    fused = []
    for module, parts in wholes.items():
        if len({part.scaling for part in parts.values()}) > 1:
            scalings = ", ".join(f"{name} by {part.scaling:g}" for name, part in parts.items())
            raise ModelError(
                f"adapter {directory} has no exact form with {module}, which has one scaling: "
                f"it scales {scalings}",
                "train q_proj, k_proj and v_proj with one rank and one alpha",
            )
        fused.append(_fuse(module, parts, heads))
    return fused


def _fuse(module: str, parts: dict[str, Update], heads: internlm2.Heads) -> Update:
    """Updates of Llama's modules, each under its name, as one of InternLM2's files.

    q, k and v keep ranks of their own, which their A has one above the other; at the ranks of the
    others a part's rows of B are zero. Where A is the same for all, it stays one.
    """
    if not module.endswith(internlm2.FUSED):
        (only,) = parts.values()
        return replace(only, module=module)
    layer = module.removesuffix(internlm2.FUSED)
    there = [parts[layer + name] for name in internlm2.PARTS if layer + name in parts]
    first = there[0]
    shared = all(torch.equal(part.a, first.a) for part in there)
    a = first.a if shared else torch.cat([part.a for part in there])
    blocks, start = [], 0
    for name, rows in heads.shares.items():
        part = parts.get(layer + name)
        block = first.b.new_zeros(rows, a.shape[0])
        if part is not None:
            own = part.b.shape[1]
            block[:, start : start + own] = part.b
            start += 0 if shared else own
        blocks.append(block)
    return Update(module, a, internlm2.fuse_rows(blocks, heads), first.scaling)


_ITS_BASE = "use the model that adapter_config.json names as base_model_name_or_path"


def _fitting(model: Any, directory: Path) -> tuple[dict[str, Any], list[Update]]:
    """A model's modules and the updates to them, all of which fit."""
    modules = dict(model.named_modules())
    updates = for_model(read(directory), model.config, directory)
    for update in updates:
        linear = modules.get(update.module)
        weight = getattr(linear, "weight", None)
        if weight is None:
            raise ModelError(
                f"adapter {directory} does not fit the model: no layer {update.module}", _ITS_BASE
            )
        wanted = (update.b.shape[0], update.a.shape[1])
        if tuple(weight.shape) != wanted or update.a.shape[0] != update.b.shape[1]:
            raise ModelError(
                f"adapter {directory} does not fit the model: {update.module} is "
                f"{tuple(weight.shape)} in the model and {wanted} in the adapter",
                _ITS_BASE,
            )
        if weight is getattr(model.get_input_embeddings(), "weight", None):
            raise ModelError(
                f"adapter {directory} changes {update.module}, whose weights are the model's "
                "embeddings, too",
                "train or export it without that layer",
            )
    return modules, updates


def _scaling(config: dict[str, Any], module: str, rank: int) -> float:
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", rank))
    return float(alpha) / _divisor(config, rank)


def alpha_for(config: dict[str, Any], scaling: float, rank: int) -> float:
    """The alpha that means a scaling at a rank, a whole number where one does."""
    divisor = _divisor(config, rank)
    alpha = scaling * divisor
    around = (round(alpha), alpha, math.nextafter(alpha, 0), math.nextafter(alpha, math.inf))
    return next((near for near in around if near / divisor == scaling), alpha)


def _divisor(config: dict[str, Any], rank: int) -> float:
    return rank**0.5 if config.get("use_rslora") else rank


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
