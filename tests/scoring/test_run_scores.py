import json
from dataclasses import replace

import pytest

from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats.predictions import FILE_NAME, PredictionRecord, encode
from b2ner_cli.scoring.prediction_folders import find_runs
from b2ner_cli.scoring.run_scores import Spread, as_dict, score_runs, table_rows
from b2ner_cli.scoring.scored_documents import ScoreJob

RECORD = PredictionRecord(
    "NER", "one", "en", "0", "Ann met Bob", "\nLabel Set: person, city \n\n", "", ""
)
GOLD = "person: Ann; person: Bob"
PAPER = ScoreJob(("paper",))


def predictions(folder, *answers, **changes):
    folder.mkdir(parents=True)
    record = replace(RECORD, gold=GOLD, **changes)
    records = (replace(record, predicted=answer) for answer in answers)
    (folder / FILE_NAME).write_bytes(b"".join(map(encode, records)))


@pytest.fixture
def seeds(tmp_path):
    predictions(tmp_path / "seeds/23", GOLD)
    predictions(tmp_path / "seeds/33", "person: Ann")
    return tmp_path / "seeds"


@pytest.fixture
def steps(tmp_path):
    for seed, answers in {"23": ("None", GOLD), "33": ("person: Ann", "person: Ann")}.items():
        for step, answer in enumerate(answers):
            predictions(tmp_path / f"run/{seed}/eval-{step}", answer)
    return tmp_path / "run"


def test_seeds_are_averaged_with_their_deviation(seeds):
    scores = score_runs(find_runs([seeds]), PAPER)
    assert scores.single is None
    assert table_rows(scores, "paper") == [
        ("paper", "mean", "deviation", "23", "33"),
        ("NER_en_one", "83.33", "23.57", "100.00", "66.67"),
        ("NER_en average", "83.33", "23.57", "100.00", "66.67"),
        ("overall average", "83.33", "23.57", "100.00", "66.67"),
    ]
    found = json.loads(json.dumps(scores.as_dict()))
    assert list(found["runs"]) == ["23", "33"]
    assert found["runs"]["33"][""]["datasets"]["NER_en_one"]["recall"] == 0.5
    assert found["spread"]["paper"][""]["overall average"] == {
        "mean": pytest.approx(5 / 6),
        "deviation": pytest.approx(0.2357, abs=1e-4),
        "least": pytest.approx(2 / 3),
        "most": 1.0,
        "values": [1.0, pytest.approx(2 / 3)],
    }
    assert scores.f1 == pytest.approx(5 / 6)


def test_steps_stand_side_by_side(steps):
    one = score_runs(find_runs([steps / "23"]), PAPER)
    assert table_rows(one, "paper")[:2] == [
        ("paper", "eval-0", "eval-1"),
        ("NER_en_one", "0.00", "100.00"),
    ]
    assert one.f1 == 1.0  # of the last step
    both = score_runs(find_runs([steps]), PAPER)
    assert table_rows(both, "paper")[1] == ("NER_en_one", "33.33 ± 47.14", "83.33 ± 23.57")


def test_report_files_of_one_run_of_steps_and_of_seeds(tmp_path, seeds, steps):
    score_runs(find_runs([seeds / "23"]), ScoreJob(("strict",)), tmp_path / "one")
    assert files(tmp_path / "one") == {"report/NER_en/one.json", "report/report_NER_en.tsv"}
    run = score_runs(find_runs([steps / "23"]), PAPER, tmp_path / "steps")
    assert run.metrics == ("paper",)
    assert files(tmp_path / "steps") == {
        "agg.csv",
        *(f"eval-{n}/report/{name}" for n in (0, 1) for name in files(tmp_path / "one/report")),
    }
    assert (tmp_path / "steps/agg.csv").read_text() == (
        "epoch,0,1\nNER_en_one,0.0,1.0\nNER_en_Average,0.0,1.0\nAverage,0.0,1.0\n"
    )
    score_runs(find_runs([steps]), PAPER, tmp_path / "all")
    assert {"seeds.csv", "23/agg.csv", "33/agg.csv"} < files(tmp_path / "all")
    rows = (tmp_path / "all/seeds.csv").read_text().splitlines()
    assert rows[0] == "step,name,mean,deviation,23,33"
    assert rows[1].startswith("eval-0,NER_en_one,0.333333")


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_reports_leave_the_metrics_as_asked(tmp_path, seeds):
    scores = score_runs(find_runs([seeds / "33"]), ScoreJob(("strict",)), tmp_path / "out")
    assert list(scores.single) == ["strict"]
    assert as_dict(scores.single)["metric"] == "strict"


def test_both_metrics_in_one_object(seeds):
    found = as_dict(score_runs(find_runs([seeds / "33"]), ScoreJob(("strict", "paper"))).single)
    assert found["metric"] == "both"
    assert found["strict"]["metric"] == "strict"
    assert found["paper"]["averages"]["overall"] == pytest.approx(2 / 3)


def test_runs_of_other_data_sets_are_not_averaged(tmp_path, seeds):
    predictions(tmp_path / "other", GOLD, dataset="two")
    scores = score_runs(find_runs([seeds / "23", tmp_path / "other"]), PAPER)
    with pytest.raises(InputError, match="not the same data sets as in 23: NER_en_one is in one"):
        table_rows(scores, "paper")


def test_errors_are_of_one_file(tmp_path, seeds):
    with pytest.raises(UsageError, match="one file of predictions, not of 2"):
        score_runs(find_runs([seeds]), ScoreJob(("paper",), errors=tmp_path / "errors.jsonl"))


def test_reports_are_of_prediction_files(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text('{"id": "1", "text": "Ann", "entities": []}\n')
    with pytest.raises(UsageError, match="of their prediction files alone"):
        score_runs(find_runs([path]), ScoreJob(gold=path), tmp_path / "out")


def test_one_value_has_no_deviation():
    assert (Spread((0.5,)).mean, Spread((0.5,)).deviation) == (0.5, 0.0)
