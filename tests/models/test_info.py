"""What is said of a model is what is there and what loading it would take."""

import pytest
import torch

from b2ner_cli.errors import ModelError
from b2ner_cli.models import files, loading
from b2ner_cli.models import info as model_info
from tests.internlm2 import BASE, FIXTURE, VARIANTS, random_adapter, random_model


def describe(model, adapter="none", **more):
    return model_info.describe(str(model), str(adapter), device="cpu", dtype="float32", **more)


def test_all_that_is_to_be_said():
    info = describe(BASE, FIXTURE / "adapter_all")
    assert info.architecture == "internlm2 on LlamaForCausalLM"
    assert info.shape == {
        "layers": 2, "hidden": 64, "heads": 4, "key_value_heads": 2, "vocabulary": 512,
        "context": 128, "rope": "dynamic by 2",
    }  # fmt: skip
    assert info.stored == "17 tensors F32; 10 files"
    assert info.adapter.base == "internlm/internlm2_5-7b"
    assert (info.adapter.ranks, info.adapter.scalings) == ((4,), (2.0,))
    assert info.adapter.targets == ("w1", "w2", "w3", "wo", "wqkv")
    source = files.locate(str(BASE), str(FIXTURE / "adapter_all"))
    assert info.source.fingerprint == source.fingerprint
    assert "dtype float32: asked for" in info.reasons
    assert any("ends at token 2 or 510" in reason for reason in info.reasons)
    lines = dict(model_info.rows(info))
    assert lines["parameters"] == "151,872"
    assert info.as_dict()["adapter"]["targets"] == info.adapter.targets


@pytest.mark.parametrize("variant", VARIANTS)
def test_memory_is_what_the_loaded_model_takes(tmp_path, variant):
    model = random_model(tmp_path / "model", **VARIANTS[variant])
    info = describe(model)
    for dtype, name in (("float32", "float32"), ("bfloat16", "bfloat16 or float16")):
        loaded = loading.load(str(model), device="cpu", dtype=dtype).model
        taken = sum(p.numel() * p.element_size() for p in loaded.parameters())
        assert info.sizes.memory[name] == taken
    assert info.sizes.parameters == sum(p.numel() for p in loaded.parameters())


@pytest.mark.parametrize(("load_in", "bits"), [("8bit", 8), ("4bit", 4)])
def test_memory_of_fewer_bits(tmp_path, load_in, bits):
    pytest.importorskip("bitsandbytes")
    from b2ner_cli.models import placement

    model = random_model(tmp_path / "model", hidden_size=128, num_key_value_heads=4)
    network = loading.load(str(model), device="cpu", dtype="bfloat16").model
    placement.quantise(network, bits, torch.bfloat16)
    network.to("cpu")
    taken = 0
    for parameter in network.parameters():
        taken += parameter.numel() * parameter.element_size()
        state = getattr(parameter, "quant_state", None)
        scales = state.absmax if state is not None else getattr(parameter, "SCB", None)
        taken += 0 if scales is None else scales.numel() * scales.element_size()
    assert describe(model).sizes.memory[load_in] == pytest.approx(taken, rel=0.01)


def test_released_sizes():
    # the published shapes; the 7B model counts 7.74 billion parameters
    from transformers import AutoModelForCausalLM

    from b2ner_cli.models.internlm2 import InternLM2Config, register

    register()
    shapes = {
        7_737_708_544: (4096, 14336, 32, 32),
        19_861_149_696: (6144, 16384, 48, 48),
    }
    for parameters, (hidden, inner, layers, heads) in shapes.items():
        config = InternLM2Config(
            vocab_size=92544, hidden_size=hidden, intermediate_size=inner, bias=False,
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=8,
        )  # fmt: skip
        with torch.device("meta"):
            sizes = model_info._sizes(AutoModelForCausalLM.from_config(config))
        assert sizes.parameters == parameters
        assert sizes.token == 2 * 2 * layers * 8 * 128


def test_what_does_not_fit_is_refused_here_too(tmp_path):
    wide = random_model(tmp_path / "wide", hidden_size=128)
    with pytest.raises(ModelError, match="does not fit the model"):
        describe(wide, FIXTURE / "adapter")
    with pytest.raises(ModelError, match="is a GGUF file"):
        (tmp_path / "m.gguf").write_bytes(b"GGUF")
        describe(tmp_path / "m.gguf")


def test_doubts_are_told(tmp_path):
    model = random_model(tmp_path / "some-chat")
    adapter = random_adapter(tmp_path / "adapter", model)
    info = describe(model, adapter)
    assert "looks like a chat model" in info.warnings[0]
    assert ("warning", info.warnings[0]) in model_info.rows(info)


def test_a_model_on_the_hub_is_described_without_its_weights(tmp_path, monkeypatch):
    import shutil

    small = shutil.copytree(BASE, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    patterns = []

    def download(name, revision, kind, wanted):
        patterns.append(wanted)
        return small

    monkeypatch.setattr(files, "_download", download)
    info = describe("internlm/internlm2_5-7b")
    assert not any("safetensors" in pattern for wanted in patterns for pattern in wanted)
    assert info.stored == "not looked at"
    assert dict(model_info.rows(info))["fingerprint"] == "not looked at"
    assert info.sizes.parameters == 151_872
