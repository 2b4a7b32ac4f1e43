"""Scores of runs: of several steps, of several seeds, and how far seeds lie apart."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.scoring import reference_reports
from b2ner_cli.scoring.audits import Audits
from b2ner_cli.scoring.counts import Metric
from b2ner_cli.scoring.prediction_folders import Run
from b2ner_cli.scoring.report import ScoreReport, score
from b2ner_cli.scoring.scored_documents import ScoreJob
from b2ner_cli.scoring.tables import Row


@dataclass(frozen=True, slots=True)
class Spread:
    """One score in several runs; `deviation` is that of a sample, 0 for one run."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        return stdev(self.values) if len(self.values) > 1 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says of it."""
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "least": min(self.values),
            "most": max(self.values),
            "values": list(self.values),
        }


@dataclass(frozen=True, slots=True)
class RunScores:
    """The reports of runs by name, each by step; all runs have the same steps."""

    runs: Mapping[str, Mapping[str, Mapping[Metric, ScoreReport]]]

    @property
    def single(self) -> Mapping[Metric, ScoreReport] | None:
        """The reports where there is one run without steps, else None."""
        found = [each for steps in self.runs.values() for each in steps.items()]
        return found[0][1] if len(found) == 1 and not found[0][0] else None

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(next(iter(self.runs.values())))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(next(iter(next(iter(self.runs.values())).values())))

    @property
    def f1(self) -> float:
        """The overall average of the last step, a mean over runs, by the first metric."""
        return self.spreads(self.metrics[0], self.steps[-1])["overall average"].mean

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers of the numbers must know, each sentence once."""
        reports = (
            report for steps in self.runs.values() for each in steps.values()
            for report in each.values()
        )  # fmt: skip
        return tuple(dict.fromkeys(note for report in reports for note in report.notes))

    def spreads(self, metric: Metric, step: str) -> dict[str, Spread]:
        """The F1 of each data set, then the averages, in all runs."""
        columns = [_scores(steps[step][metric]) for steps in self.runs.values()]
        for name, column in zip(self.runs, columns, strict=True):
            if other := sorted(column.keys() ^ columns[0].keys()):
                raise InputError(
                    f"{name}: not the same data sets as in {next(iter(self.runs))}: "
                    f"{other[0]} is in one of them only",
                    "Averages over runs need the same data sets in each.",
                )
        return {name: Spread(tuple(each[name] for each in columns)) for name in columns[0]}

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints of several runs or steps."""
        return {
            "metric": self.metrics[0] if len(self.metrics) == 1 else "both",
            "runs": {
                name: {step: as_dict(found) for step, found in steps.items()}
                for name, steps in self.runs.items()
            },
            "spread": {
                metric: {
                    step: {
                        name: each.as_dict() for name, each in self.spreads(metric, step).items()
                    }
                    for step in self.steps
                }
                for metric in self.metrics
            },
            "notes": list(self.notes),
        }


def as_dict(found: Mapping[Metric, ScoreReport]) -> dict[str, Any]:
    """What ``--json`` prints of one file: its report, or both under the names of their metrics."""
    if len(found) == 1:
        return next(iter(found.values())).as_dict()
    return {"metric": "both", **{metric: report.as_dict() for metric, report in found.items()}}


def score_runs(runs: tuple[Run, ...], job: ScoreJob, folder: Path | None = None) -> RunScores:
    """Score runs; write the authors' report files to `folder`, those of each of several below it.

    Errors are written for one file alone.
    """
    files = [path for run in runs for path in run.steps.values()]
    if job.errors and len(files) > 1:
        raise UsageError(
            f"--errors is of one file of predictions, not of {len(files)}",
            f"Name one of them, such as {files[0]}.",
        )
    several = len(runs) > 1
    scored = {}
    for run in runs:
        home = folder / run.name if folder and several else folder
        reports = {
            step: _score(path, job, home / step if home else None)
            for step, path in run.steps.items()
        }
        if home and "" not in run.steps:
            paper = {step: found["paper"] for step, found in reports.items()}
            reference_reports.write_steps(home / "agg.csv", paper)
        scored[run.name] = reports
    if folder and several:
        write_spreads(folder / "seeds.csv", RunScores(scored))
    return RunScores(
        {
            name: {step: _asked_for(found, job) for step, found in steps.items()}
            for name, steps in scored.items()
        }
    )


def _asked_for(found: Mapping[Metric, ScoreReport], job: ScoreJob) -> dict[Metric, ScoreReport]:
    """The reports by the metrics of a job; files of reports need the paper's besides."""
    return {metric: found[metric] for metric in job.metrics}


def _score(path: Path, job: ScoreJob, folder: Path | None) -> dict[Metric, ScoreReport]:
    if folder is None:
        return score(path, job)
    audits = Audits()
    found = score(path, job, audits)
    if not all(each.group for each in found["paper"].seen):
        raise UsageError(
            f"{path}: the authors' reports are of their prediction files alone",
            "Leave out --reports; --json has all the numbers.",
        )
    into = folder / reference_reports.FOLDER
    reference_reports.write_tables(into, found["paper"])
    audits.write(into)
    return found


def table_rows(scores: RunScores, metric: Metric) -> list[Row]:
    """F1 in percent: a column a step, or for runs without steps their mean and each of them."""
    several = len(scores.runs) > 1
    spreads = [scores.spreads(metric, step) for step in scores.steps]
    if scores.steps == ("",):
        header = (metric, "mean", "deviation", *scores.runs)
        return [header, *(_row_of_runs(name, each) for name, each in spreads[0].items())]
    rows: list[Row] = [(metric, *scores.steps)]
    for name in dict.fromkeys(name for column in spreads for name in column):
        cells = (_cell(column.get(name), several) for column in spreads)
        rows.append((name, *cells))
    return rows


def _row_of_runs(name: str, each: Spread) -> Row:
    return (name, *(f"{100 * value:.2f}" for value in (each.mean, each.deviation, *each.values)))


def _cell(each: Spread | None, several: bool) -> str:
    if each is None:
        return ""
    apart = f" ± {100 * each.deviation:.2f}" if several else ""
    return f"{100 * each.mean:.2f}{apart}"


def _scores(report: ScoreReport) -> dict[str, float]:
    means = report.averages
    groups = [name for name in means if name != "overall"]
    f1s = {each.data_set.key: each.scores.total.f1 for each in report.data_sets}
    return f1s | {f"{name} average": means[name] for name in (*groups, "overall")}


def write_spreads(path: Path, scores: RunScores) -> None:
    """Write the paper's F1 of each set and average as CSV: mean, deviation, each run."""
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["step", "name", "mean", "deviation", *scores.runs])
        for step in scores.steps:
            for name, each in scores.spreads("paper", step).items():
                rows.writerow([step, name, each.mean, each.deviation, *each.values])
