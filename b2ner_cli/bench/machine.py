"""What this machine can do, and what answers need of it: a large matrix product, and counting."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from b2ner_cli.models.loading import Backbone


def clock(device: str) -> float:
    """Seconds, when all that a card was given is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass(frozen=True, slots=True)
class Peak:
    """The fastest matrix product there was: (rows, inner) by (inner, outer)."""

    flops_per_second: float
    rows: int
    inner: int
    outer: int


def matmul_peak(backbone: Backbone) -> Peak:
    """Time the largest matrix of the model's layers against many rows, in the model's dtype."""
    matrices = [weight for weight in _layers(backbone.model) if weight.dim() == 2]
    shape = max((tuple(weight.shape) for weight in matrices), key=math.prod, default=(1024, 1024))
    outer, inner = shape
    device, dtype = backbone.device, backbone.model.dtype
    # On a CPU not much more than a few GFLOP, which take it up to a second.
    rows = 8192 if device.startswith("cuda") else max(256, min(2048, 2**32 // (outer * inner)))
    fastest, times = float("inf"), 1
    with torch.inference_mode():
        matrix = torch.randn(outer, inner, device=device).to(dtype)
        states = torch.randn(rows, inner, device=device).to(dtype)
        for _ in range(12):
            start = clock(device)
            for _ in range(times):
                torch.nn.functional.linear(states, matrix)
            seconds = clock(device) - start
            fastest = min(fastest, seconds / times)
            if seconds < 0.02:  # too short for the clock
                times *= 2
    return Peak(2 * rows * inner * outer / fastest, rows, inner, outer)


def weights(model: Any) -> tuple[int, int]:
    """How many weights a model's layers have, and its head."""
    layers = sum(weight.numel() for weight in _layers(model))
    return layers, model.get_output_embeddings().weight.numel()


def _layers(model: Any) -> list[Any]:
    """The weights of a model but for its embeddings and its head."""
    apart = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    return [weight for weight in model.parameters() if all(weight is not w for w in apart)]


def peak_resident() -> int | None:
    """Bytes of memory this process held at most, None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
