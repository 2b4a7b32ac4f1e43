"""Training state on disk: written whole or not at all, read back exactly, no pickle.

OUT/checkpoints/step-000200/state.safetensors   parameters and AdamW moments, float32; the newest
                                                two, each with a digest of what it says
OUT/adapter/                                    the finished adapter in peft's format, bf16
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from b2ner_cli.errors import B2nerError, OutputError

log = logging.getLogger("b2ner")

_KEPT = 2
_KINDS = ("weight", "exp_avg", "exp_avg_sq")
_FULL = "free some space and go on with --resume"
_OTHER = "it is of another recipe or damaged; remove it, or train into another directory"


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
    notes = {**notes, "step": str(step)}
    work = folder / f".{target.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*.part"):  # of a run that was killed here
            shutil.rmtree(left)
        work.mkdir()
        metadata = {**notes, "digest": _digest(notes, tensors)}
        save_file(tensors, work / "state.safetensors", metadata=metadata)
        _put(work, target, "state.safetensors")
        # Newer ones are damaged, else the run would have gone on from them.
        older = [each for each in stored(out) if _step(each) <= step]
        for old in {*stored(out)} - {*older[-_KEPT:]}:
            shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(work, ignore_errors=True)  # on a full disk it is in the way
        raise OutputError(f"cannot write checkpoint {target}: {error}", _FULL) from None


def stored(out: Path) -> list[Path]:
    """The checkpoints of a run directory, oldest first."""
    return sorted((out / "checkpoints").glob("step-*"), key=_step)


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def notes(checkpoint: Path) -> dict[str, str]:
    """What a checkpoint says of its run."""
    with safe_open(checkpoint / "state.safetensors", framework="pt") as file:
        return dict(file.metadata() or {})


def load_latest(
    out: Path, network: Any, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, str]]:
    """Restore the newest checkpoint in place; its step and notes, (0, {}) where there is none.

    One that is damaged is passed over, with a warning, for the one before.
    """
    found = stored(out)[::-1]
    failed: list[str] = []
    for checkpoint in found:
        try:
            step, notes, tensors = _read(checkpoint, network)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            failed.append(f"{checkpoint}: {error}")
            continue
        for why in failed:
            log.warning("cannot resume from %s; going on from %s", why, checkpoint.name)
        _restore(checkpoint, tensors, network, optimizer, step)
        return step, notes
    if not found:
        return 0, {}
    raise B2nerError(f"cannot resume from {failed[0]}", _OTHER)


def _read(checkpoint: Path, network: Any) -> tuple[int, dict[str, str], dict[str, torch.Tensor]]:
    with safe_open(checkpoint / "state.safetensors", framework="pt") as file:
        notes = dict(file.metadata() or {})
        digest = notes.pop("digest", None)  # checkpoints of earlier versions have none
        names = [f"{kind}/{name}" for name, _ in _trained(network) for kind in _KINDS]
        tensors = {name: file.get_tensor(name) for name in names}
    if digest is not None and digest != _digest(notes, tensors):
        raise ValueError("its content is not what was written")
    step = int(notes.pop("step"))
    return step, notes, tensors


def _restore(
    checkpoint: Path,
    tensors: dict[str, torch.Tensor],
    network: Any,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    for name, parameter in _trained(network):
        shape = tuple(tensors[f"weight/{name}"].shape)
        if shape != tuple(parameter.shape):  # copy_ would broadcast a rank of 1
            raise B2nerError(f"cannot resume from {checkpoint}: {name} is {shape} there", _OTHER)
    with torch.no_grad():
        for name, parameter in _trained(network):
            parameter.copy_(tensors[f"weight/{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device),
            }


def _digest(notes: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    """Of all that a checkpoint says: a disk may give back other bytes than it was given."""
    digest = xxhash.xxh3_128(repr(sorted(notes.items())).encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


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
        _put(work, directory, "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise OutputError(f"cannot write adapter {directory}: {error}", _FULL) from None


def _trained(network: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def _put(work: Path, target: Path, file: str) -> None:
    """Move a folder that is all written to its place, so that it is there whole or not at all."""
    _sync(work / file)
    _sync(work)
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)  # of a folder: the names in it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
