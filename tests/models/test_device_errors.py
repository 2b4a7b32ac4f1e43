"""What torch raises when memory runs out or a device is gone is told apart, and told clearly."""

import pytest
import torch

from b2ner_cli.errors import B2nerError, ModelError
from b2ner_cli.models.device_errors import (
    failing_clearly,
    fitting_memory,
    is_device_failure,
    is_out_of_memory,
)

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
GONE = [
    torch.AcceleratorError("Torch was not told more"),
    torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with ..."),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling ..."),
    RuntimeError("HIP error: the device is lost"),
]
OTHERS = [
    RuntimeError("shapes do not match"),
    OSError(28, "No space left on device"),
    ValueError("CUDA error: said by a value"),
]


@pytest.mark.parametrize("error", [*OUT_OF_MEMORY, *GONE, *OTHERS], ids=repr)
def test_each_is_taken_for_what_it_is(error):
    assert is_out_of_memory(error) == (error in OUT_OF_MEMORY)
    assert is_device_failure(error) == (error in GONE)


@pytest.mark.parametrize("error", GONE, ids=repr)
def test_a_failing_device_says_which_when_and_what_to_do(error):
    with pytest.raises(B2nerError) as caught, failing_clearly("cuda:1", "in a step"):
        raise error
    assert caught.value.message == f"device cuda:1 failed in a step: {str(error).splitlines()[0]}"
    assert "--resume" in caught.value.hint


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=repr)
def test_a_model_that_does_not_fit_says_so(error):
    with pytest.raises(ModelError) as caught, fitting_memory("mini"):
        raise error
    assert caught.value.message.startswith("out of memory while loading mini: ")
    assert "--dtype bfloat16" in caught.value.hint


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_pass(error):
    gone, full = failing_clearly("cpu", "in a step"), fitting_memory("mini")
    with pytest.raises(type(error)) as caught, full, gone:
        raise error
    assert caught.value is error
