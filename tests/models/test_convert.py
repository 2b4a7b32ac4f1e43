"""What is converted is what stock libraries compute with; nothing else is written."""

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from b2ner_cli.errors import ModelError, OutputError, UsageError
from b2ner_cli.models import adapters, internlm2, loading
from b2ner_cli.models import convert as model_convert
from b2ner_cli.models.tokenizer import load_tokenizer
from tests.internlm2 import (
    BASE,
    FIXTURE,
    VARIANTS,
    case,
    fused_names,
    random_adapter,
    random_model,
    tensors_of,
)
from tests.tiny import tiny_adapter


def logits(network):
    with torch.inference_mode():
        return network(torch.tensor([case("base", "mid")["input_ids"]])).logits


def ours(model, adapter="none", dtype="float32"):
    return loading.load(str(model), str(adapter), device="cpu", dtype=dtype).model


def stock(model):
    return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def convert(source, target, **more):
    return model_convert.convert(model_convert.Conversion(str(source), target, **more))


@pytest.mark.parametrize("model", ["adapter", "adapter_all"])
def test_stock_peft_computes_the_originals_answers(tmp_path, model):
    convert(BASE, tmp_path / "base")
    convert(FIXTURE / model, tmp_path / "adapter", model=str(BASE))
    base = stock(tmp_path / "base")
    assert type(base) is transformers.LlamaForCausalLM
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    expected = case(model, "mid")
    with torch.inference_mode():
        found = adapted(torch.tensor([expected["input_ids"]])).logits[0, -1]
    torch.testing.assert_close(found, torch.tensor(expected["last_logits"]), atol=1e-4, rtol=0)


def test_only_adapters_get_names_of_layers_that_all_have(tmp_path):
    convert(FIXTURE / "adapter", tmp_path / "adapter", model=str(BASE))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "k_proj", "v_proj"]
    assert config["base_model_name_or_path"] == "internlm/internlm2_5-7b"
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    before = load_file(FIXTURE / "adapter" / "adapter_model.safetensors")
    after = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {t.dtype for t in before.values()}
    old = "base_model.model.model.layers.0.attention.wqkv.lora_A.weight"
    for part in "qkv":
        new = f"base_model.model.model.layers.0.self_attn.{part}_proj.lora_A.weight"
        assert torch.equal(after[new], before[old])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"layers_to_transform": [1], "layers_pattern": None},
        {"alpha_pattern": {"wqkv": 3, "layers.1.feed_forward.w1": 50}},
        {"rank_pattern": {"wqkv": 2, "1.feed_forward.w2": 7}, "alpha_pattern": {"w2": 5}},
        {"targets": ("wqkv", "output")},
    ],
    ids=str,
)
def test_a_converted_adapter_is_the_same_to_us_and_to_peft(tmp_path, config):
    config = dict(config)
    targets = config.pop("targets", ("wqkv", "wo", "w1", "w2", "w3"))
    model = random_model(tmp_path / "model")
    adapter = random_adapter(tmp_path / "adapter", model, targets, **config)
    if "layers_to_transform" in config:
        path = adapter / "adapter_model.safetensors"
        kept = {k: v for k, v in load_file(path).items() if "layers.1." in k}
        save_file(kept, path, metadata={"format": "pt"})
    convert(adapter, tmp_path / "converted", model=str(model))
    expected = ours(model, adapter)
    again = ours(model, tmp_path / "converted")
    for (name, one), other in zip(
        expected.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    convert(model, tmp_path / "llama")
    theirs = peft.PeftModel.from_pretrained(stock(tmp_path / "llama"), tmp_path / "converted")
    theirs = theirs.merge_and_unload()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_converted_model_of_every_variant(tmp_path, variant):
    model = random_model(tmp_path / "model", torch.bfloat16, **VARIANTS[variant])
    adapter = random_adapter(tmp_path / "adapter", model)
    convert(adapter, tmp_path / "a", model=str(model), merged=tmp_path / "merged")
    theirs = stock(tmp_path / "merged")
    assert theirs.config.model_type == "llama"
    assert {t.dtype for t in tensors_of(tmp_path / "merged").values()} == {torch.bfloat16}
    expected = ours(model, adapter, "bfloat16").float()
    assert torch.equal(logits(theirs), logits(expected))
    # and it is a model like any other here
    assert torch.equal(logits(ours(tmp_path / "merged")), logits(expected))


def test_a_converted_models_tokenizer_says_the_same(tmp_path):
    convert(BASE, tmp_path / "llama")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "llama")
    tokenizer = load_tokenizer(loading.locate(str(BASE), "none"))
    for text in ("Given the text.", "  two  spaces\n\nlines", "暴雪中国 😀"):
        assert theirs(text)["input_ids"] == tokenizer.hf(text)["input_ids"]
        assert theirs(text)["input_ids"][0] == 1
    assert (theirs.eos_token_id, theirs.pad_token_id) == (2, 2)


def test_a_converted_model_ends_its_answers_where_the_original_does(tmp_path):
    convert(BASE, tmp_path / "llama")
    ends = [
        loading.load_parts(loading.locate(str(folder), "none"), torch.float32)[1].stops
        for folder in (BASE, tmp_path / "llama")
    ]
    assert len(ends[0]) == 2
    assert ends[0] == ends[1]


def test_merged_as_float32(tmp_path):
    model = random_model(tmp_path / "model", torch.bfloat16)
    adapter = random_adapter(tmp_path / "adapter", model)
    more = {"merged": tmp_path / "merged", "dtype": "float32"}
    convert(adapter, tmp_path / "a", model=str(model), **more)
    merged, base = tensors_of(tmp_path / "merged"), tensors_of(model)
    wo = "model.layers.0.self_attn.o_proj.weight"
    assert torch.equal(merged[wo], base["model.layers.0.attention.wo.weight"].float())
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}


# the way back

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def trained(directory, model, targets=LINEAR, **config):
    """A LoRA on the modules that training sees, as peft writes it."""
    internlm2.register()
    return tiny_adapter(directory, model, target_modules=list(targets), **config)


def fused(source, target, **more):
    return convert(source, target, layout="internlm2", **more)


class Original(torch.nn.Module):
    """The linear layers of a model in the original layout, and nothing else."""

    def __init__(self, model):
        super().__init__()
        config = json.loads((model / "config.json").read_text())
        for name, tensor in tensors_of(model).items():
            if name in fused_names(config) and name.endswith(".weight") and tensor.ndim == 2:
                *path, last = name.removesuffix(".weight").split(".")
                place = self
                for part in path:
                    if not hasattr(place, part):
                        place.add_module(part, torch.nn.Module())
                    place = getattr(place, part)
                layer = torch.nn.Linear(*reversed(tensor.shape), bias=False)
                layer.weight.data = tensor
                place.add_module(last, layer)

    def prepare_inputs_for_generation(self):
        """Asked for by peft."""


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"targets": ("q_proj", "k_proj", "v_proj")},
        {"targets": ("q_proj", "v_proj", "down_proj")},
        {"targets": ("k_proj",)},
        {"targets": (*LINEAR, "lm_head")},
        {"layers_to_transform": [1]},
        {"rank_pattern": {"v_proj": 2, "k_proj": 1}, "alpha_pattern": {"v_proj": 4, "k_proj": 2}},
        {"alpha_pattern": {"down_proj": 3, "layers.1.mlp.gate_proj": 0.7}},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 7}, "use_rslora": True,
         "alpha_pattern": {"layers.1.self_attn.q_proj": 8 * 7**0.5 / 4**0.5}},
    ],
    ids=str,
)  # fmt: skip
def test_a_trained_adapter_in_the_original_layout_and_back(tmp_path, config):
    config = {"targets": LINEAR, **config}
    model = random_model(tmp_path / "model")
    adapter = trained(tmp_path / "adapter", model, **config)
    (adapter / "run.json").write_text('{"constrain": true}')
    fused(adapter, tmp_path / "fused", model=str(model))
    convert(tmp_path / "fused", tmp_path / "back", model=str(model))
    before, after = (
        {update.module: update for update in adapters.read(folder)}
        for folder in (adapter, tmp_path / "back")
    )
    assert before.keys() == after.keys()
    for module, update in before.items():
        assert torch.equal(update.a, after[module].a)
        assert torch.equal(update.b, after[module].b)
        assert update.scaling == after[module].scaling
        assert torch.equal(update.delta(), after[module].delta())
    expected = ours(model, adapter).state_dict()
    for folder in ("fused", "back"):
        merged = ours(model, tmp_path / folder).state_dict()
        assert all(torch.equal(expected[name], tensor) for name, tensor in merged.items())
    assert (tmp_path / "fused" / "run.json").read_text() == '{"constrain": true}'


@pytest.mark.parametrize("variant", VARIANTS)
def test_stock_peft_adds_the_same_to_the_fused_weights(tmp_path, variant):
    model = random_model(tmp_path / "model", **VARIANTS[variant])
    adapter = trained(tmp_path / "adapter", model)
    fused(adapter, tmp_path / "fused", model=str(model))
    loaded = peft.PeftModel.from_pretrained(Original(model), tmp_path / "fused")
    theirs = loaded.merge_and_unload().state_dict()
    network = ours(model, adapter)
    network.save_pretrained(tmp_path / "merged")  # in the original layout
    expected, base = tensors_of(tmp_path / "merged"), tensors_of(model)
    changed = 0
    for name, tensor in theirs.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-5)
        changed += not torch.equal(tensor, base[name])
    assert changed == 5 * network.config.num_hidden_layers


def test_the_fused_configuration_is_short_and_known_to_old_libraries(tmp_path):
    model = random_model(tmp_path / "model", num_hidden_layers=3)
    fused(trained(tmp_path / "adapter", model), tmp_path / "fused", model=str(model))
    config = json.loads((tmp_path / "fused" / "adapter_config.json").read_text())
    assert sorted(config.pop("target_modules")) == ["w1", "w2", "w3", "wo", "wqkv"]
    assert (config.pop("r"), config.pop("lora_alpha")) == (4, 8)
    assert config.pop("rank_pattern") == {"wqkv": 12}
    assert config.pop("alpha_pattern") == {"wqkv": 24}
    assert config.pop("base_model_name_or_path") == str(model)
    old = json.loads((FIXTURE / "adapter" / "adapter_config.json").read_text())  # of peft 0.11
    assert config.keys() <= old.keys()
    fused(trained(tmp_path / "a", model, LINEAR[:3]), tmp_path / "b", model=str(model))
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (12, 24, {})


def test_the_rows_of_a_fused_update_lie_where_its_heads_do(tmp_path):
    model = random_model(tmp_path / "model", num_attention_heads=4, num_key_value_heads=2)
    adapter = trained(tmp_path / "adapter", model, LINEAR[:3], rank=2)
    fused(adapter, tmp_path / "fused", model=str(model))
    whole = adapters.read(tmp_path / "fused")[0]
    q, k, v = (
        next(u for u in adapters.read(adapter) if u.module.endswith(f"layers.0.self_attn.{part}"))
        for part in LINEAR[:3]
    )
    assert whole.module == "model.layers.0.attention.wqkv"
    assert torch.equal(whole.a, torch.cat([q.a, k.a, v.a]))
    size = 16
    for group in range(2):  # two queries, the key, the value
        rows = whole.b[4 * size * group :][: 4 * size]
        assert torch.equal(rows[: 2 * size, :2], q.b[2 * size * group :][: 2 * size])
        assert torch.equal(rows[2 * size : 3 * size, 2:4], k.b[size * group :][:size])
        assert torch.equal(rows[3 * size :, 4:], v.b[size * group :][:size])
        assert not rows[: 2 * size, 2:].any()
        assert not rows[3 * size :, :4].any()


@pytest.mark.parametrize("name", ["adapter", "adapter_all"])
def test_an_original_adapter_comes_back_as_it_was(tmp_path, name):
    convert(FIXTURE / name, tmp_path / "llama", model=str(BASE))
    fused(tmp_path / "llama", tmp_path / "again", model=str(BASE))
    fused(FIXTURE / name, tmp_path / "same", model=str(BASE))
    before = load_file(FIXTURE / name / "adapter_model.safetensors")
    old = json.loads((FIXTURE / name / "adapter_config.json").read_text())
    for folder in ("again", "same"):
        after = load_file(tmp_path / folder / "adapter_model.safetensors")
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        new = json.loads((tmp_path / folder / "adapter_config.json").read_text())
        for key in ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "base_model_name_or_path"):
            assert new[key] == old[key]


@pytest.mark.parametrize("layout", model_convert.LAYOUTS)
def test_an_adapter_that_changes_nothing_yet_is_still_one(tmp_path, layout):
    model = random_model(tmp_path / "model")
    fresh = trained(tmp_path / "fresh", model, LINEAR[:3])
    path = fresh / "adapter_model.safetensors"
    zeroed = {key: t.zero_() if "lora_B" in key else t for key, t in load_file(path).items()}
    save_file(zeroed, path, metadata={"format": "pt"})
    fused(fresh, tmp_path / "fused", model=str(model))
    convert(tmp_path / "fused", tmp_path / "again", model=str(model), layout=layout)
    assert len(adapters.read(tmp_path / "again")) == (6 if layout == "llama" else 2)
    merged, base = ours(model, tmp_path / "again").state_dict(), ours(model).state_dict()
    assert all(torch.equal(base[name], tensor) for name, tensor in merged.items())


def test_a_wqkv_has_one_scaling(tmp_path):
    model = random_model(tmp_path / "model")
    adapter = trained(tmp_path / "adapter", model, alpha_pattern={"k_proj": 3})
    with pytest.raises(ModelError, match=r"k_proj by 0\.75.*by 2") as caught:
        fused(adapter, tmp_path / "fused", model=str(model))
    assert "one alpha" in caught.value.hint
    assert not (tmp_path / "fused").exists()


def test_what_has_no_original_layout(tmp_path, tiny_gemma, tiny_llama):
    with pytest.raises(ModelError, match="is gemma3_text, not InternLM2"):
        fused(tiny_adapter(tmp_path / "gemma", tiny_gemma), tmp_path / "a", model=str(tiny_gemma))
    with pytest.raises(ModelError, match="does not fit the model"):
        fused(tiny_adapter(tmp_path / "llama", tiny_llama), tmp_path / "a", model=str(BASE))
    with pytest.raises(ModelError, match="only adapters are written"):
        fused(BASE, tmp_path / "a")
    with pytest.raises(UsageError, match="--merged"):
        fused(FIXTURE / "adapter", tmp_path / "a", model=str(BASE), merged=tmp_path / "b")
    with pytest.raises(UsageError, match="no layout 'gpt'") as caught:
        convert(FIXTURE / "adapter", tmp_path / "a", model=str(BASE), layout="gpt")
    assert caught.value.hint == "choose llama or internlm2"
    assert not (tmp_path / "a").exists()


# refusals


def test_what_is_there_is_not_overwritten_unless_told_so(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="exists") as caught:
        convert(FIXTURE / "adapter", tmp_path / "a", model=str(BASE))
    assert "--force" in caught.value.hint
    convert(FIXTURE / "adapter", tmp_path / "a", model=str(BASE), force=True)
    assert (tmp_path / "a" / "adapter_config.json").is_file()


def test_force_replaces_models_and_adapters_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="neither a model nor an adapter"):
        convert(FIXTURE / "adapter", tmp_path / "papers", model=str(BASE), force=True)
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "years"
    monkeypatch.chdir(tmp_path / "papers")
    with pytest.raises(OutputError):
        convert(FIXTURE / "adapter", Path("."), model=str(BASE), force=True)
    assert (tmp_path / "papers" / "thesis.txt").exists()


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_convert, "save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        convert(FIXTURE / "adapter", tmp_path / "a", model=str(BASE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_dora": True}, "has DoRA"),
        ({"modules_to_save": ["output"]}, "has saved modules"),
        ({"bias": "lora_only"}, "has trained biases"),
        ({"layer_replication": [[0, 2]]}, "has repeated layers"),
    ],
)
def test_what_cannot_be_converted_exactly(tmp_path, values, message):
    adapter = random_adapter(tmp_path / "adapter", BASE, **values)
    with pytest.raises(ModelError, match=message):
        convert(adapter, tmp_path / "a", model=str(BASE))


def test_adapters_on_models_they_are_not_for(tmp_path, tiny_gemma):
    with pytest.raises(ModelError, match="is for InternLM2") as caught:
        ours(tiny_gemma, FIXTURE / "adapter")
    assert "base_model_name_or_path" in caught.value.hint
    wide = random_model(tmp_path / "wide", hidden_size=128)
    with pytest.raises(ModelError, match=r"wqkv has 128 rows, not the 256"):
        ours(wide, FIXTURE / "adapter")
    short = random_model(tmp_path / "short", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"no layer model\.layers\.1\.self_attn\.q_proj"):
        ours(short, FIXTURE / "adapter")


def test_an_adapter_of_a_llama_base(tmp_path, tiny_llama):
    adapter = tiny_adapter(tmp_path / "adapter", tiny_llama)
    with pytest.raises(ModelError, match=r"does not fit the model: .* is \(64, 160\)"):
        ours(BASE, adapter)


def test_models_that_are_not_converted(tmp_path, tiny_gemma):
    with pytest.raises(ModelError, match="is gemma3_text, not InternLM2"):
        convert(tiny_gemma, tmp_path / "a")
    with pytest.raises(ModelError, match="is gemma3_text, not InternLM2"):
        convert(tiny_adapter(tmp_path / "adapter", tiny_gemma), tmp_path / "a", model=tiny_gemma)
    with pytest.raises(ModelError, match="no adapter to merge"):
        convert(BASE, tmp_path / "a", merged=tmp_path / "b")


def test_a_tied_head_cannot_be_changed_alone(tmp_path):
    model = random_model(tmp_path / "model", tie_word_embeddings=True)
    untied = random_model(tmp_path / "untied")
    adapter = random_adapter(tmp_path / "adapter", untied, ("output",))
    with pytest.raises(ModelError, match="embeddings, too"):
        ours(model, adapter)
    assert len(adapters.read(adapter)) == 1
