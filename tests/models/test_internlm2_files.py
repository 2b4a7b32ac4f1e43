"""Directories in InternLM2's layout that are damaged, and whole ones through the command line."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from b2ner_cli.errors import ModelError
from b2ner_cli.models import loading
from tests.internlm2 import BASE, FIXTURE
from tests.scripted import Shell

SHARD = "model-00006-of-00010.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path):
    """A good model of one's own, to be spoilt."""
    return shutil.copytree(BASE, tmp_path / "model")


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def cut_header(path):
    path.write_bytes(path.read_bytes()[:50])


def remove(path):
    path.unlink()


def place_elsewhere(path):
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = SHARD
    path.write_text(json.dumps(index))


def name_a_stranger(path):
    index = json.loads(path.read_text())
    index["weight_map"]["model.layers.7.attention.wo.weight"] = SHARD
    path.write_text(json.dumps(index))


def leave_one_out(path):
    index = json.loads(path.read_text())
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index))


def point_outside(path):
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "../secret.safetensors"
    path.write_text(json.dumps(index))


def empty(path):
    path.write_text("{}")


BAD = [
    (SHARD, cut, "is damaged or cut off", "get the file again"),
    (SHARD, cut_header, "is damaged or cut off", "get the file again"),
    (SHARD, remove, "is missing; it holds 2 of the model's 17 tensors", "get the file again"),
    (INDEX, empty, "has no weight_map", "get the file again"),
    (INDEX, lambda path: path.write_text("{"), "cannot read", "get the file again"),
    (INDEX, place_elsewhere, f"model.norm.weight is in {SHARD}; it is in model-00010", "index"),
    (INDEX, name_a_stranger, "it is in none of its files", "index"),
    (INDEX, point_outside, "is missing", "get the file again"),
    ("tokenizer.model", remove, "tokenizer.model", ""),
    ("tokenizer.model", cut, "tokenizer.model", ""),
    ("config.json", remove, "has no config.json", "causal LM"),
    ("config.json", lambda path: path.write_text("{"), "config.json", "again"),
]


@pytest.mark.parametrize(
    ("name", "spoil", "message", "hint"), BAD, ids=lambda v: getattr(v, "__name__", str(v))[:40]
)
def test_damage_is_named_with_what_to_do(model, name, spoil, message, hint):
    spoil(model / name)
    with pytest.raises(ModelError) as caught:
        loading.load(str(model), str(FIXTURE / "adapter"), device="cpu", dtype="float32")
    assert message in caught.value.message
    assert str(model) in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.hint


def test_weights_that_no_file_has(model):
    leave_one_out(model / INDEX)
    index = json.loads((model / INDEX).read_text())["weight_map"]
    from safetensors.torch import load_file, save_file

    shard = model / "model-00010-of-00010.safetensors"
    tensors = load_file(shard)
    del tensors["model.norm.weight"]
    save_file(tensors, shard, metadata={"format": "pt"})
    assert "model.norm.weight" not in index
    with pytest.raises(ModelError, match=r"no weights for model\.norm\.weight"):
        loading.load(str(model), "none", device="cpu", dtype="float32")


def test_weights_of_another_shape(model):
    config = json.loads((model / "config.json").read_text()) | {"num_key_value_heads": 1}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"wqkv\.weight is \(128, 64\) in .*, but \(96, 64\)"):
        loading.load(str(model), "none", device="cpu", dtype="float32")


def test_pickles_alone(tmp_path):
    model = shutil.copytree(BASE, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors*"))
    torch.save({}, model / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(ModelError, match=r"has only pytorch_model-00001-of-00002\.bin, a pickle"):
        loading.load(str(model), "none")


# the command line


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"id": 1, "text": "Ann Lee met Bob in Rome ."}\n')
    return Shell(tmp_path)


def run(shell, *arguments):
    """The exit code, stdout as text, and stderr."""
    done = shell.run(arguments)
    return SimpleNamespace(code=done.code, out=done.out.decode(), err=done.err)


def tag(shell, *options):
    return run(shell, "tag", "docs.jsonl", "-l", "person, city", "--max-answer", "8", *options)


def test_tag_with_the_checkpoint_and_its_adapter(shell):
    options = ("--model", BASE, "--adapter", FIXTURE / "adapter", "--dtype", "float32", "-v")
    done = tag(shell, *options)
    assert (done.code, done.err.count("Warning")) == (0, 0)
    (record,) = [json.loads(line) for line in done.out.splitlines()]
    assert record["text"] == "Ann Lee met Bob in Rome ."
    assert "entities" in record
    assert "Loading" not in done.err  # no bars and reports of the library
    again = tag(shell, *options, "--no-cache", "--engine", "plain")
    assert again.out == done.out


def test_refused_before_any_document_is_read(shell, model):
    cut(model / SHARD)
    (shell.folder / "docs.jsonl").write_text("not a record\n")
    done = tag(shell, "--model", model)
    assert (done.code, done.out) == (2, "")
    assert "is damaged or cut off" in done.err
    assert "docs.jsonl" not in done.err


def test_dry_run_needs_no_weights(shell, tmp_path):
    model = shutil.copytree(BASE, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    done = tag(shell, "--model", model, "--dry-run")
    assert done.code == 0, done.err
    assert "Label Set: person, city" in done.out


def test_model_info_and_convert(shell):
    done = run(shell, "model", "info", BASE, "--adapter", FIXTURE / "adapter", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["parameters"] == 151_872
    done = run(shell, "model", "info", BASE)
    assert "architecture  internlm2 on LlamaForCausalLM" in done.out
    command = ["model", "convert", FIXTURE / "adapter", "a", "--model", BASE, "--merged", "m"]
    done = run(shell, *command)
    assert (done.code, done.out) == (0, "")
    assert "2 layers of it now 6 of Llama's" in done.err
    merged = tag(shell, "--model", "m", "--dtype", "float32", "-q")
    adapted = tag(shell, "--model", BASE, "--adapter", "a", "--dtype", "float32", "-q")
    assert merged.out == adapted.out != ""
    done = run(shell, *command)
    assert done.code == 2
    assert "a exists" in done.err
