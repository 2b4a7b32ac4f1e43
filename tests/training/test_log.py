"""What a run notes: lines, and events that TensorBoard reads."""

import json
from dataclasses import replace

import pytest

from b2ner_cli.errors import UsageError
from b2ner_cli.training import log as training_log
from b2ner_cli.training.recipes import Recipe
from b2ner_cli.training.run import TrainJob, run
from tests.training.test_groups import row, write

LINE = {"step": 3, "steps": 6, "loss": 0.5, "documents": 12, "seconds": 4.0, "learning_rate": 1e-3}


def test_scalars():
    assert training_log.scalars(LINE) == {
        "loss": 0.5, "learning_rate": 1e-3, "documents_per_second": 3.0,
    }  # fmt: skip
    assert training_log.scalars({"step": 3, "f1": 0.25}) == {"f1": 0.25}
    assert training_log.scalars({**LINE, "seconds": 0.0}).keys() == {"loss", "learning_rate"}


def test_lines_and_scalars_go_out_together(tmp_path):
    added = []

    class Board:
        def add_scalar(self, name, value, step):
            added.append((name, value, step))

        def flush(self):
            added.append("flushed")

    log = training_log.Log(tmp_path, Board())
    log.add(LINE)
    log.add({"step": 3, "f1": 0.25})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [LINE, {"step": 3, "f1": 0.25}]
    assert added[-2:] == [("f1", 0.25, 3), "flushed"]
    assert [name for name, *_ in added[:3]] == ["loss", "learning_rate", "documents_per_second"]


@pytest.fixture
def job(tmp_path, tiny_llama):
    rows = [row(f"Ann{i} sleeps", ("person", f"Ann{i}")) for i in range(4)]
    write(tmp_path / "data", "NER_en/one", train=rows, labels=["person"])
    recipe = Recipe(rank=2, batch=2, group=2, dtype="float32", candidates=60, epochs=2)
    return TrainJob(
        tmp_path / "data", tmp_path / "run", recipe, str(tiny_llama), device="cpu",
        checkpoint_every=2, tensorboard=True,
    )  # fmt: skip


def test_without_the_package(job, monkeypatch):
    monkeypatch.setattr(training_log, "find_spec", lambda name: None)
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
        expected = [training_log.scalars(line)[name] for line in lines]
        assert [event.value for event in found] == pytest.approx(expected, rel=1e-6)
