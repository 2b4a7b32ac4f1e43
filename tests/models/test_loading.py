"""Models are loaded, or refused in words; nothing of theirs is run."""

import gzip
import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models import adapters, devices, files, loading
from tests.tiny import tiny_adapter, tiny_tokenizer


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return loading.load(str(tiny_llama), device="cpu", dtype="float32")


@pytest.fixture
def model(tiny_llama, tmp_path):
    """A good model of one's own, to be spoilt."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def configure(directory, **values):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | values))


def load(directory, adapter=None):
    return loading.load(str(directory), adapter, device="cpu", dtype="float32")


# choices


def test_device_asked_for():
    assert devices.choose_device("cpu") == ("cpu", "device cpu: asked for")


@pytest.mark.parametrize("device", ["gpu", "", "mps", "CPU"])
def test_unknown_device(device):
    with pytest.raises(UsageError, match="unknown device") as caught:
        devices.choose_device(device)
    assert "cuda:N" in caught.value.hint


def test_device_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    value, reason = devices.choose_device("auto")
    assert value == "cpu"
    assert "no CUDA device" in reason
    for device in ("cuda", "cuda:0", "cuda:x", "cudax", "cuda:-1", "cuda:²"):
        with pytest.raises(UsageError, match="0 CUDA devices here") as caught:
            devices.choose_device(device)
        assert caught.value.hint == "try --device cpu"


def test_device_with_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
    assert devices.choose_device("auto") == ("cuda:0", "device cuda:0: a card")
    assert devices.choose_device("cuda").value == "cuda:0"
    assert devices.choose_device("cuda:1").value == "cuda:1"
    with pytest.raises(UsageError, match="2 CUDA devices"):
        devices.choose_device("cuda:2")


def test_unknown_dtype():
    with pytest.raises(UsageError, match="'int8'") as caught:
        devices.choose_dtype("int8", "cpu")
    assert "float32, bfloat16, float16" in caught.value.hint


@pytest.mark.parametrize(
    ("tiles", "avx", "vendor", "dtype"),
    [
        (True, True, "GenuineIntel", "bfloat16"),
        (False, True, "GenuineIntel", "float32"),  # slower than float32 there
        (False, True, "AuthenticAMD", "bfloat16"),
        (False, False, "AuthenticAMD", "float32"),
    ],
)
def test_dtype_on_a_cpu(monkeypatch, tiles, avx, vendor, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(devices, "_cpu_vendor", lambda: vendor)
    value, reason = devices.choose_dtype("auto", "cpu")
    assert value == dtype
    assert reason.startswith(f"dtype {dtype}: the CPU")
    assert devices.choose_dtype("float16", "cpu") == ("float16", "dtype float16: asked for")


@pytest.mark.parametrize(("able", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_dtype_on_a_card(monkeypatch, able, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    value, reason = devices.choose_dtype("auto", "cuda:0")
    assert value == dtype
    assert "the card" in reason


# loading


def test_load(loaded, tiny_llama):
    assert (loaded.device, loaded.dtype, loaded.context) == ("cpu", "float32", 2048)
    assert loaded.source == files.locate(str(tiny_llama), None)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert [choice.value for choice in loaded.choices] == ["cpu", "float32"]
    assert loaded.tokenizer.bos == (1,)
    assert (loaded.tokenizer.eos, loaded.tokenizer.stops, loaded.tokenizer.pad) == (2, (2,), 0)


@pytest.mark.parametrize("architecture", ["llama", "gemma"])
def test_adapter_is_merged_exactly_and_rounded_once(request, tmp_path, architecture):
    directory = request.getfixturevalue(f"tiny_{architecture}")
    adapter = tiny_adapter(tmp_path / "adapter", directory)
    exact = load(directory, str(adapter)).model.state_dict()
    bare = load(directory).model.state_dict()
    half = loading.load(str(directory), str(adapter), device="cpu", dtype="bfloat16")
    assert half.dtype == "bfloat16"
    assert half.model.dtype == half.model.config.dtype == torch.bfloat16
    names = {f"{update.module}.weight" for update in adapters.read(adapter)}
    for name, value in half.model.state_dict().items():
        assert torch.equal(exact[name], bare[name]) == (name not in names)
        assert torch.equal(value, exact[name].to(torch.bfloat16)), name


@pytest.mark.parametrize("architecture", ["llama", "gemma"])
def test_merged_model_computes_like_one_stored_merged(request, tmp_path, architecture):
    # rounding the rotary frequencies as well would show far into a text
    directory = request.getfixturevalue(f"tiny_{architecture}")
    adapter = tiny_adapter(tmp_path / "adapter", directory)
    load(directory, str(adapter)).model.save_pretrained(tmp_path / "merged")
    tiny_tokenizer().save_pretrained(tmp_path / "merged")
    one = loading.load(str(directory), str(adapter), device="cpu", dtype="bfloat16").model
    other = loading.load(str(tmp_path / "merged"), device="cpu", dtype="bfloat16").model
    # What is computed with, not logits: those depend on where in memory bfloat16 weights lie, too.
    weights, stored = dict(one.named_parameters()), dict(other.named_parameters())
    frequencies = {name: b for name, b in one.named_buffers() if name.endswith("inv_freq")}
    stored |= {name: b for name, b in other.named_buffers() if name.endswith("inv_freq")}
    assert frequencies
    assert all(each.dtype == torch.float32 for each in frequencies.values())
    assert (weights | frequencies).keys() == stored.keys()
    for name, value in (weights | frequencies).items():
        assert value.dtype == stored[name].dtype
        assert torch.equal(value, stored[name]), name


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_weights_stored_in_half_precision(model, tmp_path, wanted):
    adapter = tiny_adapter(tmp_path / "adapter", model)
    loading.load(str(model), device="cpu", dtype="bfloat16").model.save_pretrained(model)
    assert json.loads((model / "config.json").read_text())["dtype"] == "bfloat16"
    stored = load_file(model / "model.safetensors")
    merged = loading.load(str(model), str(adapter), device="cpu", dtype=wanted).model.state_dict()
    for update in adapters.read(adapter):
        name = f"{update.module}.weight"
        expected = stored[name].float() + update.delta()
        assert torch.equal(merged[name], expected.to(devices.DTYPES[wanted]))


def test_several_stops(model):
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 40]}))
    assert load(model).tokenizer.stops == (2, 40)


def spy(directory, name="modeling_spy.py"):
    """Code beside a model that leaves a trace if it is ever imported."""
    trace = directory / "trace"
    (directory / name).write_text(f"open({str(trace)!r}, 'w')\nclass Spy: pass\nclass Config: pass")
    return trace


@pytest.mark.parametrize("kind", ["nonsense", "llama"])
def test_code_of_a_model_is_never_run(model, kind):
    trace = spy(model)
    code = {"AutoConfig": "modeling_spy.Config", "AutoModelForCausalLM": "modeling_spy.Spy"}
    configure(model, model_type=kind, auto_map=code, architectures=["Spy"])
    if kind == "llama":
        assert load(model).model.config.model_type == "llama"  # by the library's own code
    else:
        with pytest.raises(ModelError, match="cannot load model") as caught:
            load(model)
        assert "never run" in caught.value.hint
    assert not trace.exists()


def test_code_of_a_tokenizer_is_never_run(model):
    trace = spy(model, "tokenization_spy.py")
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["tokenization_spy.Spy", "tokenization_spy.Spy"]}
    config["tokenizer_class"] = "Spy"
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    try:
        load(model)
    except ModelError as error:
        assert "never run" in error.hint
    assert not trace.exists()


def test_unknown_architecture(model):
    configure(model, model_type="nonsense", architectures=["Nonsense"])
    with pytest.raises(ModelError, match="cannot load model") as caught:
        load(model)
    assert "not in transformers" in caught.value.hint


def drop_tensor(path):
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", lambda path: path.write_text("[]")),
        (
            "config.json",
            lambda path: path.write_text('{"model_type": "llama", "hidden_size": "x"}'),
        ),
        ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-100])),
        ("model.safetensors", lambda path: path.write_bytes(b"junk")),
        ("model.safetensors", lambda path: path.rename(path.with_name("other.safetensors"))),
        ("model.safetensors", drop_tensor),
        ("tokenizer.json", lambda path: path.write_text("{")),
        ("tokenizer.json", lambda path: path.unlink()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_files(model, name, spoil):
    spoil(model / name)
    with pytest.raises(ModelError, match="cannot load model"):
        load(model)


def test_missing_weights_are_named(model):
    drop_tensor(model / "model.safetensors")
    with pytest.raises(ModelError, match=r"no weights for model\.layers\.1\.mlp\.up_proj"):
        load(model)


def test_weights_of_another_shape(model):
    configure(model, hidden_size=64)
    with pytest.raises(ModelError, match="cannot load model"):
        load(model)


def test_tokenizer_without_an_end(model):
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load(model)


def test_gguf_that_is_none(tmp_path):
    (tmp_path / "m.gguf").write_bytes(gzip.compress(b"no model"))
    with pytest.raises(ModelError, match=r"cannot load model .*m\.gguf"):
        load(tmp_path / "m.gguf")


# the tokenizer


def test_control_tokens_in_a_text_are_ordinary_characters(loaded):
    tokenizer = loaded.tokenizer
    assert tokenizer.hf.convert_tokens_to_ids(["<pad>", "<s>", "</s>"]) == [0, 1, 2]
    (ids,) = tokenizer.encode(["<s>Ann</s><pad>"])
    assert not {0, 1, 2} & set(ids)
    assert tokenizer.decode(ids) == "<s>Ann</s><pad>"


def test_encode_adds_nothing(loaded):
    tokenizer = loaded.tokenizer
    assert tokenizer.encode([]) == []
    assert tokenizer.encode([""]) == [[]]
    assert tokenizer.encode(["Ann", " Rome"]) == [
        tokenizer.encode(["Ann"])[0], tokenizer.encode([" Rome"])[0],
    ]  # fmt: skip
    assert tokenizer.hf("Ann")["input_ids"] == [1, *tokenizer.encode(["Ann"])[0]]
    assert tokenizer.count("Ann") == len(tokenizer.encode(["Ann"])[0])


@given(st.text(st.sampled_from("ab .,;'s\n\t北</s>") | st.characters(codec="utf-8")))
def test_decode_undoes_encode(loaded, text):
    (ids,) = loaded.tokenizer.encode([text])
    assert loaded.tokenizer.decode(ids) == text


def test_decode_leaves_control_tokens_out(loaded):
    ids = [1, *loaded.tokenizer.encode(["Ann ."])[0], 2, 0]
    assert loaded.tokenizer.decode(ids) == "Ann ."


def test_several_devices_are_named_one_by_one_or_all_at_once(monkeypatch):
    choose = devices.choose_devices
    assert choose("auto").value == "auto"
    assert choose("cuda:1").value == "cuda:1"  # whether it is there is seen when it is taken
    assert choose("cpu, cpu") == ("cpu,cpu", "devices cpu, cpu: asked for")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert choose("cuda:all") == ("cuda:0,cuda:1,cuda:2", "devices cuda:0, cuda:1, cuda:2: all cards here")  # fmt: skip  # noqa: E501
    assert choose("cuda,cuda:2").value == "cuda:0,cuda:2"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose("cuda:all").value == "cuda:0"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:0,cuda:3", "no device cuda:3: 3 CUDA devices here"),
        ("cuda:0,cpu", "differ in the last digits"),
        ("cuda,cuda:0", "cuda:0 comes twice"),
        ("cuda:0,", "unknown device ''"),
        ("cpu,tpu", "unknown device 'tpu'"),
        ("cpu,auto", "auto is one device"),
        ("cuda:0,cuda:all", "not cuda:all"),
    ],
)
def test_devices_that_cannot_share_a_run_are_refused(monkeypatch, device, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(UsageError, match=message):
        devices.choose_devices(device)


def test_all_cards_of_none_and_several_where_one_is_needed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="no CUDA devices here"):
        devices.choose_devices("cuda:all")
    for device in ("cpu,cpu", "cuda:all"):
        with pytest.raises(UsageError, match="one device is needed here"):
            devices.choose_device(device)
