import csv

import pytest

from b2ner_cli.scoring.counts import Counts, Scores, SetName
from b2ner_cli.scoring.reference_reports import summary, write_steps, write_tables
from b2ner_cli.scoring.report import ScoreReport, SetReport
from b2ner_cli.scoring.scored_documents import Audit

B, A = SetName("b", "NER", "en"), SetName("A", "NER", "en")
ZH, LEFT_OUT = SetName("x", "NER", "zh"), SetName("math-junior", "NER", "zh")


def report(**counts):
    names = {"b": B, "a": A, "x": ZH, "left": LEFT_OUT}
    sets = {names[name]: Scores({"l": Counts(*each)}) for name, each in counts.items()}
    return ScoreReport(
        "paper",
        tuple(SetReport(each, scores, Audit()) for each, scores in sets.items()),
        seen=tuple(sets),
    )


SCORED = report(b=(1, 1, 1), a=(2, 0, 0), x=(2, 2, 0), left=(0, 1, 1))


def test_tables_list_all_sets_and_average_those_that_count(tmp_path):
    write_tables(tmp_path / "report", SCORED)
    english, chinese = (
        (tmp_path / f"report/report_NER_{lang}.tsv").read_text() for lang in ("en", "zh")
    )
    assert english == "NER_en_A\t1.0\nNER_en_b\t0.5\nNER_en_Average\t0.75\n"
    assert chinese == (
        "NER_zh_math-junior\t0\nNER_zh_x\t0.6666666666666666\nNER_zh_Average\t0.6666666666666666\n"
    )


def test_the_overall_average_is_over_sets():
    assert dict(summary(SCORED))["Average"] == pytest.approx((0.5 + 1 + 2 / 3) / 3)


def test_without_a_set_that_counts_an_average_is_0():
    rows = list(summary(report(left=(1, 0, 0))))
    assert rows == [("NER_zh_math-junior", 1.0), ("NER_zh_Average", 0), ("Average", 0)]


def test_scores_go_through_precision_and_recall():
    # 2 * tp / (2 * tp + fp + fn) has another last digit here.
    (row, *_) = summary(report(a=(3, 8, 1)))
    precision, recall = 3 / 11, 3 / 4
    assert row[1] == 2 * recall * precision / (recall + precision)


def test_steps_are_columns_sorted_as_text(tmp_path):
    path = tmp_path / "agg.csv"
    write_steps(path, {"eval-2": SCORED, "eval-10": report(b=(1, 0, 0), a=(1, 0, 2))})
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows == [
        ["epoch", "10", "2"],
        ["NER_en_A", "0.5", "1.0"],
        ["NER_en_b", "1.0", "0.5"],
        ["NER_en_Average", "0.75", "0.75"],
        ["NER_zh_math-junior", "", "0.0"],
        ["NER_zh_x", "", "0.6667"],
        ["NER_zh_Average", "", "0.6667"],
        ["Average", "0.75", "0.7222"],
    ]
