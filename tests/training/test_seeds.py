"""Several seeds: a run of each, their scores together."""

import csv
import json
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from b2ner_cli.errors import OutputError, UsageError
from b2ner_cli.scoring import run_scores
from b2ner_cli.scoring.prediction_folders import Run, find_runs
from b2ner_cli.training import run as training_run
from b2ner_cli.training import seeds
from b2ner_cli.training.evaluation import EvalData
from b2ner_cli.training.seeds import parse
from tests.training.test_evaluation import data, job, log_of  # noqa: F401


@pytest.fixture
def short(job, tmp_path):  # noqa: F811
    """Two steps, the last of them evaluated on one document."""
    recipe = replace(job.recipe, epochs=1.0)
    return replace(job, out=tmp_path / "runs", recipe=recipe, checkpoint_every=1)


@pytest.fixture
def scripted(monkeypatch):
    """Predictions are made up: right for the first seed, wrong for others."""
    from b2ner_cli.tagging import predict_run
    from tests.scoring.test_run_scores import GOLD, predictions

    def predict(asked, ledger):
        right = asked.folder.parent.name == "seed-23"
        predictions(asked.folder / "new", GOLD if right else "person: Ann")
        (made,) = (asked.folder / "new").iterdir()
        made.rename(asked.folder / made.name)
        (asked.folder / "new").rmdir()

    monkeypatch.setattr(predict_run, "predict", predict)


def table(out):
    with (out / "agg.csv").open(encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_seeds_are_trained_apart_and_scored_together(short, scripted):
    shown = []
    scores = seeds.run(short, (23, 33), lambda *said: shown.append(said))
    out = short.out
    for seed in (23, 33):
        record = json.loads((out / f"seed-{seed}" / "run.json").read_text())
        assert record["recipe"]["seed"] == seed
    one, other = (log_of(out / f"seed-{seed}") for seed in (23, 33))
    assert [line["loss"] for line in one if "loss" in line] != [
        line["loss"] for line in other if "loss" in line
    ]
    f1s = [1.0, pytest.approx(2 / 3)]
    assert scores.spreads("paper", "eval-2")["NER_en_one"].values == tuple(f1s)
    header, first, *_ = table(out)
    assert header == ["step", "name", "mean", "deviation", "seed-23", "seed-33"]
    assert first[:2] == ["eval-2", "NER_en_one"]
    numbers = [float(cell) for cell in first[2:]]
    assert numbers == pytest.approx([fmean((1, 2 / 3)), stdev((1, 2 / 3)), 1, 2 / 3])
    assert run_scores.table_rows(scores, "paper")[1] == ("NER_en_one", "83.33 ± 23.57")
    assert [step for step, *_ in shown] == [1, 2, 1, 2]
    assert shown[2][2].startswith("seed-33, 2 of 2: loss ")
    # the same numbers as of the runs named one by one
    again = run_scores.score_runs(find_runs([out]), run_scores.ScoreJob(("paper",)))
    assert again.as_dict() == scores.as_dict()


def test_resume_goes_on_in_the_right_seed(short, scripted, monkeypatch):
    class Killed(Exception):
        pass

    def kill(step, steps, message):
        if (step, message[:7]) == (2, "seed-33"):
            raise Killed

    with pytest.raises(Killed):
        seeds.run(short, (23, 33, 34), kill)
    assert not (short.out / "agg.csv").exists()
    before = (short.out / "seed-23" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    shown = []
    resumed = replace(short, resume=True)
    seeds.run(resumed, (23, 33, 34), lambda *said: shown.append(said))
    assert [(step, said[:7]) for step, _, said in shown] == [
        (2, "seed-33"), (1, "seed-34"), (2, "seed-34"),
    ]  # fmt: skip
    adapter = short.out / "seed-23" / "adapter" / "adapter_model.safetensors"
    assert adapter.stat().st_mtime_ns == before
    assert len(table(short.out)[0]) == 4 + 3
    shown.clear()
    seeds.run(resumed, (23, 33, 34), lambda *said: shown.append(said))
    assert not shown


def test_resume_of_another_recipe(short, scripted):
    seeds.run(short, (23,))
    other = replace(short, resume=True, recipe=replace(short.recipe, learning_rate=1e-3))
    with pytest.raises(UsageError, match="seed-23 has another recipe"):
        seeds.run(other, (23,))
    less = replace(short, resume=True, recipe=replace(short.recipe, micro_batch=2))
    seeds.run(less, (23,))  # decides nothing


def test_nothing_is_trained_when_a_later_folder_is_taken(short, monkeypatch):
    monkeypatch.setattr(training_run, "run", lambda each, show: pytest.fail("trained"))
    (short.out / "seed-33").mkdir(parents=True)
    (short.out / "seed-33" / "card.md").touch()
    with pytest.raises(OutputError, match="seed-33 holds a run already"):
        seeds.run(short, (23, 33))
    (short.out / "agg.csv").touch()
    with pytest.raises(OutputError, match=r"several seeds already \(agg.csv\)"):
        seeds.run(short, (34,))


def test_scores_at_the_end_where_no_epoch_was_scored(short, data, scripted):  # noqa: F811
    short = replace(short, evaluation=None, heldout=data)
    scores = seeds.run(short, (23, 33))
    assert scores.steps == ("",)
    assert [row[:2] for row in table(short.out)[1:2]] == [["", "NER_en_one"]]


def test_without_anything_to_score_there_is_no_table(short):
    assert seeds.run(replace(short, evaluation=None), (23,)) is None
    assert not (short.out / "agg.csv").exists()


def test_epochs_stand_together_where_seeds_took_other_numbers_of_steps(tmp_path):
    runs = [
        Run("seed-1", {"eval-2": tmp_path / "a", "eval-4": tmp_path / "b"}),
        Run("seed-2", {"eval-3": tmp_path / "c", "eval-6": tmp_path / "d"}),
    ]
    together = seeds._together(runs)
    assert [list(run.steps) for run in together] == [["eval-1", "eval-2"]] * 2
    assert together[1].steps["eval-2"] == tmp_path / "d"
    assert seeds._together(runs[:1]) == (runs[0],)


def test_lists_of_seeds():
    assert parse("23, 33,34") == (23, 33, 34)
    for value in ("", "23,", "a", "-1", "1.5", "²"):
        with pytest.raises(UsageError, match="not a list of seeds"):
            parse(value)
    with pytest.raises(UsageError, match="twice"):
        parse("23,33,23")


def test_limit_and_split_reach_every_seed(short, data, scripted):  # noqa: F811
    wanted = EvalData(data, "test", 1)
    seeds.run(replace(short, evaluation=wanted), (23,))
    record = json.loads((short.out / "seed-23" / "run.json").read_text())
    assert (record["evaluated"]["split"], record["evaluated"]["limit"]) == ("test", 1)
