"""The folder of a training run is cleared when nothing can be wrong any more, and not before."""

import json
from dataclasses import replace

import pytest

from b2ner_cli import training_folder
from b2ner_cli.errors import B2nerError, OutputError, UsageError
from b2ner_cli.recipes import Recipe
from b2ner_cli.training_run import TrainJob, run
from tests.test_corpus import row, write
from tests.tiny import tiny_adapter

SMALL = Recipe(rank=2, batch=2, group=2, dtype="float32", candidates=60)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rows = [row(f"Ann{i} sleeps", ("person", f"Ann{i}")) for i in range(4)]
    write(root, "NER_en/one", train=rows, test=rows, labels=["person"])
    return root


def held(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def filled(tmp_path):
    """A folder that looks as a finished run leaves it."""
    out = tmp_path / "run"
    for name in ("adapter/adapter_model.safetensors", "checkpoints/step-000002/state.safetensors"):
        (out / name).parent.mkdir(parents=True)
        (out / name).write_bytes(name.encode())
    for name in ("card.md", "run.json", "log.jsonl", "mine.txt"):
        (out / name).write_text(name)
    return out


def test_a_run_is_not_overwritten_unasked(filled):
    with pytest.raises(OutputError, match="holds a run already") as caught:
        training_folder.check(filled, resume=False, force=False)
    assert "--resume" in caught.value.hint
    before = held(filled)
    training_folder.check(filled, resume=True, force=False)
    training_folder.begin(filled, resume=True, force=False)
    assert held(filled) == before


def test_force_clears_a_run_and_what_it_left_half_made(filled):
    (filled / ".adapter.part").mkdir()
    training_folder.begin(filled, resume=False, force=True)
    assert held(filled) == {"mine.txt": b"mine.txt"}  # not ours
    training_folder.begin(filled, resume=False, force=True)  # nothing there is fine, too


MISTAKES = {
    "no data": lambda job, tmp: replace(job, data=tmp / "nowhere"),
    "no such set": lambda job, tmp: replace(job, only=["NER_en_two"]),
    "no such model": lambda job, tmp: replace(job, model=str(tmp / "no-model")),
    "no such adapter": lambda job, tmp: replace(job, from_adapter=tmp / "no-adapter"),
    "adapter of another rank": lambda job, tmp: replace(
        job, from_adapter=tiny_adapter(tmp / "start", job.model, rank=4)
    ),
    "no such layer": lambda job, tmp: replace(job, recipe=replace(SMALL, first_layer=9)),
    "no such device": lambda job, tmp: replace(job, device="cuda:99"),
    "no held-out sets": lambda job, tmp: replace(job, heldout=tmp / "nowhere"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_force_with_a_mistake_leaves_the_run(filled, tmp_path, data, tiny_llama, mistake):
    before = held(filled)
    job = TrainJob(data, filled, SMALL, str(tiny_llama), force=True, device="cpu")
    wrong = MISTAKES[mistake](job, tmp_path)
    with pytest.raises(B2nerError):
        run(wrong)
    assert held(filled) == before
    with pytest.raises(B2nerError):
        run(replace(wrong, out=tmp_path / "new", force=False))
    assert not (tmp_path / "new").exists()


def test_force_without_a_mistake_replaces_the_run(filled, data, tiny_llama):
    run(TrainJob(data, filled, SMALL, str(tiny_llama), force=True, device="cpu"))
    assert json.loads((filled / "run.json").read_text())["steps"] == 2
    assert not (filled / "checkpoints").exists()  # those of the old run would be gone on from
    assert (filled / "mine.txt").exists()


def test_what_the_run_reads_is_not_cleared(filled, data, tiny_llama):
    before = held(filled)
    job = TrainJob(data, filled, SMALL, str(tiny_llama), force=True, device="cpu")
    with pytest.raises(UsageError, match=r"adapter is read by this run, and --force") as caught:
        run(replace(job, from_adapter=filled / "adapter"))
    assert "another folder" in caught.value.hint
    assert held(filled) == before


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match=r"cannot write to .*file is a file"):
            training_folder.check(out, resume=False, force=True)
        with pytest.raises(OutputError, match="cannot write to"):
            training_folder.begin(out, resume=False, force=True)
