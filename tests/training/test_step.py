"""A step gives the same loss and gradients however its rows are split."""

from dataclasses import replace

import peft
import pytest
import torch
from safetensors.torch import load_file

from b2ner_cli.errors import B2nerError, ModelError
from b2ner_cli.models import files, loading
from b2ner_cli.training.packing import AnswerLoss, collate, pack
from b2ner_cli.training.prepare import _compute_again, make_accelerator, place
from b2ner_cli.training.step import Step, gradients
from tests.tiny import tiny_model
from tests.training.test_loop import picks, run, state
from tests.training.test_packing import GROUPS

CPU_ERROR = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(CPU_ERROR),
    MemoryError(),
]


@pytest.fixture(params=["tiny_llama", "tiny_gemma"])
def parts(request):
    """A tiny model with a LoRA, and a step of five rows of different lengths."""
    directory = request.getfixturevalue(request.param)
    network, tokenizer = loading.load_parts(files.locate(str(directory), "none"), torch.float32)
    torch.manual_seed(3)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    groups = [GROUPS, GROUPS[1:], GROUPS[:1], GROUPS[1:], GROUPS]
    step = Step(4, [pack(each, tokenizer, 1000) for each in groups], 11)
    assert len({len(row.targets) for row in step.rows}) == 3
    return peft.get_peft_model(network, config), step


def computed(module, step, at_once):
    loss, at_once = gradients(module, make_accelerator("cpu", "float32"), step, at_once)
    return loss, [p.grad.clone() for p in module.parameters() if p.requires_grad], at_once


@pytest.mark.parametrize("sampled_softmax", [0, 60])
def test_split_rows_give_the_loss_and_gradients_of_the_whole(parts, sampled_softmax):
    network, step = parts
    module = AnswerLoss(network, sampled_softmax)
    loss, expected, _ = computed(module, step, 0)
    assert max(gradient.abs().max() for gradient in expected) > 1e-3
    for at_once in (1, 2, 3, 4, 5, 9):
        split, got, _ = computed(module, step, at_once)
        assert split == pytest.approx(loss, rel=1e-6)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("sampled_softmax", [0, 60])
@pytest.mark.parametrize("mean_over", [1, 2])
def test_means_of_rows_and_then_over_them(parts, sampled_softmax, mean_over):
    network, step = parts
    module = AnswerLoss(network, sampled_softmax)
    groups = [step.rows[i : i + mean_over] for i in range(0, 5, mean_over)]
    alone = []
    for rows in groups:
        batch = collate(rows, torch.device("cpu"), step.rows)
        count = sum(len(row.targets) for row in rows)
        batch = replace(batch, weights=torch.full((count,), 1 / count))
        alone.append(module(batch, step.number).item())
    whole, _, _ = computed(module, step, 0)
    step = replace(step, mean_over=mean_over)
    assert sum(share * len(row.targets) for row, share in step.shared) == pytest.approx(1)
    loss, expected, _ = computed(module, step, 0)
    assert loss == pytest.approx(sum(alone) / len(groups), rel=1e-5)
    assert abs(loss - whole) > 1e-4  # rows have answers of different lengths
    split, got, _ = computed(module, step, 2)
    assert split == pytest.approx(loss, rel=1e-5)
    for one, other in zip(expected, got, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def little_memory(monkeypatch, error, room, late=False):
    """Let a forward pass, or with `late` its backward pass, fail for more than `room` rows."""
    whole = AnswerLoss.forward
    seen = []

    def fail(gradient):
        raise error

    def forward(self, batch, seed):
        if not torch.is_grad_enabled():  # the model is only tried
            return whole(self, batch, seed)
        seen.append(batch.rows)
        if batch.rows > room and not late:
            raise error
        loss = whole(self, batch, seed)
        if batch.rows > room:
            loss.register_hook(fail)
        return loss

    monkeypatch.setattr(AnswerLoss, "forward", forward)
    return seen


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_rows_are_halved_until_they_fit(parts, monkeypatch, error, late):
    network, step = parts
    module = AnswerLoss(network, 60)
    loss, expected, _ = computed(module, step, 0)
    seen = little_memory(monkeypatch, error, 2, late)
    got, again, at_once = computed(module, step, 0)
    assert (seen, at_once) == ([5, 3, 2, 2, 1], 2)
    assert got == pytest.approx(loss, rel=1e-6)
    for one, other in zip(again, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-5)


def test_gradients_of_parts_before_the_one_that_failed_do_not_count(parts, monkeypatch):
    network, step = parts
    module = AnswerLoss(network, 0)
    _, expected, _ = computed(module, step, 1)
    whole, calls = AnswerLoss.forward, []

    def forward(self, batch, seed):
        calls.append(batch.rows)
        if len(calls) == 2:
            raise MemoryError
        return whole(self, batch, seed)

    monkeypatch.setattr(AnswerLoss, "forward", forward)
    _, got, at_once = computed(module, step, 2)
    assert (calls, at_once) == ([2, 2, 1, 1, 1, 1, 1], 1)
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


def test_other_errors_are_not_taken_for_it(parts, monkeypatch):
    network, step = parts
    little_memory(monkeypatch, RuntimeError("shapes do not match"), 2)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        gradients(AnswerLoss(network, 0), make_accelerator("cpu", "float32"), step, 0)


# gradient checkpointing


def kept(module, step):
    """Loss and gradients, and the bytes that are kept from the forward to the backward pass."""
    sizes = {}

    def note(tensor):
        if tensor.grad_fn is not None:
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss, got, _ = computed(module, step, 0)
    return loss, got, sum(sizes.values())


def test_checkpointing_gives_the_same_from_less_memory(parts):
    network, step = parts
    module = AnswerLoss(network, 60)
    loss, expected, much = kept(module, step)
    _compute_again(network)
    again, got, little = kept(module, step)
    assert again == pytest.approx(loss, rel=1e-6)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert little < 0.5 * much
    # and in parts, as when memory runs out
    split, got, _ = computed(module, step, 2)
    assert split == pytest.approx(loss, rel=1e-6)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-5)


def test_what_is_dropped_out_is_the_same_with_checkpointing(tmp_path):
    # The adapter's dropout of 0.1, drawn once; the backbone's own stays off.
    directory = tiny_model(tmp_path, attention_dropout=0.5)
    run(directory, tmp_path / "plain", data=picks(8), checkpoint_every=2)
    run(directory, tmp_path / "again", data=picks(8), checkpoint_every=2,
        recipe={"checkpointing": True})  # fmt: skip
    expected, got = state(tmp_path / "plain", 2), state(tmp_path / "again", 2)
    for name, tensor in expected.items():
        if name.startswith("weight"):
            torch.testing.assert_close(got[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_run_may_be_resumed_with_checkpointing(tiny_llama, tmp_path):
    run(tiny_llama, tmp_path, data=picks(8), checkpoint_every=1)
    (tmp_path / "checkpoints" / "step-000002" / "state.safetensors").unlink()
    (tmp_path / "checkpoints" / "step-000002").rmdir()
    steps = []
    run(tiny_llama, tmp_path, data=picks(8), recipe={"checkpointing": True}, resume=True,
        report=lambda progress: steps.append(progress.step))  # fmt: skip
    assert steps == [2]


# whole runs

PLAIN = {"batch": 8, "dropout": 0.0}


def test_a_run_with_little_memory_ends_as_one_with_much(tiny_llama, tmp_path, monkeypatch, warned):
    run(tiny_llama, tmp_path / "much", recipe=PLAIN, checkpoint_every=3)
    seen = little_memory(monkeypatch, ERRORS[0], 2)
    run(tiny_llama, tmp_path / "little", recipe=PLAIN, checkpoint_every=3)
    assert seen == [4, 2, 2, 2, 2, 2, 2]  # found out once
    (message,) = warned
    assert message.startswith("out of memory at step 1: from here on 2 rows at once")
    expected, got = state(tmp_path / "much", 3), state(tmp_path / "little", 3)
    for name, tensor in expected.items():
        if name.startswith("weight"):
            torch.testing.assert_close(got[name], tensor, atol=1e-5, rtol=1e-3)


def test_a_resumed_run_remembers_what_fits(tiny_llama, tmp_path, monkeypatch):
    seen = little_memory(monkeypatch, ERRORS[0], 2)

    def kill(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama, tmp_path, recipe=PLAIN, checkpoint_every=1, report=kill)
    seen.clear()
    run(tiny_llama, tmp_path, recipe=PLAIN, checkpoint_every=1, resume=True)
    assert set(seen) == {2}


def test_a_row_that_does_not_fit_ends_the_run_and_leaves_the_checkpoint(
    tiny_llama, tmp_path, monkeypatch
):
    run(tiny_llama, tmp_path / "whole", recipe=PLAIN, checkpoint_every=1)
    with monkeypatch.context() as patched:
        seen = little_memory(patched, ERRORS[1], 4)

        def report(progress):
            if progress.step == 2:
                little_memory(patched, ERRORS[1], 0)

        with pytest.raises(B2nerError, match="out of memory at step 3: a single row") as caught:
            run(tiny_llama, tmp_path / "out", recipe=PLAIN, checkpoint_every=1, report=report)
        assert seen
    for name in ("group", "max_tokens", "max_chars", "--resume"):
        assert name in caught.value.hint
    assert not (tmp_path / "out" / "adapter").exists()
    run(tiny_llama, tmp_path / "out", recipe=PLAIN, checkpoint_every=1, resume=True)
    file = "adapter/adapter_model.safetensors"
    expected = load_file(tmp_path / "whole" / file)
    got = load_file(tmp_path / "out" / file)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


def test_a_model_that_does_not_fit_the_device(monkeypatch):
    module = torch.nn.Linear(1000, 1000)

    def fail(self, device):
        raise ERRORS[0]

    monkeypatch.setattr(torch.nn.Linear, "to", fail)
    with pytest.raises(ModelError, match=r"out of memory: the model takes 0.0 GB on cuda:1"):
        place(module, torch.device("cuda:1"))
