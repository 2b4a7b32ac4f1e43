"""Files of models and adapters are found and fingerprinted, or refused in words."""

import pickle
import shutil
import time

import pytest

from b2ner_cli.errors import ModelError
from b2ner_cli.models import files
from tests.tiny import tiny_adapter


@pytest.fixture
def model(tiny_llama, tmp_path):
    """A good model of one's own, to be spoilt."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


# finding


def refused(name, adapter=None):
    with pytest.raises(ModelError) as caught:
        files.locate(str(name), adapter)
    return caught.value


@pytest.mark.parametrize("name", ["/no/such/dir", "./nowhere", "no-such-model", "a/b/c", "~/x"])
def test_no_such_model(name):
    error = refused(name)
    assert error.message == f"no model {name!r}"
    assert "directory" in error.hint


def test_model_that_is_a_file(tmp_path):
    (tmp_path / "model.bin").write_bytes(pickle.dumps({}))
    error = refused(tmp_path / "model.bin")
    assert "only directories and .gguf files" in error.message
    assert "pickle" in error.hint


def test_adapter_given_as_model(tiny_llama, tmp_path):
    directory = tiny_adapter(tmp_path / "adapter", tiny_llama)
    error = refused(directory)
    assert "is an adapter, not a model" in error.message
    assert f"--adapter {directory}" in error.hint


def test_directory_without_configuration(tmp_path):
    assert "has no config.json" in refused(tmp_path).message


@pytest.mark.parametrize(
    ("name", "message"),
    [("pytorch_model.bin", "only pytorch_model.bin, a pickle"), ("notes.txt", "no weights")],
)
def test_directory_without_readable_weights(tmp_path, name, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"")
    error = refused(tmp_path)
    assert message in error.message
    assert "safetensors" in error.hint


def test_hub_without_network():
    began = time.monotonic()
    error = refused("nobody/no-such-model")
    assert "cannot get model nobody/no-such-model from the hub" in error.message
    assert "local directory" in error.hint
    assert time.monotonic() - began < 5


def test_pickles_from_the_hub(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(files, "_download", lambda *_: tmp_path)
    assert "has no weights" in refused("somebody/pickles").message


def test_adapters_that_cannot_be_used(tiny_llama, tmp_path):
    def message(adapter):
        return refused(tiny_llama, str(adapter)).message

    assert message("/no/such/dir") == "no adapter '/no/such/dir'"
    assert message("nonesuch") == "no adapter 'nonesuch'"
    assert "cannot get adapter nobody/none" in message("nobody/none")
    assert "has no adapter_config.json" in message(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "is a file" in message(tmp_path / "adapter_config.json")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    error = refused(tiny_llama, str(tmp_path))
    assert "has no adapter_model.safetensors" in error.message
    assert "pickle" in error.hint


def test_found(tiny_llama, tmp_path):
    directory = tiny_adapter(tmp_path / "adapter", tiny_llama)
    bare = files.locate(str(tiny_llama), None)
    assert (bare.directory, bare.gguf_file, bare.adapter) == (tiny_llama, None, None)
    assert files.locate(str(tiny_llama), "none") == bare
    both = files.locate(str(tiny_llama), str(directory))
    assert both.adapter == directory
    assert both.fingerprint != bare.fingerprint
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    one = files.locate(str(tmp_path / "m.gguf"), None)
    assert (one.directory, one.gguf_file) == (tmp_path, "m.gguf")


# fingerprints


def flip(path, place):
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))


def test_fingerprint_follows_content_not_place(model, tiny_llama):
    before = files.fingerprint(model)
    assert before == files.fingerprint(tiny_llama)
    assert len(before) == 16
    (model / "README.md").write_text("words")
    assert files.fingerprint(model) == before
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        size = (model / name).stat().st_size
        for place in (0, size // 2, size - 1):
            flip(model / name, place)
            assert files.fingerprint(model) != before
            flip(model / name, place)
    assert files.fingerprint(model) == before
    (model / "model.safetensors").rename(model / "other.safetensors")
    assert files.fingerprint(model) != before


def test_fingerprint_of_a_large_file(tmp_path):
    size = 40 << 20  # sparse: takes no space
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.truncate(size)
    before = files.fingerprint(tmp_path)
    step = (size - (64 << 10)) // 255
    for place in (0, 1000, step, 100 * step + 500, size - (64 << 10), size - 1):
        flip(path, place)
        assert files.fingerprint(tmp_path) != before, place
        flip(path, place)
    assert files.fingerprint(tmp_path) == before
    with path.open("ab") as stream:
        stream.write(b"\0")
    assert files.fingerprint(tmp_path) != before


def test_fingerprint_of_one_file_leaves_the_others_alone(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"a")
    before = files.fingerprint(tmp_path, "a.gguf")
    (tmp_path / "b.gguf").write_bytes(b"b")
    assert files.fingerprint(tmp_path, "a.gguf") == before
