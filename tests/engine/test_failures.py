"""What goes wrong under an engine ends in a clear message, another way, or nothing worse at all."""

import dataclasses
import functools
import logging
import os
import signal

import pytest
import torch

from b2ner_cli.engine import PackedEngine, PlainEngine, open_engine, packed, self_check
from b2ner_cli.errors import B2nerError, ModelError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import loading as backbones
from b2ner_cli.prompts.rendering import render
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.loop import Document, tag
from tests.scripted import Shell, numbered

PERSON = LabelSet(("person",))


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return backbones.load(str(tiny_llama), device="cpu", dtype="float32")


def asked(count=6):
    return [render(PERSON, "Ann met Bob . " * (n % 3 + 1) + str(n), "en") for n in range(count)]


def raising(error, at=1):
    """A function that raises at its call number `at`, and is another before and after."""
    count = iter(range(1, 10**9))

    def call(original, *arguments, **more):
        if next(count) == at:
            raise error
        return original(*arguments, **more)

    return call


def spoil(monkeypatch, holder, name, error, at=1):
    call = functools.partial(raising(error, at), getattr(holder, name))
    monkeypatch.setattr(holder, name, call)


# Models that the fast engine cannot run -----------------------------------------------------------

ODD = [
    KeyError("head_dim"),
    ZeroDivisionError("integer division or modulo by zero"),
    TypeError("unsupported operand type(s) for //: 'int' and 'list'"),
    NotImplementedError("attention sinks"),
    RuntimeError("shapes do not match"),
    AssertionError(),
]


@pytest.mark.parametrize("error", ODD, ids=repr)
@pytest.mark.parametrize("where", ["made", "tried"])
def test_whatever_the_fast_engine_raises_generate_answers(
    loaded, monkeypatch, caplog, error, where
):
    if where == "made":
        spoil(monkeypatch, packed, "choose_batch_tokens", error)
    else:
        spoil(monkeypatch, PackedEngine, "forward", error)
    with caplog.at_level(logging.INFO, "b2ner"):
        engine = open_engine("fast", loaded, max_answer=4)
    assert isinstance(engine, PlainEngine)
    assert len(list(engine.generate(asked(2)))) == 2
    warning, detail = sorted(caplog.records, key=lambda r: -r.levelno)
    assert f"cannot run this model: its layers do not take packed tokens ({type(error).__name__})" \
        in warning.getMessage()  # fmt: skip
    assert (detail.levelno, str(error) in detail.getMessage()) == (logging.INFO, True)


@pytest.mark.parametrize(
    "more", [{"num_attention_heads": 0}, {"num_key_value_heads": [2, 1]}, {"hidden_size": None}]
)
def test_a_configuration_may_say_strange_things(loaded, monkeypatch, more):
    config = loaded.model.config
    for name, value in {"num_key_value_heads": 0, "head_dim": None, **more}.items():
        monkeypatch.setitem(config.__dict__, name, value)
    engine = open_engine("fast", loaded, max_answer=4)
    assert len(list(engine.generate(asked(2)))) == 2


@pytest.mark.parametrize("name", ["choose_batch_tokens", "forward"])
def test_a_device_that_fails_when_tried_out_is_no_odd_model(loaded, monkeypatch, name):
    holder = PackedEngine if name == "forward" else packed
    spoil(monkeypatch, holder, name, RuntimeError("CUDA error: no device\nCompile with ..."))
    with pytest.raises(B2nerError, match="device cpu failed when the model was tried out: CUDA er"):
        open_engine("fast", loaded)


def test_memory_that_runs_out_when_a_model_is_tried_out(loaded, monkeypatch):
    spoil(
        monkeypatch, self_check, "_compare", torch.OutOfMemoryError("CUDA out of memory. Tried ...")
    )
    with pytest.raises(ModelError, match=r"out of memory while loading .*: CUDA out of memory"):
        open_engine("fast", loaded)


# Loading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
     torch.OutOfMemoryError("CUDA out of memory")],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("where", ["weights", "adapter", "device"])
def test_out_of_memory_at_load(tiny_llama, tmp_path, monkeypatch, error, where):
    adapter = None
    if where == "weights":
        owner, name = backbones.transformers.AutoModelForCausalLM, "from_pretrained"
    elif where == "adapter":
        from tests.tiny import tiny_adapter

        adapter = str(tiny_adapter(tmp_path / "adapter", tiny_llama))
        owner, name = backbones.adapters, "merge"
    else:
        owner, name = torch.nn.Module, "to"
    spoil(monkeypatch, owner, name, error)
    with pytest.raises(ModelError, match=r"out of memory|cannot put .* on cpu") as caught:
        backbones.load(str(tiny_llama), adapter, device="cpu", dtype="float32")
    assert "--dtype bfloat16" in caught.value.hint
    assert str(error) in caught.value.message


# Answering ----------------------------------------------------------------------------------------


def test_halving_is_said_once_however_often_it_happens(loaded, monkeypatch, caplog):
    engine = PackedEngine(loaded, max_answer=4, batch_tokens=100_000)
    original = engine.forward

    def forward(tokens, step):
        if len(step.lengths) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(tokens, step)

    monkeypatch.setattr(engine, "forward", forward)
    with caplog.at_level(logging.INFO, "b2ner"):
        found = dict(engine.generate(asked(9)))
    assert sorted(found) == list(range(9))
    said = [record.levelno for record in caplog.records if "out of memory" in record.getMessage()]
    assert len(said) == 3  # 4 rows, 2, 1
    assert said == [logging.WARNING, logging.INFO, logging.INFO]


@pytest.mark.parametrize("kind", [PackedEngine, PlainEngine])
@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: device-side assert triggered\nCompile with ..."),
     torch.AcceleratorError("CUDA error: unspecified launch failure")],
    ids=repr,
)  # fmt: skip
def test_a_device_that_fails_in_a_step(loaded, monkeypatch, kind, error):
    engine = kind(loaded, max_answer=30)
    before = dict(engine.generate(asked(9)))
    body, at = (engine, "forward") if kind is PackedEngine else (engine._model, "generate")
    spoil(monkeypatch, body, at, error, at=33 if kind is PackedEngine else 2)
    if kind is PackedEngine:
        engine.limits = dataclasses.replace(engine.limits, sequences=4)
    found = {}
    with pytest.raises(B2nerError) as caught:
        for index, completion in engine.generate(asked(9)):
            found[index] = completion
    first_line = str(error).splitlines()[0]
    assert caught.value.message.endswith(f"answers under way: {first_line}")
    assert caught.value.message.startswith("device cpu failed with 4 ")
    assert "--resume" in caught.value.hint
    assert 0 < len(found) < 9
    assert {index: before[index].text for index in found} == {i: c.text for i, c in found.items()}


def test_the_prefix_is_computed_on_the_same_device(loaded, monkeypatch):
    engine = PackedEngine(loaded, max_answer=4)
    spoil(monkeypatch, engine, "compute_prefix", RuntimeError("CUDA error: the device is lost"))
    with pytest.raises(B2nerError, match="device cpu failed with 0 answers under way: CUDA error"):
        list(engine.generate(asked(2)))


@pytest.mark.parametrize("constrain", [False, True])
@pytest.mark.parametrize("kind", [PackedEngine, PlainEngine])
def test_an_answer_without_end_is_cut_and_says_so(loaded, kind, constrain):
    endless = dataclasses.replace(
        loaded, tokenizer=dataclasses.replace(loaded.tokenizer, stops=(), eos=0)
    )
    document = Document("1", "Ann Lee met Bob " * 20)
    engine = kind(endless, max_answer=9, constrain=constrain)
    (result,) = tag([document], engine, PERSON)
    assert result.usage.answer_tokens == 9
    assert any("cut off" in problem or "length" in problem for problem in result.problems)


def test_a_document_longer_than_the_context_that_nothing_parts(loaded):
    """One word of many contexts' length, and a single character of several tokens."""
    narrow = dataclasses.replace(loaded, context=150)
    texts = ["x" * 2000, "👩‍👩‍👧" * 150, "Ann"]
    for kind in (PackedEngine, PlainEngine):
        engine = kind(narrow, max_answer=8)
        results = list(tag([Document(str(n), t) for n, t in enumerate(texts)], engine, PERSON))
        assert [result.document.text for result in results] == texts
        assert results[0].usage.prompts > 10
        assert all(result.usage.prompt_tokens <= 142 * result.usage.prompts for result in results)


# A whole run --------------------------------------------------------------------------------------


def make(folder, window=0, at=-1, how="device"):
    """The fast engine, whose step number `at` of a window of documents ends otherwise."""
    engine = PackedEngine(
        backbones.load(str(folder), device="cpu", dtype="float32"), max_answer=40, batch_tokens=900
    )
    forward, generate = engine.forward, engine.generate
    windows, steps = [], []

    def spoiled(*arguments):
        steps.append(len(windows))
        if steps.count(window) == at:
            if how == "device":
                raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile ...")
            os.kill(os.getpid(), signal.SIGINT)
        return forward(*arguments)

    engine.forward = spoiled
    engine.generate = lambda *arguments: windows.append(0) or generate(*arguments)
    return engine


@pytest.mark.parametrize("how", ["device", "interrupt"])
def test_a_run_that_ends_in_a_step_goes_on_to_the_same_bytes(tmp_path, tiny_llama, how):
    (tmp_path / "docs.jsonl").write_bytes(numbered(45, words=("Ann{}", "met", "Bob{}")))
    shell = Shell(tmp_path)
    command = ["tag", "docs.jsonl", "-l", "person,city"]
    engine = functools.partial(make, tiny_llama)
    done = shell.run([*command, "-o", "whole.jsonl", "--cache", "w"], engine=engine)
    assert done.code == 0, done.err
    whole = (tmp_path / "whole.jsonl").read_bytes()

    for window, at in ((1, 60), (2, 30)):
        name, cache = f"{window}.jsonl", f"c{window}"
        run = [*command, "-o", name, "--cache", cache]
        cut = shell.run(run, engine=functools.partial(make, tiny_llama, window, at, how))
        assert cut.code == (2 if how == "device" else 130), cut.err
        assert "Traceback" not in cut.err
        if how == "device":
            assert "device cpu failed with" in cut.err
            assert "CUDA error: unspecified launch failure" in cut.err
            assert "--resume" in cut.err
        assert not (tmp_path / name).exists()
        part = tmp_path / f"{name}.part"
        had = part.read_bytes() if part.exists() else b""
        assert whole.startswith(had)
        assert had.count(b"\n") >= 32 * (window - 1)
        with Cache.open(tmp_path / cache) as kept:  # what was answered out of turn, too
            assert kept.info().answers >= max(1, had.count(b"\n"))
        done = shell.run([*run, "--resume"], engine=engine)
        assert done.code == 0, done.err
        assert (tmp_path / name).read_bytes() == whole
