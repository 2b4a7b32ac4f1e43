"""The authors' report files: a table for each task and language, audits, and a table of steps.

Numbers are spelled as theirs are, to the last digit, so that files can be compared. Excluded
sets are listed and not averaged; without any other set an average is 0.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from b2ner_cli.scoring.counts import EXCLUDED, Counts, SetName
from b2ner_cli.scoring.prediction_folders import step_number
from b2ner_cli.scoring.report import ScoreReport

FOLDER = "report"


def write_tables(folder: Path, report: ScoreReport) -> None:
    """Write ``report_NER_en.tsv`` and the like: names and scores, and their average."""
    folder.mkdir(parents=True, exist_ok=True)
    for group, rows in _tables(report).items():
        lines = "".join(f"{name}\t{value}\n" for name, value in rows)
        (folder / f"report_{group}.tsv").write_text(lines, encoding="utf-8")


def write_steps(path: Path, steps: Mapping[str, ScoreReport]) -> None:
    """Write ``agg.csv``: a row for each data set and average, a column for each step."""
    columns = {str(step_number(step)): dict(summary(report)) for step, report in steps.items()}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["epoch", *sorted(columns)])
        for name in names:
            cells = (columns[number].get(name) for number in sorted(columns))
            rows.writerow([name, *("" if cell is None else _rounded(cell) for cell in cells)])


def summary(report: ScoreReport) -> Iterator[tuple[str, float]]:
    """All rows of a report's tables, then the average over all data sets."""
    for rows in _tables(report).values():
        yield from rows
    yield "Average", _mean(_f1s(report))


def _tables(report: ScoreReport) -> dict[str, list[tuple[str, float]]]:
    """The rows of each task and language, both in the order in which the file names them."""
    tables = {}
    f1s = _f1s(report)
    for group in dict.fromkeys(each.group for each in f1s):
        inside = {each: f1 for each, f1 in f1s.items() if each.group == group}
        rows = sorted(
            ((each.key, f1) for each, f1 in inside.items()), key=lambda row: row[0].lower()
        )
        tables[group] = [*rows, (f"{group}_Average", _mean(inside))]
    return tables


def _f1s(report: ScoreReport) -> dict[SetName, float]:
    scores = report.scores
    return {each: _f1(scores[each].total) for each in report.seen}


def _f1(counts: Counts) -> float:
    # Through precision and recall, as the authors do: the last digit differs otherwise.
    precision, recall = counts.precision, counts.recall
    return 2 * recall * precision / (recall + precision) if counts.tp else 0


def _mean(f1s: Mapping[SetName, float]) -> float:
    counted: Sequence[float] = [f1 for each, f1 in f1s.items() if each.name not in EXCLUDED]
    return sum(counted) / len(counted) if counted else 0


def _rounded(value: float) -> str:
    return str(round(value * 10_000) / 10_000)
