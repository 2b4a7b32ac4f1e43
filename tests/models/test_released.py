"""The released pairs are found by name, at pinned revisions, here or on the hub."""

import json
import logging
import shutil
from pathlib import Path

import huggingface_hub
import pytest

from b2ner_cli.errors import ModelError
from b2ner_cli.models import files, loading, released, tokenizer
from b2ner_cli.models.embedded import Embedded
from tests.internlm2 import BASE, FIXTURE
from tests.tiny import tiny_adapter

BASE_7B, ADAPTER_7B = "internlm/internlm2_5-7b", "Umean/B2NER-Internlm2.5-7B-LoRA"
SHA = "7bee5c5d7c4591d7f081f5976610195fdd1f1e35"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has the fixture under the released names, and the requests it got."""
    asked = []
    folders = {BASE_7B: BASE, ADAPTER_7B: FIXTURE / "adapter", "me/lora": FIXTURE / "adapter_all"}

    def download(name, revision=None, allow_patterns=None):
        asked.append((name, revision))
        if name not in folders:
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"no {name}")
        target = tmp_path / "hub" / name
        large = "*.safetensors" in allow_patterns
        skip = shutil.ignore_patterns(*([] if large else ["*.safetensors"]))
        shutil.copytree(folders[name], target, ignore=skip, dirs_exist_ok=True)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_a_released_name_is_a_pair_at_pinned_revisions(hub):
    source = files.locate("internlm2.5-7b", None)
    pins = released.RELEASED["internlm2.5-7b"]
    assert sorted(hub) == sorted([(BASE_7B, SHA), (ADAPTER_7B, pins.adapter.revision)])
    assert source.name == "internlm2.5-7b"
    assert source.adapter is not None
    said = "\n".join(source.reasons)
    assert f"model {BASE_7B}: what internlm2.5-7b stands for" in said
    assert f"adapter {ADAPTER_7B}: released for internlm2.5-7b" in said
    assert f"revision {SHA}, the one pinned for it" in said


def test_revisions_can_be_chosen(hub):
    files.locate("internlm2.5-7b", "none", "main")
    assert hub == [(BASE_7B, "main")]
    hub.clear()
    files.locate("internlm2.5-7b", "me/lora@v2", "main")
    assert sorted(hub) == [(BASE_7B, "main"), ("me/lora", "v2")]
    hub.clear()
    files.locate(f"{BASE_7B}@other", "none")
    assert hub == [(BASE_7B, "other")]
    hub.clear()
    files.locate(str(BASE), "me/lora", "v3")  # a model that is here has no revision
    assert hub == [("me/lora", "v3")]
    hub.clear()
    files.locate(BASE_7B, "none")
    assert hub == [(BASE_7B, SHA)]


@pytest.mark.parametrize("pair", released.RELEASED.values(), ids=list(released.RELEASED))
def test_pins_are_whole(pair):
    for repository in (pair.base, pair.adapter):
        assert repository.revision is None or len(repository.revision) == 40
        assert released.pinned(repository.name) == repository.revision
    assert released.pinned("somebody/else") is None


def test_an_adapter_alone_brings_its_base(hub, tmp_path):
    source = files.locate(None, "me/lora")
    assert (source.name, source.directory.name) == (BASE_7B, "internlm2_5-7b")
    assert hub == [("me/lora", None), (BASE_7B, SHA)]
    assert f"model {BASE_7B}: named by adapter me/lora" in source.reasons
    loaded = loading.load(None, "me/lora", device="cpu", dtype="float32")
    assert loaded.model.config.num_hidden_layers == 2


def test_adapters_bases_of_other_kinds(tmp_path, tiny_llama, monkeypatch):
    adapter = tiny_adapter(tmp_path / "adapter", tiny_llama)
    assert files.locate(None, str(adapter)).directory == tiny_llama  # a path, as peft has it

    def name(base):
        config = json.loads((adapter / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = base
        (adapter / "adapter_config.json").write_text(json.dumps(config))

    monkeypatch.setattr(Embedded, "directory", lambda model: tiny_llama)
    for base in ("mini", "google/gemma-3-270m"):
        name(base)
        assert files.locate(None, str(adapter)).name == "mini"
    name(None)
    with pytest.raises(ModelError, match="does not say which model it is for") as caught:
        files.locate(None, str(adapter))
    assert caught.value.hint == "give --model"
    name("/data/llama")
    with pytest.raises(ModelError, match="is for /data/llama, which is not here") as caught:
        files.locate(None, str(adapter))
    assert "--model DIR" in caught.value.hint


def test_nothing_named_is_mini(monkeypatch, tiny_llama):
    monkeypatch.setattr(Embedded, "directory", lambda model: tiny_llama)
    assert files.locate(None, None) == files.locate("mini", None)
    assert files.locate(None, "none") == files.locate("mini", "none")


@pytest.mark.parametrize("place", [BASE_7B, "internlm2_5-7b"])
def test_local_directories_stand_in_for_the_hub(tmp_path, monkeypatch, hub, place):
    monkeypatch.setenv("B2NER_MODELS", str(tmp_path / "models"))
    shutil.copytree(BASE, tmp_path / "models" / place)
    shutil.copytree(FIXTURE / "adapter", tmp_path / "models" / ADAPTER_7B)
    source = files.locate("internlm2.5-7b", None)
    assert hub == []
    assert source.directory == tmp_path / "models" / place
    assert source.adapter == tmp_path / "models" / ADAPTER_7B
    assert sum("because of B2NER_MODELS" in reason for reason in source.reasons) == 2


def test_the_cache_of_the_hub_is_used_without_a_network(tmp_path, monkeypatch):
    # HF_HUB_OFFLINE is set for all tests; this is how the library lays its cache out
    for name, folder in ((BASE_7B, BASE), (ADAPTER_7B, FIXTURE / "adapter")):
        revision = released.pinned(name)
        store = tmp_path / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, store / "snapshots" / revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    loaded = loading.load("internlm2.5-7b", device="cpu", dtype="float32")
    assert loaded.source.directory.name == SHA
    assert loaded.source.adapter is not None
    with pytest.raises(ModelError, match=r"cannot get model .* at main from the hub") as caught:
        files.locate("internlm2.5-7b", "none", "main")
    assert "internlm2-20b" in caught.value.hint


def test_small_files_alone(hub):
    source = files.locate("internlm2.5-7b", "none", weights=False)
    assert source.fingerprint == ""
    assert not list(source.directory.glob("*.safetensors"))
    assert len(tokenizer.load_tokenizer(source).hf) >= 512


# doubts


def warnings_of(caplog, model, adapter):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "b2ner"):
        loading.load(str(model), str(adapter), device="cpu", dtype="float32")
    return [record.message for record in caplog.records]


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(BASE, tmp_path / "model")


def test_what_fits_raises_no_doubt(caplog, model):
    assert warnings_of(caplog, model, FIXTURE / "adapter") == []


def test_a_chat_model_by_its_ends(caplog, model):
    ends = {"eos_token_id": [2, 510], "pad_token_id": 2}
    (model / "generation_config.json").write_text(json.dumps(ends))
    (warning,) = warnings_of(caplog, model, FIXTURE / "adapter")
    assert "looks like a chat model" in warning
    assert f"was trained on {BASE_7B}" in warning
    assert warnings_of(caplog, model, "none") == []


def test_a_chat_model_by_its_name(caplog, tmp_path):
    chat = shutil.copytree(BASE, tmp_path / "internlm2_5-7b-chat")
    (warning,) = warnings_of(caplog, chat, FIXTURE / "adapter")
    assert "looks like a chat model" in warning


def test_another_name(tmp_path):
    (doubt,) = released.doubts("internlm/internlm2-7b", BASE, FIXTURE / "adapter")
    assert doubt.endswith(f"was trained on {BASE_7B}, not on internlm/internlm2-7b")


def test_another_vocabulary(caplog, model, tmp_path):
    adapter = shutil.copytree(FIXTURE / "adapter", tmp_path / "adapter")
    shutil.copy(BASE / "tokenizer.model", adapter)
    assert warnings_of(caplog, model, adapter) == []
    with (adapter / "tokenizer.model").open("ab") as stream:
        stream.write(b"\0")
    (warning,) = warnings_of(caplog, model, adapter)
    assert "another vocabulary" in warning


def test_names_are_names_whatever_lies_about(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(BASE, tmp_path / "internlm2.5-7b")
    assert files.locate("internlm2.5-7b", "none").directory != Path("internlm2.5-7b")
    assert files.locate("./internlm2.5-7b", None).adapter is None
