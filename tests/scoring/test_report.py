"""Reports: averages, JSON, notes, and the file of errors."""

import json

import pytest

from b2ner_cli.errors import UsageError
from tests.scoring.predicted import ANN, FOUND, GOLD, evaluate, five_sets, jsonl


@pytest.mark.parametrize("metric", ["paper", "strict"])
def test_averages_of_the_authors_tables(tmp_path, metric):
    report = evaluate(five_sets(tmp_path / "p.jsonl"), metric=metric).as_dict()
    assert list(report["datasets"]) == [
        "NER_en_one",
        "NER_en_Two",
        "NER_zh_math-junior",
        "NER_zh_one",
        "NER_zh_two",
    ]
    if metric == "paper":
        means = {name: round(mean, 4) for name, mean in report["averages"].items()}
        assert means == {"NER_en": 0.75, "NER_zh": 0.8333, "overall": 0.7917}
        assert report["datasets"]["NER_zh_math-junior"]["f1"] == 0.0


def test_report_as_json(tmp_path):
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", FOUND), gold=jsonl(tmp_path / "gold.jsonl", GOLD)
    )
    third = pytest.approx(1 / 3)
    line = {"f1": third, "precision": third, "recall": third, "tp": 1, "fp": 2, "fn": 2}
    two = {name: pytest.approx(2 / 3) for name in ("f1", "precision", "recall")}
    city = {"f1": 0.0, "precision": 0.0, "recall": 0.0, "tp": 0, "fp": 0, "fn": 1, "support": 1}
    person = {
        "f1": pytest.approx(0.4),
        "precision": third,
        "recall": 0.5,
        "tp": 1,
        "fp": 2,
        "fn": 1,
        "support": 2,
    }
    assert json.loads(json.dumps(report.as_dict())) == {
        "metric": "strict",
        "labels": "as given",
        "datasets": {
            "docs": {
                **line,
                "support": 3,
                "labels": {"person": person, "city": city},
                "boundary": {**two, "tp": 2, "fp": 1, "fn": 1, "support": 3},
                "type": {**two, "tp": 2, "fp": 1, "fn": 1, "support": 3},
                "mentions": 4,
                "unlocated": 0.25,
                "invalid_labels": None,
                "missing": [],
                "named_right": 0.5,
                "errors": {
                    "missed": 0,
                    "invented": 0,
                    "wrong_label": 1,
                    "wrong_boundary": 1,
                    "not_in_text": 1,
                    "not_in_labels": None,
                },
                "confusion": {
                    "person": {"person": 1, "(none)": 1},
                    "city": {"person": 1},
                    "(none)": {"person": 1},
                },
            }
        },
        "averages": {"overall": third},
        "macro": pytest.approx(0.2),
        "notes": [],
    }
    assert report.f1 == third


def test_paper_metric_on_documents_has_no_spans(tmp_path):
    lower = {
        **GOLD,
        "entities": [{**each, "label": each["label"].upper()} for each in GOLD["entities"]],
    }
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", lower),
        gold=jsonl(tmp_path / "gold.jsonl", GOLD),
        metric="paper",
    ).as_dict()
    assert report["averages"] == {"overall": 1.0}
    assert report["datasets"]["docs"]["boundary"] is None


def test_gold_without_offsets_is_placed_by_name(tmp_path):
    gold = {**GOLD, "entities": [{"label": "person", "text": name} for name in ("Bob", "Carl")]}
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", GOLD), gold=jsonl(tmp_path / "gold.jsonl", gold)
    )
    assert report.data_sets[0].scores.total.tp == 1
    assert report.notes == ("docs: gold mentions without a place in their text, left out: 1",)


def test_what_the_text_does_not_hold_counts_against_precision_by_the_papers_metric(tmp_path):
    path, gold = tmp_path / "p.jsonl", tmp_path / "g.jsonl"
    jsonl(path, {**GOLD, "unlocated": [{"label": "person", "text": "Carl"}]})
    jsonl(gold, GOLD)
    (report,) = evaluate(path, gold=gold, metric="paper").data_sets
    counts = report.scores.total
    assert (counts.tp, counts.fp, counts.fn) == (len(GOLD["entities"]), 1, 0)


def test_errors_file(tmp_path):
    errors = tmp_path / "errors.jsonl"
    good = {"id": "2", "text": "x", "entities": []}
    evaluate(
        jsonl(tmp_path / "docs.jsonl", FOUND, good),
        gold=jsonl(tmp_path / "gold.jsonl", GOLD, good),
        errors=errors,
    )
    (line,) = map(json.loads, errors.read_text().splitlines())
    assert line == {
        "dataset": "docs",
        "id": "1",
        "text": ANN,
        "missed": [],
        "invented": [],
        "not_in_text": [{"label": "person", "text": "Carl"}],
        "not_in_labels": [],
        "wrong_label": [
            {
                "gold": {"start": 19, "end": 23, "label": "city", "text": "Rome"},
                "predicted": {"start": 19, "end": 23, "label": "person", "text": "Rome"},
            }
        ],
        "wrong_boundary": [
            {
                "gold": {"start": 0, "end": 7, "label": "person", "text": "Ann Lee"},
                "predicted": {"start": 0, "end": 3, "label": "person", "text": "Ann"},
            }
        ],
    }


def test_errors_file_of_answers(tmp_path):
    errors = tmp_path / "errors.jsonl"
    evaluate(five_sets(tmp_path / "p.jsonl"), metric="paper", errors=errors)
    first = json.loads(errors.read_text().splitlines()[0])
    assert first["dataset"] == "NER_en_one"
    assert first["missed"] == [{"label": "person", "text": "ann"}]
    assert first["invented"] == []
    assert first["not_in_text"] == [{"label": "person", "text": "eve"}]


def test_errors_do_not_overwrite_the_input(tmp_path):
    path = five_sets(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match="overwrite"):
        evaluate(path, errors=path)
