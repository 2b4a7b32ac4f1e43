"""Errors of torch that are no mistake in the code: memory that ran out, a device that is gone."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from b2ner_cli.errors import B2nerError, ModelError

_NO_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
# How CUDA, ROCm and the libraries on top of them begin; older torch raises plain RuntimeErrors.
_SAYINGS = ("CUDA error", "HIP error", "CUBLAS_STATUS", "cuDNN error", "CUDNN_STATUS", "NCCL error")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that device or host memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):  # a file that cannot be mapped
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _NO_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Whether an error says that a device failed or is gone; of memory alone it can be had again.

    After one, nothing on that device can be relied on in this process.
    """
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", ())  # since torch 2.8
    return isinstance(error, kind) or any(saying in str(error) for saying in _SAYINGS)


@contextmanager
def failing_clearly(device: str, doing: str) -> Iterator[None]:
    """Turn a device's failure into a B2nerError that says where and what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_device_failure(error):
            raise
        raise B2nerError(
            f"device {device} failed {doing}: {first_line(error)}",
            "what was written stays: once the device works again (nvidia-smi shows it), the same "
            "command with --resume goes on from there",
        ) from error


@contextmanager
def fitting_memory(name: str) -> Iterator[None]:
    """Turn a lack of memory into a ModelError for the model that was being loaded."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory while loading {name}: {first_line(error)}",
            "try --dtype bfloat16, a smaller model or a machine with more memory; on cards also "
            "--load-in 4bit or --device-map auto",
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, without its advice; torch's run over many lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
