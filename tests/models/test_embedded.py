"""The embedded models are made ready once, from the parts that packages bring, or refused."""

import hashlib
import importlib.util
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from b2ner_cli.errors import ModelError
from b2ner_cli.models import embedded, files, loading
from b2ner_cli.models.embedded import EMBEDDED, Embedded
from tests.tiny import tiny_gguf

MINI = EMBEDDED["mini"]
READY = {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a tiny GGUF file."""
    pytest.importorskip("gguf")
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    tiny_gguf(path)
    return path.read_bytes()


@pytest.fixture
def model(tmp_path, monkeypatch, whole):
    """An entry of the table whose two packages are there, and an empty cache."""
    packages = (f"{tmp_path.name}_part1", f"{tmp_path.name}_part2")  # other ones in each test
    half = len(whole) // 2
    for number, part in enumerate((whole[:half], whole[half:]), 1):
        data = tmp_path / "packages" / packages[number - 1] / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"m.gguf.part{number}").write_bytes(part)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("B2NER_CACHE_DIR", str(tmp_path / "cache"))
    sha256 = hashlib.sha256(whole).hexdigest()
    return Embedded("tiny", sha256, packages, ("tiny",), "no_adapter", "1 MB", "install it")


def unprepared(model, tmp_path):
    with pytest.raises(ModelError) as caught:
        model.directory()
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-made stays
    return caught.value


def test_made_ready_once_and_loaded_from_there(model, tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDED, "tiny", model)
    source = files.locate("tiny", None)
    assert source.fingerprint == f"{model.sha256}+none"
    ready = source.directory
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in ready.iterdir()
    }
    assert not list(ready.glob("*.gguf"))
    assert list((tmp_path / "cache").iterdir()) == [ready]
    assert {t.dtype for t in load_file(ready / "model.safetensors").values()} == {torch.float32}
    monkeypatch.setattr(embedded, "_dequantise", None)  # never again
    loaded = loading.load("tiny", "none", device="cpu", dtype="float32")
    (ids,) = loaded.tokenizer.encode(["a </s>é"])
    assert loaded.tokenizer.eos not in ids
    assert loaded.tokenizer.decode(ids) == "a </s>é"


def test_two_prepare_at_once(model, tmp_path, monkeypatch):
    def made(work):
        (work / "config.json").write_text("second")
        other = work.with_name(f"tiny-{model.sha256[:16]}")
        other.mkdir()
        (other / "config.json").write_text("first")

    monkeypatch.setattr(embedded, "_dequantise", made)
    ready = model.directory()
    assert (ready / "config.json").read_text() == "first"
    assert list(ready.parent.iterdir()) == [ready]


def test_damaged_part(model, tmp_path, whole):
    with (tmp_path / f"packages/{model.packages[1]}/data/m.gguf.part2").open("ab") as part:
        part.write(b"x")
    error = unprepared(model, tmp_path)
    assert hashlib.sha256(whole + b"x").hexdigest() in error.message
    assert error.hint.endswith(f"--no-deps {' '.join(model.packages)}".replace("_", "-"))


def test_missing_package(model, tmp_path):
    error = unprepared(replace(model, packages=(*model.packages, "no_such_part")), tmp_path)
    assert (error.message, error.hint) == ("the embedded model is not installed", "install it")


def test_package_without_its_data(model, tmp_path):
    (tmp_path / f"packages/{model.packages[1]}/data/m.gguf.part2").unlink()
    assert "part2 holds 0 data files" in unprepared(model, tmp_path).message


def test_missing_gguf_package(model, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "gguf" else find(n))
    assert "needs the gguf package" in unprepared(model, tmp_path).message


def test_cache_that_cannot_be_written(model, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("B2NER_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot prepare tiny") as caught:
        model.directory()
    assert "1 MB; choose another place with B2NER_CACHE_DIR" in caught.value.hint


def test_the_table_is_about_what_this_package_ships():
    for name, entry in EMBEDDED.items():
        assert entry.name == name
        assert entry.adapter_directory() is not None
        assert files.base_of(entry.adapter_directory()) == (name, None)


# the real one


@pytest.mark.mini
def test_mini_loads():
    answering = loading.load("mini", "none", device="cpu", dtype="float32")
    assert answering.source.fingerprint == f"{MINI.sha256}+none"
    (ids,) = answering.tokenizer.encode(["<eos>北京 </s>"])
    assert answering.tokenizer.eos not in ids
    assert answering.tokenizer.decode(ids) == "<eos>北京 </s>"


@pytest.mark.slow
@pytest.mark.mini
def test_mini_from_scratch(tmp_path, monkeypatch):
    if importlib.util.find_spec(MINI.packages[0]) is None:
        pytest.skip("the embedded model is not installed")
    monkeypatch.setenv("B2NER_CACHE_DIR", str(tmp_path))
    ready = MINI.directory()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in ready.iterdir()
    }
    assert list(tmp_path.iterdir()) == [ready]
    shutil.rmtree(ready)  # a gigabyte
