"""An adapter is merged as peft would merge it, or refused with the reason."""

import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from b2ner_cli.errors import ModelError
from b2ner_cli.models import adapters
from tests.tiny import tiny_adapter, tiny_model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def stock(model, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=dtype)


def configure(directory, **values):
    config = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps(config | values))


def rewrite(directory, change):
    tensors = load_file(directory / WEIGHTS)
    change(tensors)
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def prepared(tiny_llama, tmp_path_factory):
    return tiny_adapter(tmp_path_factory.mktemp("adapter") / "a", tiny_llama)


@pytest.fixture
def adapter(prepared, tmp_path):
    """A good adapter of one's own, to be spoilt."""
    return shutil.copytree(prepared, tmp_path / "adapter")


# merging


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"target_modules": ["q_proj", "down_proj"]},
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 3, "layers.1.mlp.up_proj": 50}},
        {"rank_pattern": {"q_proj": 2, r".*\.1\.mlp\..*": 7}},
        {"rank_pattern": {"v_proj": 8}, "alpha_pattern": {"v_proj": 5}, "use_rslora": True},
        {"layers_to_transform": [1], "target_modules": ["o_proj"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_merge_is_pefts(request, tmp_path, architecture, config):
    model = request.getfixturevalue(f"tiny_{architecture.removesuffix('3')}")
    directory = tiny_adapter(tmp_path / "adapter", model, **config)
    ours = stock(model)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    adapters.merge(ours, directory)
    theirs = peft.PeftModel.from_pretrained(stock(model), directory).merge_and_unload()
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    changed = 0
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-6)
        changed += not torch.equal(value, before[name])
    assert changed == len(adapters.read(directory))


def test_merge_rounds_once(tiny_llama, prepared):
    half = stock(tiny_llama, torch.bfloat16)
    weights = {name: value.clone() for name, value in half.state_dict().items()}
    adapters.merge(half, prepared)
    for update in adapters.read(prepared):
        name = f"{update.module}.weight"
        expected = (weights[name].float() + update.delta()).to(torch.bfloat16)
        assert torch.equal(half.state_dict()[name], expected)
        assert half.state_dict()[name].dtype == torch.bfloat16


def test_update():
    a, b = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[3.0], [1.0]])
    update = adapters.Update("x", a, b, 2.0)
    assert update.delta().tolist() == [[6.0, 12.0, 0.0], [2.0, 4.0, 0.0]]


def test_read(prepared):
    updates = adapters.read(prepared)
    assert len(updates) == 14
    assert updates[0].module == "model.layers.0.mlp.down_proj"
    assert {update.a.shape[0] for update in updates} == {4}
    assert {update.scaling for update in updates} == {2.0}


# InternLM2's layout and back


@st.composite
def on_llama(draw):
    """Updates of some modules of a layer, and the configuration that says what its heads are."""
    groups, queries, size = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
    )
    rows = {"q": groups * queries * size, "k": groups * size, "v": groups * size}
    random = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    chosen = draw(st.sets(st.sampled_from(["q", "k", "v", "o", "mlp.up", "mlp.down"]), min_size=1))
    updates = []
    for name in sorted(chosen):
        rank = draw(st.integers(1, 4))
        a = torch.randn(rank, 5, generator=random)
        b = torch.randn(rows.get(name, 4), rank, generator=random)
        module = f"{name}_proj" if "." in name else f"self_attn.{name}_proj"
        updates.append(adapters.Update(f"model.layers.3.{module}", a, b, 2.0))
    heads = {"num_attention_heads": groups * queries, "num_key_value_heads": groups}
    return updates, SimpleNamespace(model_type="internlm2", head_dim=size, **heads)


@given(on_llama())
def test_internlm2s_layout_and_back(given):
    updates, config = given
    original = adapters.for_internlm2(updates, config, Path("adapter"))
    names = {update.module.rpartition(".")[2] for update in original}
    assert names <= {"wqkv", "wo", "w3", "w2"}
    assert len(names) == len(original)
    again = {u.module: u for u in adapters.for_model(original, config, Path("adapter"))}
    assert len(again) == len(updates)
    for update in updates:
        assert torch.equal(again[update.module].a, update.a)
        assert torch.equal(again[update.module].b, update.b)
        assert again[update.module].scaling == update.scaling


@pytest.mark.parametrize("stabilised", [False, True])
def test_alpha_is_the_one_that_means_a_scaling(stabilised):
    config = {"use_rslora": stabilised}
    for rank in range(1, 100):
        divisor = rank**0.5 if stabilised else rank
        for alpha in (1, 16, 64, 0.1, 2.7):
            found = adapters.alpha_for(config, alpha / divisor, rank)
            assert found / divisor == alpha / divisor
            assert found == alpha or alpha != round(alpha)


# refusals


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, "is IA3, not LORA"),
        ({"use_dora": True}, "has DoRA"),
        ({"bias": "all"}, "has trained biases"),
        ({"lora_bias": True}, "has trained biases"),
        ({"modules_to_save": ["lm_head"]}, "has saved modules"),
        ({"layer_replication": [[0, 2]]}, "has repeated layers"),
        ({"fan_in_fan_out": True}, "has transposed weights"),
        ({"trainable_token_indices": [1]}, "has trained token rows"),
        ({"init_lora_weights": "pissa_niter_4"}, "has pissa_niter_4 initialisation"),
        ({"init_lora_weights": "olora"}, "has olora initialisation"),
    ],
)
def test_what_a_plain_merge_cannot_say(tiny_llama, adapter, values, message):
    configure(adapter, **values)
    network = stock(tiny_llama)
    with pytest.raises(ModelError, match=message) as caught:
        adapters.merge(network, adapter)
    if "peft_type" not in values:
        assert "plain LoRA" in caught.value.hint


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva"])
def test_harmless_initialisations(adapter, start):
    configure(adapter, init_lora_weights=start)
    assert len(adapters.read(adapter)) == 14


@pytest.mark.parametrize("config", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_as_peft_writes_them(tiny_llama, tmp_path, config):
    directory = tiny_adapter(tmp_path / "adapter", tiny_llama, **config)
    with pytest.raises(ModelError, match="cannot be merged exactly"):
        adapters.read(directory)


def test_extra_tensor(adapter):
    rewrite(adapter, lambda tensors: tensors.update(extra=torch.ones(1)))
    with pytest.raises(ModelError, match="not a plain LoRA: it holds extra"):
        adapters.read(adapter)


@pytest.mark.parametrize(
    ("kind", "message"), [("B", "no lora_B for model.layers"), ("A", "holds no complete layer")]
)
def test_half_a_pair(adapter, kind, message):
    def drop(tensors):
        del tensors[next(key for key in tensors if f".lora_{kind}." in key)]

    rewrite(adapter, drop)
    with pytest.raises(ModelError, match=message):
        adapters.read(adapter)


def test_no_tensors(adapter):
    rewrite(adapter, lambda tensors: tensors.clear())
    with pytest.raises(ModelError, match="holds no complete layer"):
        adapters.read(adapter)


def test_wrong_shapes_leave_the_model_alone(prepared, tmp_path):
    other = stock(tiny_model(tmp_path, hidden_size=64))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ModelError, match=r"down_proj is \(64, 64\) .* and \(48, 64\)") as caught:
        adapters.merge(other, prepared)
    assert "base_model_name_or_path" in caught.value.hint
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_ranks_that_do_not_meet(tiny_llama, adapter):
    def shorten(tensors):
        key = next(key for key in tensors if ".lora_A." in key)
        tensors[key] = tensors[key][:2].contiguous()

    rewrite(adapter, shorten)
    with pytest.raises(ModelError, match="does not fit"):
        adapters.merge(stock(tiny_llama), adapter)


def test_missing_layer_leaves_the_model_alone(prepared, tmp_path):
    flat = stock(tiny_model(tmp_path, num_hidden_layers=1))
    before = {name: value.clone() for name, value in flat.state_dict().items()}
    with pytest.raises(ModelError, match=r"no layer model\.layers\.1\.") as caught:
        adapters.merge(flat, prepared)
    assert "base_model_name_or_path" in caught.value.hint
    assert all(torch.equal(value, before[name]) for name, value in flat.state_dict().items())


def test_missing_directory(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read adapter .*nowhere") as caught:
        adapters.read(tmp_path / "nowhere")
    assert caught.value.hint


def test_pickle_only(adapter):
    (adapter / WEIGHTS).unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match="cannot read adapter") as caught:
        adapters.read(adapter)
    assert "pickle" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 64])
def test_damaged_weights(adapter, content):
    (adapter / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="cannot read adapter"):
        adapters.read(adapter)


def test_cut_off_weights(adapter):
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot read adapter"):
        adapters.read(adapter)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_damaged_configuration(adapter, content):
    (adapter / CONFIG).write_bytes(content)
    with pytest.raises(ModelError, match="cannot read adapter"):
        adapters.read(adapter)
