import csv
from dataclasses import replace

import pytest

from b2ner_cli.formats.predictions import PredictionRecord, encode
from b2ner_cli.scoring.report import score
from b2ner_cli.scoring.scored_documents import ScoreJob
from b2ner_cli.scoring.tables import error_rows, side_by_side, table_rows, write_confusion
from tests.scoring.predicted import FOUND, GOLD, evaluate, five_sets, jsonl

RECORD = PredictionRecord(
    "NER",
    "one",
    "en",
    "0",
    "Ann met Bob of Acme",
    "\nLabel Set: Person, organization -> company \n\n",
    "Person: Ann; organization -> company: Acme",
    "Person: ann; Person: Acme; planet: Bob; Person: Eve",
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(encode(RECORD))
    return path


def test_both_metrics_share_lines_and_labels(path):
    rows = side_by_side(score(path, ScoreJob(("strict", "paper"))))
    assert rows[0] == (
        "labels as given",
        *(f"strict {name}" for name in ("F1", "precision", "recall", "support")),
        *(f"paper {name}" for name in ("F1", "precision", "recall", "support")),
    )
    table = {row[0]: row[1:] for row in rows[1:]}
    assert list(table) == [
        "NER_en_one", "boundary", "type", "macro", "Person", "organization -> company", "planet",
    ]  # fmt: skip
    assert table["NER_en_one"] == (
        "50.00", "50.00", "50.00", "2", "33.33", "25.00", "50.00", "2",
    )  # fmt: skip
    assert table["Person"][3:5] == ("1", "50.00")  # "person" to the paper
    assert table["boundary"][4:] == ("", "", "", "")
    assert table["planet"] == ("", "", "", "", "0.00", "0.00", "0.00", "0")


def test_error_classes_of_each_metric(path):
    assert error_rows(score(path, ScoreJob(("strict", "paper")))) == [
        ("errors", "missed", "invented", "wrong label", "wrong boundary", "not in text",
         "not in labels", "named right"),
        ("NER_en_one (strict)", "0", "0", "1", "0", "1", "1", "50.00"),
        ("NER_en_one (paper)", "0", "0", "1", "0", "1", "1", "50.00"),
    ]  # fmt: skip


def test_error_classes_without_known_labels(tmp_path, path):
    path.write_bytes(encode(replace(RECORD, instruction="Find them.")))
    assert error_rows(score(path, ScoreJob()))[1][-2] == ""


def test_intervals_stand_at_the_end(path):
    reports = score(path, ScoreJob(bootstrap=10))
    rows = table_rows(reports["strict"])
    assert rows[0][-1] == "95 %"
    assert rows[1][-1] == "50.00-50.00"  # of one document
    assert {len(row) for row in rows} == {6}


def test_confusion_is_a_row_a_gold_label(tmp_path, path):
    write_confusion(tmp_path / "c.csv", score(path, ScoreJob(("paper",)))["paper"].data_sets)
    rows = list(csv.reader((tmp_path / "c.csv").read_text().splitlines()))
    assert rows == [
        ["dataset", "gold", "organization-> company", "person", "planet", "(none)"],
        ["NER_en_one", "organization-> company", "0", "1", "0", "0"],
        ["NER_en_one", "person", "0", "1", "0", "0"],
        ["NER_en_one", "(none)", "0", "1", "1", "0"],
    ]


def test_table_of_one_data_set(tmp_path):
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", FOUND), gold=jsonl(tmp_path / "gold.jsonl", GOLD)
    )
    assert table_rows(report) == [
        ("labels as given", "F1", "precision", "recall", "support"),
        ("docs", "33.33", "33.33", "33.33", "3"),
        ("boundary", "66.67", "66.67", "66.67", "3"),
        ("type", "66.67", "66.67", "66.67", "3"),
        ("macro", "20.00", "", "", ""),
        ("person", "40.00", "33.33", "50.00", "2"),
        ("city", "0.00", "0.00", "0.00", "1"),
    ]


def test_table_of_several_data_sets(tmp_path):
    report = evaluate(five_sets(tmp_path / "p.jsonl"), metric="paper")
    assert [row[:2] for row in table_rows(report)[1:]] == [
        ("NER_en_one", "50.00"),
        ("NER_en_Two", "100.00"),
        ("NER_zh_math-junior", "0.00"),
        ("NER_zh_one", "66.67"),
        ("NER_zh_two", "100.00"),
        ("NER_en average", "75.00"),
        ("NER_zh average", "83.33"),
        ("overall average", "79.17"),
        ("macro", "73.33"),
    ]
