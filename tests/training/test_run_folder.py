"""The folder of a training run is cleared when nothing can be wrong any more, and not before."""

import json
import math
from dataclasses import replace

import pytest

from b2ner_cli.errors import B2nerError, OutputError, UsageError
from b2ner_cli.training import run_folder
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.recipes import Experiments, Recipe
from b2ner_cli.training.run import run
from tests.tiny import tiny_adapter
from tests.training.test_groups import row, write

SMALL = Recipe(
    rank=2, batch=2, group=2, dtype="float32", experiments=Experiments(sampled_softmax=60)
)


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
    for name in ("card.md", "run.json", "mine.txt"):
        (out / name).write_text(name)
    (out / "log.jsonl").write_text('{"step": 2, "loss": 1.5}\n')
    return out


def test_a_run_is_not_overwritten_unasked(filled):
    with pytest.raises(OutputError, match="holds a run already") as caught:
        run_folder.check(filled, resume=False, force=False)
    assert "--resume" in caught.value.hint
    before = held(filled)
    run_folder.check(filled, resume=True, force=False)
    run_folder.begin(filled, resume=True, force=False, step=2)
    assert held(filled) == before


def test_force_clears_a_run_and_what_it_left_half_made(filled):
    (filled / ".adapter.part").mkdir()
    run_folder.begin(filled, resume=False, force=True)
    assert held(filled) == {"mine.txt": b"mine.txt"}  # not ours
    run_folder.begin(filled, resume=False, force=True)  # nothing there is fine, too


MISTAKES = {
    "no data": lambda job, tmp: replace(job, data=tmp / "nowhere"),
    "no such set": lambda job, tmp: replace(job, only=["NER_en_two"]),
    "no such model": lambda job, tmp: replace(job, model=str(tmp / "no-model")),
    "no such adapter": lambda job, tmp: replace(job, from_adapter=tmp / "no-adapter"),
    "adapter of another rank": lambda job, tmp: replace(
        job, from_adapter=tiny_adapter(tmp / "start", job.model, rank=4)
    ),
    "no such layer": lambda job, tmp: replace(
        job, recipe=replace(SMALL, experiments=Experiments(first_layer=9))
    ),
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
            run_folder.check(out, resume=False, force=True)
        with pytest.raises(OutputError, match="cannot write to"):
            run_folder.begin(out, resume=False, force=True)


def test_a_resumed_run_logs_each_step_once(data, tiny_llama, tmp_path):
    out = tmp_path / "run"
    job = TrainJob(
        data, out, replace(SMALL, epochs=3.0), str(tiny_llama), device="cpu", checkpoint_every=4
    )

    def kill(step, steps, message):
        if step == 6:
            with (out / "log.jsonl").open("a") as log:
                log.write('{"step": 5, "f1": 0.5}\n{"step": 7, "lo')  # cut off
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, kill)
    run(replace(job, resume=True))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(line["loss"]) for line in lines)


def test_a_log_that_holds_no_steps(tmp_path):
    assert run_folder.read_log(tmp_path) == []
    (tmp_path / "log.jsonl").write_bytes(b'[1]\n{"step": "two"}\n\xff\n{"step": 2}\n')
    assert run_folder.read_log(tmp_path) == [{"step": 2}]
    run_folder.begin(tmp_path, resume=True, force=False, step=1)
    assert (tmp_path / "log.jsonl").read_text() == ""


# what a run notes

LINE = {"step": 3, "steps": 6, "loss": 0.5, "documents": 12, "seconds": 4.0, "learning_rate": 1e-3}


def test_scalars():
    assert run_folder.scalars(LINE) == {
        "loss": 0.5, "learning_rate": 1e-3, "documents_per_second": 3.0,
    }  # fmt: skip
    assert run_folder.scalars({"step": 3, "f1": 0.25}) == {"f1": 0.25}
    assert run_folder.scalars({**LINE, "seconds": 0.0}).keys() == {"loss", "learning_rate"}


def test_lines_and_scalars_go_out_together(tmp_path):
    added = []

    class Board:
        def add_scalar(self, name, value, step):
            added.append((name, value, step))

        def flush(self):
            added.append("flushed")

    log = run_folder.RunLog(tmp_path, Board())
    log.add(LINE)
    log.add({"step": 3, "f1": 0.25})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [LINE, {"step": 3, "f1": 0.25}]
    assert added[-2:] == [("f1", 0.25, 3), "flushed"]
    assert [name for name, *_ in added[:3]] == ["loss", "learning_rate", "documents_per_second"]


@pytest.fixture
def job(tmp_path, data, tiny_llama):
    rows = [row(f"Ann{i} sleeps", ("person", f"Ann{i}")) for i in range(4)]
    write(tmp_path / "data", "NER_en/one", train=rows, labels=["person"])
    recipe = replace(SMALL, epochs=2.0)
    return TrainJob(
        tmp_path / "data", tmp_path / "run", recipe, str(tiny_llama), device="cpu",
        checkpoint_every=2, tensorboard=True,
    )  # fmt: skip


def test_without_the_package(job, monkeypatch):
    monkeypatch.setattr(run_folder, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package tensorboard") as caught:
        run(job)
    assert caught.value.hint == "install it: pip install 'b2ner-cli[tensorboard]'"
    assert not job.out.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own reader
def test_a_run_writes_events(job):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def kill(step, steps, message):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, kill)
    run(replace(job, resume=True))
    events = EventAccumulator(str(job.out / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for name in ("loss", "learning_rate", "documents_per_second"):
        found = events.Scalars(name)
        assert [event.step for event in found] == [1, 2, 3, 4]  # step 3 once, though taken twice
        expected = [run_folder.scalars(line)[name] for line in lines]
        assert [event.value for event in found] == pytest.approx(expected, rel=1e-6)
