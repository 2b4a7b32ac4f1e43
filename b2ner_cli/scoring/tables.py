"""Scores as rows of tables: the header first, scores in percent. Prints nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from b2ner_cli.labels.label_map import AS_GIVEN
from b2ner_cli.scoring.counts import Counts, Metric, Scores
from b2ner_cli.scoring.error_classes import CLASSES
from b2ner_cli.scoring.paper_metric import normalise
from b2ner_cli.scoring.report import NOTHING, ScoreReport, SetReport
from b2ner_cli.scoring.thresholds import Thresholds

Row = tuple[str, ...]
Line = tuple[str, str]  # what it is of, and its name

_COLUMNS = ("F1", "precision", "recall", "support")


def table_rows(report: ScoreReport) -> list[Row]:
    """The table of one metric.

    One data set: its lines and its labels. Several: a line each, then the averages.
    """
    return side_by_side({report.metric: report})


def side_by_side(reports: Mapping[Metric, ScoreReport]) -> list[Row]:
    """The tables of one or both metrics in one; where there are intervals, these as well.

    A label of the strict metric stands beside the label that the paper's makes of it.
    """
    several = len(reports) > 1
    first = next(iter(reports.values()))
    header = [_whose_names(first)]
    parts: list[dict[Line, Row]] = []
    for metric, report in reports.items():
        columns = _COLUMNS if report.intervals is None else (*_COLUMNS, "95 %")
        header += [f"{metric} {name}" if several else name for name in columns]
        parts.append(dict(_lines(report)))
    names = list(parts[0])
    folded = {normalise(name): (kind, name) for kind, name in reversed(names) if kind == "label"}
    for part in parts[1:]:
        for kind, name in [key for key in part if key not in parts[0]]:
            same = folded.get(normalise(name))
            if kind == "label" and same and same not in part:
                part[same] = part.pop((kind, name))
        names += [key for key in part if key not in names]
    rows: list[Row] = [tuple(header)]
    for key in names:
        cells = (part.get(key, ("",) * len(next(iter(part.values())))) for part in parts)
        rows.append((key[1], *chain.from_iterable(cells)))
    return rows


def _lines(report: ScoreReport) -> Iterator[tuple[Line, Row]]:
    """A report's lines and their cells."""
    drawn = report.intervals
    one = report.data_sets[0] if len(report.data_sets) == 1 else None
    blank = () if drawn is None else ("",)
    for each in report.data_sets:
        ends = () if drawn is None else (_between(drawn.data_sets[each.data_set]),)
        yield ("data set", each.data_set.key), (*_cells(each.scores.total), *ends)
    if one:
        for name, counts in (("boundary", one.scores.boundary), ("type", one.scores.type)):
            if counts:
                yield ("line", name), (*_cells(counts), *blank)
    else:
        for name, mean in report.averages.items():
            ends = () if drawn is None else (_between(drawn.averages[name]),)
            yield ("line", f"{name} average"), (_percent(mean), "", "", "", *ends)
    yield ("line", "macro"), (_percent(report.macro), "", "", "", *blank)
    if one:
        for label, counts in one.scores.labels.items():
            yield ("label", label), (*_cells(counts), *blank)


def error_rows(reports: Mapping[Metric, ScoreReport]) -> list[Row]:
    """How many errors of each class each data set has, and how much of what is in the right place
    is named right; one row a metric where there are both.
    """
    rows: list[Row] = [("errors", *(name.replace("_", " ") for name in CLASSES), "named right")]
    for metric, report in reports.items():
        for each in report.data_sets:
            name = f"{each.data_set.key} ({metric})" if len(reports) > 1 else each.data_set.key
            counted = (each.errors[kind] for kind in CLASSES)
            share = each.scores.named_right
            named = "" if share is None else _percent(share)
            rows.append((name, *("" if n is None else str(n) for n in counted), named))
    return rows


def agreement_rows(found: Scores) -> list[Row]:
    """How far two answers agree, label by label: their F1, and how many entities each has alone."""
    rows: list[Row] = [("label", "agreement", "in both", "first only", "second only")]
    for name, each in (("all labels", found.total), *found.labels.items()):
        rows.append((name, _percent(each.f1), *map(str, (each.tp, each.fn, each.fp))))
    return rows


def threshold_rows(found: Thresholds) -> list[Row]:
    """The threshold of each label, and F1 without it, with it and cross-validated."""
    rows: list[Row] = [
        ("label", "threshold", "F1 without", "F1 with", "F1 cross-validated", "precision", "recall",
         "gold", "found", "kept")
    ]  # fmt: skip
    for name, each in (("all labels", found.total), *found.labels.items()):
        kept, every = each.with_it, each.without
        scores = (every.f1, kept.f1, each.cross_validated.f1, kept.precision, kept.recall)
        numbers = (every.support, every.tp + every.fp, kept.tp + kept.fp)
        value = f"{each.value:g}" if each.named else ""
        rows.append((name, value, *map(_percent, scores), *map(str, numbers)))
    return rows


def write_confusion(path: Path, data_sets: Sequence[SetReport]) -> None:
    """Write which labels were taken for which, a row for each gold label of each data set."""
    columns = dict.fromkeys(label for each in data_sets for label in each.scores.labels)
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["dataset", "gold", *columns, NOTHING])
        for each in data_sets:
            for gold, cells in each.confusion.items():
                counts = (cells.get(label, 0) for label in (*columns, NOTHING))
                rows.writerow([each.data_set.key, gold, *counts])


def _whose_names(report: ScoreReport) -> str:
    asked = ", asked under others" if report.asked else ""
    of = "" if report.labels == AS_GIVEN else "of "
    return f"labels {of}{report.labels}{asked}"


def _cells(counts: Counts) -> Row:
    scores = (counts.f1, counts.precision, counts.recall)
    return (*map(_percent, scores), str(counts.support))


def _percent(score: float) -> str:
    return f"{100 * score:.2f}"


def _between(ends: tuple[float, float]) -> str:
    return f"{_percent(ends[0])}-{_percent(ends[1])}"
