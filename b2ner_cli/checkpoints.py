"""Training state on disk: written whole or not at all, read back exactly, no pickle.

OUT/checkpoints/step-000200/state.safetensors   parameters and AdamW moments, float32
OUT/adapter/                                    the finished adapter in peft's format, bf16
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from b2ner_cli.errors import B2nerError, OutputError

_KEPT = 2


def save(
    out: Path, network: Any, optimizer: torch.optim.Optimizer, step: int, notes: dict[str, str]
) -> None:
    """Write a checkpoint of the state after `step` steps, with notes; the newest two are kept."""
    folder = out / "checkpoints"
    target = folder / f"step-{step:06d}"
    tensors = {}
    for name, parameter in _trained(network):
        state = optimizer.state[parameter]
        tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
        tensors[f"exp_avg/{name}"] = state["exp_avg"].cpu().contiguous()
        tensors[f"exp_avg_sq/{name}"] = state["exp_avg_sq"].cpu().contiguous()
    try:
        work = folder / f".{target.name}.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        save_file(tensors, work / "state.safetensors", metadata={**notes, "step": str(step)})
        _sync(work / "state.safetensors")
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
        for old in sorted(folder.glob("step-*"))[:-_KEPT]:
            shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write checkpoint {target}: {error}",
            "free some space and go on with --resume",
        ) from None


def latest(out: Path) -> Path | None:
    """The newest checkpoint of a run directory, None where there is none."""
    found = sorted((out / "checkpoints").glob("step-*"))
    return found[-1] if found else None


def load_latest(
    out: Path, network: Any, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, str]]:
    """Restore the newest checkpoint in place; its step and notes, (0, {}) where there is none."""
    checkpoint = latest(out)
    if checkpoint is None:
        return 0, {}
    try:
        with safe_open(checkpoint / "state.safetensors", framework="pt") as stored:
            notes = dict(stored.metadata() or {})
            step = int(notes.pop("step"))
            with torch.no_grad():
                for name, parameter in _trained(network):
                    weight = stored.get_tensor(f"weight/{name}")
                    if weight.shape != parameter.shape:  # copy_ would broadcast a rank of 1
                        raise ValueError(f"{name} is {tuple(weight.shape)} there")
                    parameter.copy_(weight)
                    optimizer.state[parameter] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": stored.get_tensor(f"exp_avg/{name}").to(parameter.device),
                        "exp_avg_sq": stored.get_tensor(f"exp_avg_sq/{name}").to(parameter.device),
                    }
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise B2nerError(
            f"cannot resume from {checkpoint}: {error}",
            "it is of another recipe or damaged; remove it, or train into another directory",
        ) from None
    return step, notes


def save_adapter(directory: Path, network: Any, base: str) -> None:
    """Write the adapter in peft's format with bfloat16 weights, replacing the directory whole.

    `base` is what adapter_config.json names as the model the adapter belongs to.
    """
    from peft import get_peft_model_state_dict

    work = directory.with_name(f".{directory.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        config = network.peft_config["default"]
        config.base_model_name_or_path = base
        config.inference_mode = True
        config.save_pretrained(work)
        tensors = get_peft_model_state_dict(network, save_embedding_layers=False)
        rounded = {
            key: tensor.detach().to("cpu", torch.bfloat16).contiguous()
            for key, tensor in tensors.items()
        }
        save_file(rounded, work / "adapter_model.safetensors", metadata={"format": "pt"})
        _sync(work / "adapter_model.safetensors")
        shutil.rmtree(directory, ignore_errors=True)
        work.rename(directory)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write adapter {directory}: {error}") from None


def _trained(network: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
