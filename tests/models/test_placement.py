"""Models go where they were told to, in as many bits as they were told to."""

import importlib.util
from pathlib import Path

import pytest
import torch

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models import loading, placement
from tests.internlm2 import BASE, FIXTURE, case, random_adapter, random_model

ADAPTER = str(FIXTURE / "adapter_all")


def load(**more):
    return loading.load(str(BASE), ADAPTER, dtype="float32", **more)


@torch.inference_mode()
def logits(network):
    return network(torch.tensor([case("base", "mid")["input_ids"]])).logits


@pytest.fixture
def without_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_map": "balanced"}, "unknown device map 'balanced'"),
        ({"device_map": "auto", "device": "cpu"}, "exclude each other"),
        ({"load_in": "2bit"}, "cannot load in '2bit'"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(UsageError, match=message):
        load(**options)


def test_a_missing_library_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(placement.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the bitsandbytes package") as caught:
        loading.load("/no/such/model", load_in="4bit")
    assert "b2ner-cli[quantized]" in caught.value.hint


def test_a_device_map_without_cards_is_the_cpu(without_cards):
    spread, plain = load(device_map="auto"), load(device="cpu")
    assert spread.device == "cpu"
    assert any("device map: 1 parts on cpu" in choice.reason for choice in spread.choices)
    assert torch.equal(logits(spread.model), logits(plain.model))


def test_layers_in_several_places(monkeypatch):
    """Hooks move what passes between layers; here both places are the CPU's, told apart by name."""
    import accelerate

    places = {
        "model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "cpu",
        "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu",
    }  # fmt: skip
    seen = []

    def dispatch(network, device_map):
        seen.append(device_map)
        for name in ("layers.0", "layers.1", "norm"):
            hook = accelerate.hooks.AlignDevicesHook(execution_device="cpu")
            accelerate.hooks.add_hook_to_module(network.model.get_submodule(name), hook)

    monkeypatch.setattr(accelerate, "infer_auto_device_map", lambda *_, **__: {**places, "x": 0})
    monkeypatch.setattr(accelerate, "dispatch_model", dispatch)
    spread = load(device_map="auto")
    assert seen[0]["lm_head"] == "cpu"
    assert any("6 parts on cpu, 1 parts on cuda:0" in c.reason for c in spread.choices)
    prompts = [Prompt("Label Set: person\n\nText:", own) for own in (" Ann", " Bob met Ann .")]
    plain = load(device="cpu")
    for engine in (PackedEngine, PlainEngine):
        expected = dict(engine(plain, max_answer=8).generate(prompts))
        assert dict(engine(spread, max_answer=8).generate(prompts)) == expected


def test_a_model_larger_than_everything(monkeypatch):
    import accelerate

    monkeypatch.setattr(accelerate, "infer_auto_device_map", lambda *_, **__: {"": "disk"})
    with pytest.raises(ModelError, match="larger than the memory of all") as caught:
        load(device_map="auto")
    assert "--load-in 4bit" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("load_in", ["8bit", "4bit"])
def test_fewer_bits_answer_nearly_the_same(tmp_path, load_in):
    pytest.importorskip("bitsandbytes")
    # 4 bits need widths that 64 divides on a CPU, as those of the released models are
    model = random_model(tmp_path / "model", hidden_size=128, intermediate_size=192)
    adapter = random_adapter(tmp_path / "adapter", model)
    settings = {"device": "cpu", "dtype": "float32"}
    full = loading.load(str(model), str(adapter), **settings)
    small = loading.load(str(model), str(adapter), **settings, load_in=load_in)
    assert small.dtype == f"float32-{load_in}"
    assert any(f"14 linear layers stored in {load_in}" in c.reason for c in small.choices)
    one, other = logits(small.model).flatten(), logits(full.model).flatten()
    alike = torch.corrcoef(torch.stack([one, other]))[0, 1]
    assert {"8bit": 0.99, "4bit": 0.7}[load_in] < alike < 1
    engine = PackedEngine(small, max_answer=4)
    assert small.dtype in engine.identity  # answers of another precision are not reused
    assert len(dict(engine.generate([Prompt("Text:", " Ann")]))) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", [8, 4])
def test_biases_stay(tmp_path, bits):
    pytest.importorskip("bitsandbytes")
    model = random_model(tmp_path / "model", bias=True, rope_scaling=None, intermediate_size=192)
    full = loading.load(str(model), device="cpu", dtype="float32").model
    small = loading.load(str(model), device="cpu", dtype="float32", load_in=f"{bits}bit").model
    for one, other in zip(full.model.layers, small.model.layers, strict=True):
        assert torch.equal(one.self_attn.q_proj.bias, other.self_attn.q_proj.bias.float())
        assert other.self_attn.q_proj.weight.dtype in (torch.int8, torch.uint8)
    assert small.lm_head.weight.dtype == torch.float32


def test_the_extra_is_what_the_hint_says():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert "\nquantized = [" in project
    assert importlib.util.find_spec("accelerate") is not None
