"""Where a loaded model's layers go, and in how many bits their weights are stored there.

    one device            everything moves there
    device map "auto"     accelerate spreads the layers over all cards, the rest stays on the CPU
    load in 8bit, 4bit    linear layers are quantised by bitsandbytes on their way to the device

Works on a model that is complete, adapter merged, on the CPU. Knows nothing of files.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models.device_errors import first_line

BITS = {"8bit": 8, "4bit": 4}
_INSTALL = "install it: pip install 'b2ner-cli[quantized]'"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a model's inputs go, and why its layers are where they are."""

    device: str
    reasons: tuple[str, ...]


def check(device_map: str | None, load_in: str | None, device: str) -> None:
    """Raise UsageError or ModelError for options that cannot be used, before anything is loaded."""
    if device_map not in (None, "auto"):
        raise UsageError(f"unknown device map {device_map!r}", "leave it out, or give auto")
    if device_map and device != "auto":
        raise UsageError(
            f"--device-map {device_map} and --device {device} exclude each other",
            "give one of them; CUDA_VISIBLE_DEVICES chooses the cards of a device map",
        )
    if load_in is not None and load_in not in BITS:
        raise UsageError(f"cannot load in {load_in!r}", f"choose {' or '.join(BITS)}")
    if load_in and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"--load-in {load_in} needs the bitsandbytes package", _INSTALL)


def place(
    network: Any,
    name: str,
    device: str,
    dtype: torch.dtype,
    device_map: str | None = None,
    load_in: str | None = None,
) -> Placed:
    """Put a model where it is to answer. Raises ModelError where it does not fit."""
    reasons = []
    if load_in:
        layers = quantise(network, BITS[load_in], dtype)
        reasons.append(f"{layers} linear layers stored in {load_in}: asked for")
    try:
        if device_map is None:
            network.to(device)
            return Placed(device, tuple(reasons))
        devices = _spread(network, dtype)
    except (RuntimeError, MemoryError) as error:  # torch says both of a lack of memory
        raise ModelError(
            f"cannot put {name} on {device_map or device}: {first_line(error)}",
            "try --dtype bfloat16, --load-in 4bit, --device-map auto or --device cpu",
        ) from None
    reasons.append("device map: " + ", ".join(f"{n} parts on {d}" for d, n in devices.items()))
    return Placed(str(network.get_input_embeddings().weight.device), tuple(reasons))


def quantise(network: Any, bits: int, dtype: torch.dtype) -> int:
    """Exchange every linear layer but the output head for one of `bits` bits; how many there were.

    The weights are rounded when the layer moves to its device.
    """
    # it tells of every layer that its inputs are float16 within
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    head = network.get_output_embeddings()
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear and child is not head
    ]
    for parent, name, linear in found:
        setattr(parent, name, _in_bits(linear, bits, dtype))
    return len(found)


def _in_bits(linear: torch.nn.Linear, bits: int, dtype: torch.dtype) -> torch.nn.Module:
    from bitsandbytes import nn

    shape = (linear.in_features, linear.out_features, linear.bias is not None)
    with torch.device("meta"):  # its own weights would be made up only to be thrown away
        if bits == 8:
            layer = nn.Linear8bitLt(*shape, has_fp16_weights=False)
            stored = partial(nn.Int8Params, has_fp16_weights=False)
        else:
            layer = nn.Linear4bit(*shape, compute_dtype=dtype, quant_type="nf4")
            stored = partial(nn.Params4bit, quant_type="nf4", module=layer)
    layer.weight = stored(linear.weight.data, requires_grad=False)
    layer.bias = linear.bias
    return layer.eval()


def _spread(network: Any, dtype: torch.dtype) -> dict[str, int]:
    """Spread a model over what there is; how many of its parts each device got."""
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = list(getattr(network, "_no_split_modules", None) or [])
    memory = get_balanced_memory(network, dtype=dtype, no_split_module_classes=whole)
    places = infer_auto_device_map(
        network, max_memory=memory, dtype=dtype, no_split_module_classes=whole
    )
    if "disk" in places.values():
        raise RuntimeError("it is larger than the memory of all cards and the CPU together")
    counts: dict[str, int] = {}
    for device in places.values():
        label = f"cuda:{device}" if isinstance(device, int) else str(device)
        counts[label] = counts.get(label, 0) + 1
    if set(counts) == {"cpu"}:
        network.to("cpu")
    else:
        dispatch_model(network, device_map=places)
    return counts
