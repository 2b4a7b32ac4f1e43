"""After each epoch the adapter answers a data set; the training does not notice."""

import gc
import json
import os
import shutil
import signal
import warnings
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from b2ner_cli.errors import DataError, OutputError, UsageError
from b2ner_cli.formats.predictions import FILE_NAME
from b2ner_cli.scoring import prediction_folders
from b2ner_cli.tagging import predict_run
from b2ner_cli.training import run as training_run
from b2ner_cli.training.evaluation import EvalData
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.recipes import Experiments, Recipe
from b2ner_cli.training.run import run
from tests.scoring.predicted import evaluate
from tests.training.test_groups import row, write

RECIPE = Recipe(
    rank=2, alpha=4, dropout=0.1, batch=2, group=2, dtype="float32", epochs=2.5,
    learning_rate=1e-2, experiments=Experiments(sampled_softmax=60),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rows = [row(f"Ann{i} sleeps", ("person", f"Ann{i}")) for i in range(4)]
    write(root, "NER_en/one", train=rows, dev=rows[:1], test=rows[:2], labels=["person"])
    return root


@pytest.fixture(scope="module")
def job(data, tiny_llama):
    """Two steps an epoch, five in all."""
    return TrainJob(
        data, data / "run", RECIPE, str(tiny_llama), device="cpu", checkpoint_every=5,
        evaluation=EvalData(data),
    )  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(job, tmp_path_factory):
    """A run whose adapter was evaluated after each epoch, and what was shown meanwhile."""
    out = tmp_path_factory.mktemp("runs") / "evaluated"
    shown = []
    before = process()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training_run, "keep_freed_memory", lambda: pytest.fail("allocator"))
        run(replace(job, out=out), lambda step, steps, message: shown.append((step, message)))
    return out, shown, before, process()


def process():
    """What a run might leave changed in the process that called it."""
    states = (AcceleratorState, PartialState, GradientState)
    return {
        "random numbers": torch.get_rng_state().tolist(),
        "accelerate": [dict(state._shared_state) for state in states],
        "collector": (gc.get_threshold(), gc.get_freeze_count()),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
    }


def log_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out):
    return load_file(out / "checkpoints" / "step-000005" / "state.safetensors")


def test_predictions_of_each_epoch_are_what_eval_reads(evaluated):
    out, *_ = evaluated
    (found,) = prediction_folders.find_runs([out])
    assert list(found.steps) == ["eval-2", "eval-4", "eval-5"]
    for folder in found.steps.values():
        lines = (folder / FILE_NAME).read_text().splitlines()
        assert len(lines) == 1
        assert list(json.loads(lines[0]))[:5] == [
            "Task", "Dataset", "Language", "Instance", "Prediction",
        ]  # fmt: skip
        assert (folder / "adapter" / "run.json").is_file()


def test_f1_is_in_the_log_in_the_progress_and_in_the_record(evaluated):
    out, shown, *_ = evaluated
    lines = [line for line in log_of(out) if "f1" in line]
    assert [line["step"] for line in lines] == [2, 4, 5]
    for line in lines:
        report = evaluate(out / f"eval-{line['step']}", "paper").as_dict()
        assert line["f1"] == report["averages"]["overall"]
        assert line["f1_of_sets"] == {"NER_en_one": line["f1"]}
    assert ["F1" in message for _, message in shown] == [False, False, True, True, True]
    assert f", F1 {100 * lines[0]['f1']:.1f} at step 2, " in shown[2][1]
    record = json.loads((out / "run.json").read_text())
    assert record["evaluated"] == {
        "data": record["evaluated"]["data"], "split": "dev",
        "f1": {str(line["step"]): line["f1"] for line in lines},
    }  # fmt: skip


def test_the_last_epochs_adapter_is_the_runs(evaluated):
    out, *_ = evaluated
    name = "adapter_model.safetensors"
    last, final = (out / folder / name for folder in ("eval-5/adapter", "adapter"))
    assert last.read_bytes() == final.read_bytes()
    assert (out / "eval-2/adapter" / name).read_bytes() != final.read_bytes()


def test_training_ends_the_same_without_it(evaluated, job, tmp_path):
    run(replace(job, out=tmp_path, evaluation=None))
    expected, got = weights(tmp_path), weights(evaluated[0])
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert losses == [line["loss"] for line in log_of(evaluated[0]) if "loss" in line]


@pytest.mark.parametrize("killed", ["before it", "in it", "after it"])
def test_a_resumed_run_does_not_do_it_twice(evaluated, job, tmp_path, monkeypatch, killed):
    class Killed(Exception):
        pass

    done = []
    job = replace(job, out=tmp_path)

    def counted(asked, ledger):
        if killed == "in it" and not done:
            done.append("killed")
            raise Killed
        shutil.copy(evaluated[0] / asked.folder.name / FILE_NAME, asked.folder)
        done.append(asked.folder.name)

    def show(step, steps, message):
        if (step, killed) in ((2, "before it"), (3, "after it")):
            raise Killed

    monkeypatch.setattr(predict_run, "predict", counted)
    with pytest.raises(Killed):
        run(job, show)
    steps = []
    run(replace(job, resume=True), lambda step, steps_, message: steps.append(step))
    assert [name for name in done if name != "killed"] == ["eval-2", "eval-4", "eval-5"]
    assert steps == ([1, 2, 3, 4, 5] if killed == "before it" else [3, 4, 5])
    assert [line["step"] for line in log_of(tmp_path) if "f1" in line] == [2, 4, 5]
    expected, got = weights(evaluated[0]), weights(tmp_path)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_what_was_predicted_belongs_to_the_run(evaluated, job, tmp_path):
    (tmp_path / "eval-7").mkdir()
    (tmp_path / "eval-mine").mkdir()
    job = replace(job, out=tmp_path, recipe=replace(RECIPE, epochs=0.5))
    with pytest.raises(OutputError, match="eval-7"):
        run(job)
    run(replace(job, force=True))
    assert sorted(path.name for path in tmp_path.glob("eval-*")) == ["eval-1", "eval-mine"]


def test_scores_at_the_end_stand_beside_them(evaluated, data, job, tmp_path):
    recipe = replace(RECIPE, epochs=0.5)
    run(
        replace(
            job, out=tmp_path, recipe=recipe, heldout=data, evaluation=EvalData(data, "test", 1)
        )
    )
    (found,) = prediction_folders.find_runs([tmp_path])
    assert list(found.steps) == ["eval-1"]
    assert found.note.endswith("steps are scored; left out: heldout")
    assert len((tmp_path / "eval-1" / FILE_NAME).read_text().splitlines()) == 1
    assert json.loads((tmp_path / "run.json").read_text())["evaluated"]["limit"] == 1


def test_mistakes_come_out_before_training(job, tmp_path):
    write(tmp_path, "NER_en/two", train=[row("Bob")], labels=["person"])
    with pytest.raises(DataError, match="has a dev split") as caught:
        run(replace(job, out=tmp_path / "run", evaluation=EvalData(tmp_path)))
    assert "--eval-split" in caught.value.hint
    with pytest.raises(DataError, match="nowhere"):
        run(replace(job, out=tmp_path / "run", evaluation=EvalData(tmp_path / "nowhere")))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="no split 'tests'"):
        EvalData(tmp_path, "tests")


def test_a_run_leaves_the_process_as_it_was(evaluated):
    _, _, before, after = evaluated
    assert {name: value for name, value in after.items() if value != before[name]} == {}
