"""Which device and which dtype a model runs in, each choice with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from b2ner_cli.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Choice(NamedTuple):
    """An automatic choice and why it was made."""

    value: str
    reason: str


def choose_devices(device: str) -> Choice:
    """What `--device` names where there may be several, with commas between them.

    "cuda:all" is every card there is, "cpu,cpu" two processes on the CPU. Raises UsageError for
    devices that are not there or cannot share a run.
    """
    if device == "cuda:all":
        count = torch.cuda.device_count()
        if not count:
            raise UsageError("no device cuda:all: no CUDA devices here", "try --device cpu")
        names, reason = [f"cuda:{index}" for index in range(count)], "all cards here"
    elif "," in device:
        names, reason = [part.strip() for part in device.split(",")], "asked for"
        if "auto" in names:
            raise UsageError(f"auto is one device of its own choice, not among {device}")
        names = [choose_device(name).value for name in names]
    else:
        return Choice(device, f"device {device}")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise UsageError(
            f"{device}: CPU and cards differ in the last digits of scores",
            "name devices of one kind: a run must not depend on which one was faster",
        )
    if twice := next((name for name in names if name != "cpu" and names.count(name) > 1), None):
        raise UsageError(f"{device}: {twice} comes twice", "a card takes one process")
    return Choice(",".join(names), f"devices {', '.join(names)}: {reason}")


def choose_device(device: str) -> Choice:
    """`auto` is the first CUDA card if there is one, else the CPU."""
    if "," in device or device == "cuda:all":
        raise UsageError(
            f"one device is needed here, not {device}", "only tag and predict take several"
        )
    if device == "auto":
        if torch.cuda.is_available():
            return Choice("cuda:0", f"device cuda:0: {torch.cuda.get_device_name(0)}")
        return Choice("cpu", f"device cpu: no CUDA device; {torch.get_num_threads()} threads")
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        index = device.removeprefix("cuda").removeprefix(":") or "0"
        if not index.isdecimal() or int(index) >= count:
            raise UsageError(f"no device {device}: {count} CUDA devices here", "try --device cpu")
        return Choice(f"cuda:{int(index)}", f"device {device}: asked for")
    if device != "cpu":
        raise UsageError(f"unknown device {device!r}", "choose auto, cpu, cuda or cuda:N")
    return Choice("cpu", "device cpu: asked for")


def choose_dtype(dtype: str, device: str) -> Choice:
    """`auto` is bfloat16 where the device multiplies it faster than float32, else float32."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype!r}", f"choose auto, {', '.join(DTYPES)}")
        return Choice(dtype, f"dtype {dtype}: asked for")
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported():
            return Choice("bfloat16", "dtype bfloat16: the card has it in hardware")
        return Choice("float32", "dtype float32: the card has no bfloat16")
    if _cpu_has_bfloat16():
        return Choice("bfloat16", "dtype bfloat16: the CPU has it in hardware")
    return Choice("float32", "dtype float32: the CPU has no fast bfloat16")


def _cpu_has_bfloat16() -> bool:
    # Matrix tiles (AMX) or AMD's full-rate AVX512-BF16. Intel's AVX512-BF16 without tiles runs
    # at about 0.6 of its float32 speed, so there it does not count.
    if torch.cpu._is_amx_tile_supported():
        return True
    return bool(torch.cpu._is_avx512_bf16_supported()) and _cpu_vendor() == "AuthenticAMD"


def _cpu_vendor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("vendor_id"):
                return line.split(":")[1].strip()
    except OSError:
        pass
    return ""
