"""The mean of two adapters of one base, such as two stages of a training.

It often does better than both: what a stage learned, with less of what it forgot. Averaged are
the changes to the weights, share * B1 A1 + (1 - share) * B2 A2, not their factors. That has the
ranks of both; its largest singular values are kept, as many as the second adapter's rank, which
is the nearest that a LoRA of this rank can come (Eckart and Young, 1936). What only the second
changes, the first leaves as it was: a stage may train more layers than the one before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import pad

from b2ner_cli.errors import ModelError, OutputError, UsageError
from b2ner_cli.models import adapters
from b2ner_cli.models.adapters import Update
from b2ner_cli.models.convert import replacing
from b2ner_cli.training import card


def average(one: Path, other: Path, target: Path, share: float = 0.5, force: bool = False) -> str:
    """Write the mean of two adapters, settings and dtype of the second; one line about it.

    `share` is what the first counts, in (0, 1). Raises UsageError for another share, ModelError
    for adapters of different layers and OutputError for what cannot be written.
    """
    if not 0 < share < 1:
        raise UsageError(f"--share must be between 0 and 1, not {share}")
    if target.exists() and not force:
        raise OutputError(f"{target} exists", "choose another place, or --force to replace it")
    first = {update.module: update for update in adapters.read(one)}
    second = adapters.read(other)
    if differing := _shapes(first.values()) - _shapes(second):
        raise ModelError(
            f"{other} does not change all the layers that {one} does: {min(differing)[0]} differs",
            "average adapters of one base; the second may change more layers, not fewer",
        )
    tensors, lost, whole = {}, 0.0, 0.0
    for update in second:
        mean, singular = _mean(first.get(update.module) or _nothing(update), update, share)
        key = f"base_model.model.{update.module}"
        tensors[f"{key}.lora_A.weight"] = mean.a
        tensors[f"{key}.lora_B.weight"] = mean.b
        energy = singular.square()
        lost += energy[mean.a.shape[0] :].sum().item()
        whole += energy.sum().item()
    dropped = lost / whole if whole else 0.0
    _write(one, other, target, tensors, {"with": one.name, "share": share, "dropped": dropped})
    return (
        f"{target}: {share:g} of {one.name} and {1 - share:g} of {other.name}, {len(second)} "
        f"layers; {dropped:.2%} of the change did not fit into their rank"
    )


def _shapes(updates: Iterable[Update]) -> set[tuple[str, int, int]]:
    """Names of layers, and the sizes of what goes in and comes out."""
    return {(update.module, update.a.shape[1], update.b.shape[0]) for update in updates}


def _nothing(like: Update) -> Update:
    """An update of rank 0, which changes nothing."""
    return replace(like, a=like.a[:0], b=like.b[:, :0])


def _mean(one: Update, other: Update, share: float) -> tuple[Update, torch.Tensor]:
    """The mean at the rank of `other`, and all singular values of the exact one."""
    a = torch.cat([one.a, other.a]).float()  # (r1 + r2, in)
    b = torch.cat([
        one.b.float() * (share * one.scaling), other.b.float() * ((1 - share) * other.scaling)
    ], 1)  # fmt: skip  # (out, r1 + r2)
    left, inner = torch.linalg.qr(b)
    right, outer = torch.linalg.qr(a.T)
    # no larger than the ranks together
    u, singular, v = torch.linalg.svd(inner @ outer.T, full_matrices=False)
    rank = other.a.shape[0]
    root = singular[:rank].sqrt()
    unused = rank - len(root)  # where a layer is smaller than the rank
    made_b = pad((left @ u[:, :rank]) * root / other.scaling, (0, unused))
    made_a = pad(root[:, None] * (v[:rank] @ right.T), (0, 0, 0, unused))
    kept = replace(
        other, a=made_a.to(other.a.dtype).contiguous(), b=made_b.to(other.b.dtype).contiguous()
    )
    return kept, singular


def _write(
    one: Path, other: Path, target: Path, tensors: dict[str, torch.Tensor], said: dict[str, object]
) -> None:
    """The second adapter's folder with other weights; its run.json says what was averaged."""
    with replacing(target) as work:
        shutil.copyfile(other / "adapter_config.json", work / "adapter_config.json")
        save_file(tensors, work / "adapter_model.safetensors", metadata={"format": "pt"})
        if (other / "run.json").is_file():
            record = json.loads((other / "run.json").read_text(encoding="utf-8"))
            record = {**card.without_scores(record), "averaged": said}
            text = json.dumps(record, indent=1, ensure_ascii=False)
            (work / "run.json").write_text(text + "\n", encoding="utf-8")
