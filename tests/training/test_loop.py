"""Training goes on where it was killed, writes what peft reads, and stops when it goes wrong."""

import json
import math
import shutil
import threading
from itertools import pairwise

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.errors import B2nerError, ModelError, UsageError
from b2ner_cli.training import checkpoints, prepare
from b2ner_cli.training.loop import Hooks, Setup, ahead, train, warm_cosine
from b2ner_cli.training.recipes import Experiments, Recipe
from b2ner_cli.training.selection import Selection
from tests.tiny import tiny_adapter, tiny_model

RECIPE = {
    "rank": 4, "alpha": 8, "dropout": 0.1, "batch": 4, "group": 2, "sampled_softmax": 60,
    "learning_rate": 1e-2, "dtype": "float32",
}  # fmt: skip


def picks(count=24):
    documents = tuple(
        Document(
            id=str(i),
            text=f"Ann {i} is in Rome .",
            mentions=(Mention("person", f"Ann {i}"), Mention("city", "Rome"))[i % 3 :],
        )
        for i in range(count)
    )
    return [Selection("NER_en_a", "en", ("person", "city"), documents, count, 0)]


def run(model, out, *, data=None, recipe=None, report=lambda progress: None, **more):
    chosen = Recipe.of({**RECIPE, **(recipe or {})})
    setup = Setup(str(model), out, chosen, device="cpu", **more)
    return train(data or picks(), setup, Hooks(report=report))


def state(out, step):
    return load_file(out / "checkpoints" / f"step-{step:06d}" / "state.safetensors")


def test_the_next_step_is_made_while_one_is_used():
    made = threading.Event()

    def steps():
        yield "first"
        made.set()
        yield "second"
        raise ValueError("damaged")

    found = ahead(steps())
    assert next(found) == "first"
    assert made.wait(10)  # nobody has asked for it yet
    assert next(found) == "second"
    with pytest.raises(ValueError, match="damaged"):
        next(found)
    assert list(ahead(iter([]))) == []


def test_progress_and_summary(undisturbed):
    _, trained, seen = undisturbed
    assert [(p.step, p.steps, p.documents) for p in seen] == [(i, 6, 4 * i) for i in range(1, 7)]
    assert (trained.steps, trained.documents, trained.too_long) == (6, 24, 0)
    assert trained.loss == pytest.approx(sum(p.loss for p in seen) / 6)
    assert seen[-1].loss < seen[0].loss


def test_adapter_is_a_plain_peft_lora_in_bfloat16(undisturbed, tiny_llama):
    out, _, _ = undisturbed
    tensors = load_file(out / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert len(tensors) == 2 * 7 * 2  # A and B of seven linear layers in two blocks, no head
    assert all(tensor.any() for tensor in tensors.values())
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8)
    assert config["base_model_name_or_path"] == str(tiny_llama)
    stock = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    with torch.no_grad():
        ids = torch.tensor([[1, 70, 71, 72]])
        before = stock(ids).logits
        adapted = peft.PeftModel.from_pretrained(stock, out / "adapter")
        assert (adapted(ids).logits - before).abs().max() > 1e-3


def test_only_two_checkpoints_stay(undisturbed):
    out, _, _ = undisturbed
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["step-000004", "step-000006"]
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("killed_at", [4, 6])
def test_killed_and_resumed_is_bit_equal(undisturbed, tiny_llama, tmp_path, killed_at):
    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        run(tiny_llama, tmp_path, checkpoint_every=2, report=kill)
    assert not (tmp_path / "adapter").exists()
    steps = []
    again = run(
        tiny_llama, tmp_path, checkpoint_every=2, resume=True, report=lambda p: steps.append(p.step)
    )
    first = (killed_at - 1) // 2 * 2  # the report comes before the step's checkpoint
    assert steps == list(range(first + 1, 7))
    expected, got = state(undisturbed[0], 6), state(tmp_path, 6)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert math.isfinite(again.loss)
    file = "adapter/adapter_model.safetensors"
    assert (tmp_path / file).read_bytes() == (undisturbed[0] / file).read_bytes()


def test_resume_of_a_finished_run_writes_the_same_adapter(undisturbed, tiny_llama, tmp_path):
    shutil.copytree(undisturbed[0] / "checkpoints", tmp_path / "checkpoints")
    run(tiny_llama, tmp_path, resume=True)
    file = "adapter/adapter_model.safetensors"
    assert (tmp_path / file).read_bytes() == (undisturbed[0] / file).read_bytes()


def test_resume_without_a_checkpoint_starts_at_the_beginning(tiny_llama, tmp_path):
    steps = []
    run(tiny_llama, tmp_path, data=picks(4), resume=True, report=lambda p: steps.append(p.step))
    assert steps == [1]


def test_too_long_documents_are_counted(tiny_llama, tmp_path):
    (pick,) = picks(6)
    long = Document(id="9", text="Ann " * 500, mentions=())
    data = [Selection("NER_en_a", "en", pick.labels, (*pick.documents, long), 7, 0)]
    trained = run(tiny_llama, tmp_path, data=data)
    assert (trained.documents, trained.too_long) == (6, 1)


def test_nothing_fits(tiny_llama, tmp_path):
    trained = run(tiny_llama, tmp_path, data=picks(4), recipe={"max_tokens": 5})
    assert (trained.documents, trained.too_long) == (0, 4)
    assert math.isnan(trained.loss)


def test_another_dtype_in_the_same_process(undisturbed, tiny_llama, tmp_path):
    trained = run(tiny_llama, tmp_path, recipe={"dtype": "bfloat16"})
    assert trained.loss == pytest.approx(undisturbed[1].loss, rel=0.05)
    assert trained.loss != undisturbed[1].loss


@pytest.mark.parametrize(
    ("asked", "device", "computed", "kept"),
    [
        ("auto", "cpu", "bfloat16", "float32"),
        ("auto", "cuda:0", "bfloat16", "bfloat16"),
        ("auto", "cuda:0", "float32", "float32"),
        ("float32", "cuda:0", "bfloat16", "float32"),
        ("bfloat16", "cpu", "float32", "bfloat16"),
    ],
)
def test_what_the_models_own_weights_are_kept_in(asked, device, computed, kept):
    assert prepare.base_dtype(asked, device, computed).value == kept


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_lora_in_float32_on_a_model_in_16_bits(undisturbed, tiny_llama, tmp_path, dtype):
    recipe = {"base_dtype": "bfloat16", "dtype": dtype, "checkpointing": True}
    parts = prepare.prepared(str(tiny_llama), Recipe.of({**RECIPE, **recipe}), "cpu", None)
    trained, own = (
        {p.dtype for p in parts.module.parameters() if p.requires_grad is wanted}
        for wanted in (True, False)
    )
    assert (trained, own) == ({torch.float32}, {torch.bfloat16})
    assert parts.module.grouped and parts.module.sampled_softmax == 60
    seen = []
    run(tiny_llama, tmp_path, recipe=recipe, report=seen.append)
    losses, others = ([step.loss for step in steps] for steps in (seen, undisturbed[2]))
    assert losses == pytest.approx(others, rel=0.05)


def test_layers_below_the_first_carry_no_lora(tiny_llama, tmp_path):
    run(tiny_llama, tmp_path, data=picks(4), recipe={"first_layer": 1})
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert tensors
    assert all(".layers.1." in name for name in tensors)
    with pytest.raises(UsageError, match="layers 0 to 1"):
        run(tiny_llama, tmp_path / "b", recipe={"first_layer": 2})


def test_documents_micro_batch_make_no_difference(tiny_llama, tmp_path):
    losses, adapters = [], []
    for micro_batch in (0, 2, 5):  # of 8, in rows of 2: all, one row and three rows at once
        seen = []
        recipe = {"batch": 8, "dropout": 0.0, "micro_batch": micro_batch, "learning_rate": 1e-3}
        out = tmp_path / str(micro_batch)
        run(tiny_llama, out, recipe=recipe, report=seen.append, checkpoint_every=3)
        losses.append([progress.loss for progress in seen])
        adapters.append(state(out, 3))
    assert len(losses[0]) == 3
    for other, tensors in zip(losses[1:], adapters[1:], strict=True):
        assert other == pytest.approx(losses[0], rel=1e-5)
        for name, tensor in tensors.items():
            if name.startswith("exp_avg/"):  # gradients; AdamW blows up what rounds off in weights
                torch.testing.assert_close(tensor, adapters[0][name], rtol=1e-4, atol=1e-6)


def test_a_run_may_go_on_with_fewer_documents_micro_batch(tiny_llama, tmp_path):
    run(tiny_llama, tmp_path, data=picks(8), checkpoint_every=1)
    run(tiny_llama, tmp_path, data=picks(8), resume=True, recipe={"micro_batch": 2})


# a stage that starts from an adapter


def test_from_adapter_starts_there(tiny_llama, tmp_path):
    # scalings differ: 16/4 in the adapter, 8/4 in the recipe
    start = tiny_adapter(tmp_path / "start", tiny_llama, rank=4, lora_alpha=16)
    run(
        tiny_llama, tmp_path, data=picks(4), from_adapter=start, checkpoint_every=1,
        recipe={"learning_rate": 1e-12, "weight_decay": 0.0},
    )  # fmt: skip
    given = load_file(start / "adapter_model.safetensors")
    after = state(tmp_path, 1)
    assert len(after) == 3 * len(given)
    for name, tensor in given.items():
        (kept,) = (
            value for key, value in after.items()
            if key.startswith("weight/") and key.replace(".default", "").endswith(name)
        )  # fmt: skip
        expected = tensor * 2 if "lora_B" in name else tensor
        torch.testing.assert_close(kept, expected, atol=1e-6, rtol=1e-6)


def test_from_adapter_of_another_rank(tiny_llama, tmp_path):
    start = tiny_adapter(tmp_path / "start", tiny_llama, rank=2)
    with pytest.raises(ModelError, match="has rank 2, the recipe 4") as caught:
        run(tiny_llama, tmp_path, from_adapter=start)
    assert caught.value.hint == "train with --set rank=2, or from the bare model: --from-scratch"


def test_from_adapter_of_another_model(tiny_llama, tmp_path):
    other = tiny_model(tmp_path / "wide", hidden_size=64)
    start = tiny_adapter(tmp_path / "start", other)
    with pytest.raises(ModelError, match="does not fit the model: size mismatch"):
        run(tiny_llama, tmp_path, from_adapter=start)
    deep = tiny_adapter(tmp_path / "deep", tiny_model(tmp_path / "deeper", num_hidden_layers=3))
    with pytest.raises(ModelError, match=r"does not fit the model: no .*layers\.2\."):
        run(tiny_llama, tmp_path, from_adapter=deep)


def test_from_adapter_that_is_not_there(tiny_llama, tmp_path):
    with pytest.raises(ModelError, match="cannot read adapter"):
        run(tiny_llama, tmp_path, from_adapter=tmp_path / "nowhere")


# when it goes wrong


def test_loss_that_is_no_number_ends_the_run_and_leaves_the_checkpoint(tiny_llama, tmp_path):
    with pytest.raises(B2nerError, match=r"the (loss|gradient) is (nan|inf) at step \d") as caught:
        run(tiny_llama, tmp_path, checkpoint_every=1, recipe={"learning_rate": 1e30})
    assert "learning rate" in caught.value.hint
    assert str(tmp_path / "checkpoints") in caught.value.hint
    assert not (tmp_path / "adapter").exists()
    latest = checkpoints.stored(tmp_path)[-1]
    tensors = load_file(latest / "state.safetensors")
    assert all(tensor.isfinite().all() for n, tensor in tensors.items() if n.startswith("weight"))


UNREADABLE = {
    "no header": lambda path, tensors: path.write_bytes(b"not tensors at all"),
    "no step": lambda path, tensors: save_file(tensors, path),
    "step is no number": lambda path, tensors: save_file(tensors, path, metadata={"step": "many"}),
    "a tensor less": lambda path, tensors: save_file(
        dict(list(tensors.items())[1:]), path, metadata={"step": "6"}
    ),
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_the_only_checkpoint_cannot_be_read(undisturbed, tiny_llama, tmp_path, how):
    folder = tmp_path / "checkpoints" / "step-000006"
    folder.mkdir(parents=True)
    UNREADABLE[how](folder / "state.safetensors", state(undisturbed[0], 6))
    with pytest.raises(B2nerError, match=r"cannot resume from .*step-000006") as caught:
        run(tiny_llama, tmp_path, resume=True)
    assert "remove it" in caught.value.hint


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 2)])
def test_checkpoint_of_another_rank(tiny_llama, tmp_path, before, after):
    # a rank of 1 would broadcast to any other
    run(tiny_llama, tmp_path, data=picks(4), checkpoint_every=1, recipe={"rank": before})
    with pytest.raises(B2nerError, match=r"cannot resume from .*lora_A"):
        run(tiny_llama, tmp_path, resume=True, recipe={"rank": after})


def test_half_written_checkpoint_is_no_checkpoint(tiny_llama, tmp_path):
    (tmp_path / "checkpoints" / ".step-000002.part").mkdir(parents=True)
    assert checkpoints.stored(tmp_path) == []
    run(tiny_llama, tmp_path, data=picks(8), checkpoint_every=2, resume=True)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]


def test_output_that_cannot_be_written(tiny_llama, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(B2nerError, match="cannot write checkpoint") as caught:
        run(tiny_llama, tmp_path / "out", checkpoint_every=1)
    assert "--resume" in caught.value.hint
    with pytest.raises(B2nerError, match="cannot write adapter"):
        run(tiny_llama, tmp_path / "out", data=picks(4))


# recipe and schedule


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"empty": math.nan}, "empty must be in"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"epochs": math.inf}, "epochs must be positive"),
        ({"batch": 6, "group": 4}, "batch 6 is no multiple of group 4"),
        ({"batch": 2, "group": 4}, "batch 2 is no multiple of group 4"),
        ({"dtype": "float16"}, "cannot train in 'float16'"),
        ({"base_dtype": "float16"}, "cannot train in 'float16'"),
    ],
)
def test_recipe_is_checked(values, message):
    with pytest.raises(UsageError, match=message):
        Recipe.of(values)


def test_recipe_with_the_edges():
    Recipe(label_dropout=0.0, warmup=0.0, empty=0.0, weight_decay=0.0, epochs=0.1)
    Experiments(sampled_softmax=0)


def test_warm_cosine():
    rates = [warm_cosine(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.01
    assert warm_cosine(0, 1, 0.0) == 1.0
