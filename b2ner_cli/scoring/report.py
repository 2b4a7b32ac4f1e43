"""Score a file of predictions: count the documents that `pairing` gathers, and report it.

What a score is, is `counts`' to say; how to print it, the command line's. ``macro`` is the mean
F1 of all labels with gold support, each label's counts pooled over the data sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from b2ner_cli.core.tasks import TASKS
from b2ner_cli.errors import UsageError
from b2ner_cli.formats import open_output
from b2ner_cli.formats.predictions import read_names
from b2ner_cli.labels.label_map import AS_GIVEN, LabelMap
from b2ner_cli.scoring import pairing
from b2ner_cli.scoring.audits import Audits
from b2ner_cli.scoring.bootstrap import Intervals, intervals
from b2ner_cli.scoring.counts import Counts, Metric, Scores, SetName, Tally, averages, macro
from b2ner_cli.scoring.error_classes import CLASSES, Errors, Item
from b2ner_cli.scoring.paper_metric import normalise
from b2ner_cli.scoring.scored_documents import Audit, ScoredDocument, ScoreJob, sum_audits

_AUDITS = 10_000  # so many are added up at once
NOTHING = "(none)"  # where a label stands in the confusion matrix that has no partner
_SCORED_ALIKE = ("", *TASKS)  # the authors score others, of early versions, in their own ways


@dataclass(frozen=True, slots=True)
class SetReport:
    """The scores of one data set; `missing` are ids in gold that have no prediction."""

    data_set: SetName
    scores: Scores
    audit: Audit
    missing: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says of one data set; shares and scores in 0..1, unrounded."""
        mentions = self.audit.mentions
        invalid = self.audit.invalid
        return {
            **_counts(self.scores.total),
            "labels": {label: _counts(counts) for label, counts in self.scores.labels.items()},
            "boundary": _counts(self.scores.boundary) if self.scores.boundary else None,
            "type": _counts(self.scores.type) if self.scores.type else None,
            "mentions": mentions,
            "unlocated": self.audit.unlocated / mentions if mentions else 0.0,
            "invalid_labels": None if invalid is None else invalid / mentions if mentions else 0.0,
            "missing": list(self.missing),
            "named_right": self.scores.named_right,
            "errors": self.errors,
            "confusion": self.confusion,
        }

    @property
    def errors(self) -> dict[str, int | None]:
        """How many errors of each class; None where the labels asked for are not known."""
        counted: dict[str, int | None] = dict(self.scores.errors)
        if self.audit.invalid is None:
            counted["not_in_labels"] = None
        return counted

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """Gold labels, what they were predicted as, and how often; most supported labels first."""
        names: tuple[str | None, ...] = (*self.scores.labels, None)
        cells = self.scores.confusion
        rows = (
            (
                gold,
                {guess or NOTHING: cells[gold, guess] for guess in names if (gold, guess) in cells},
            )
            for gold in names
        )
        return {gold or NOTHING: row for gold, row in rows if row}


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Everything `b2ner eval` has to say; data sets sorted by name, whatever their case.

    `labels` says whose names the labels are scored under: as given, or those of a file.
    `asked` are the labels of each data set that the model was asked for under other names.
    `seen` are the data sets in the order in which their files name them.
    """

    metric: Metric
    data_sets: tuple[SetReport, ...]
    labels: str = AS_GIVEN
    asked: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    renamed: tuple[str, ...] = ()
    seen: tuple[SetName, ...] = ()
    intervals: Intervals | None = None

    @property
    def scores(self) -> dict[SetName, Scores]:
        return {each.data_set: each.scores for each in self.data_sets}

    @property
    def averages(self) -> dict[str, float]:
        return averages({each.data_set: each.scores.total.f1 for each in self.data_sets})

    @property
    def f1(self) -> float:
        """The one number ``--min-f1`` is held against: the overall average."""
        return self.averages["overall"]

    @property
    def macro(self) -> float:
        return macro(self.scores)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know, a sentence each."""
        asked = tuple(
            f"{key}: asked for {', '.join(f'{old} as {new}' for old, new in names.items())}"
            for key, names in self.asked.items()
        )
        own = tuple(note for each in self.data_sets for note in _notes(each, self.metric))
        return self.renamed + asked + own

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "metric": self.metric,
            "labels": self.labels,
            **({"asked": dict(self.asked)} if self.asked else {}),
            "datasets": {each.data_set.key: each.as_dict() for each in self.data_sets},
            "averages": self.averages,
            "macro": self.macro,
            **({"bootstrap": self.intervals.as_dict()} if self.intervals else {}),
            "notes": list(self.notes),
        }


def score(path: Path, job: ScoreJob, audits: Audits | None = None) -> dict[Metric, ScoreReport]:
    """Score the predictions at `path` by each metric, reading them once; fill `audits`.

    Audits are made of the paper's pieces, so that its metric is then among the reports.
    """
    inputs = [each for each in (path, job.gold) if each]
    if job.errors and job.errors.exists() and any(map(job.errors.samefile, inputs)):
        raise UsageError(f"{job.errors}: the errors would overwrite what they are found in")
    metrics = job.metrics
    if audits is not None and "paper" not in metrics:
        metrics += ("paper",)
    documents = pairing.scored_documents(path, replace(job, metrics=metrics))
    found: dict[SetName, _Running] = {}
    with open_output(str(job.errors), force=True) if job.errors else nullcontext() as output:
        for document in documents:
            running = found.get(document.data_set)
            if running is None:
                running = found[document.data_set] = _Running(metrics)
            for metric, errors in running.add(document):
                if output and metric in job.metrics:
                    output.write(_error_line(document, errors, metric, job))
            if audits is not None:
                audits.add(document)
    asked = read_names(path)
    return {metric: _report(metric, found, job, asked) for metric in metrics}


class _Running:
    """What is counted of one data set while its documents come in."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.tallies: dict[Metric, Tally] = {metric: Tally() for metric in metrics}
        self.audits: list[Audit] = []
        self.missing: list[str] = []

    def add(self, document: ScoredDocument) -> Iterator[tuple[Metric, Errors]]:
        """Count a document; yield what is wrong in it by each metric."""
        self.audits.append(document.audit)
        if len(self.audits) > _AUDITS:
            self.audits = [sum_audits(self.audits)]
        if document.missing:
            self.missing.append(document.id)
        for metric, tally in self.tallies.items():
            if errors := _add(tally, metric, document):
                yield metric, errors


def _add(tally: Tally, metric: Metric, document: ScoredDocument) -> Errors | None:
    gold, predicted = document.gold, document.predicted
    if metric == "paper":
        unsupported = document.unsupported_pieces()
        return tally.add_pieces(gold.pieces, predicted.pieces, unsupported)
    if gold.placed is not None and predicted.placed is not None:
        return tally.add_pieces(gold.placed, predicted.placed)
    return tally.add_spans(gold.spans, predicted.spans, document.unsupported)


def _report(
    metric: Metric,
    found: Mapping[SetName, _Running],
    job: ScoreJob,
    asked: Mapping[str, Mapping[str, str]],
) -> ScoreReport:
    sets = tuple(
        SetReport(
            each,
            found[each].tallies[metric].scores(),
            sum_audits(found[each].audits),
            tuple(found[each].missing),
        )
        for each in sorted(found, key=lambda each: (each.key.casefold(), each.key))
    )
    report = ScoreReport(metric, sets, asked=asked, seen=tuple(found))
    if job.label_map:
        notes = tuple(_renaming_notes(job.label_map, report))
        report = replace(report, labels=job.label_map.source, renamed=notes)
    if job.bootstrap:
        report = replace(report, intervals=intervals(report.scores, job.bootstrap, job.seed))
    return report


def _renaming_notes(label_map: LabelMap, report: ScoreReport) -> Iterator[str]:
    """Say what was scored as what, and which entries of the map met no label."""

    def spelled(name: str) -> str:
        return normalise(name) if report.metric == "paper" else name

    seen = {label for each in report.data_sets for label in each.scores.labels}
    scored: dict[str, list[str]] = {}
    for old, new in label_map.names.items():
        scored.setdefault(new, []).append(old)
    idle = [old for new, olds in scored.items() if spelled(new) not in seen for old in olds]
    if len(idle) == len(label_map.names):
        raise UsageError(
            f"{label_map.source} renames no label of these files",
            f"they have {', '.join(sorted(seen)) or 'none'}",
        )
    said = "; ".join(f"{' and '.join(olds)} as {new}" for new, olds in scored.items())
    yield f"labels renamed by {label_map.source}: {said}"
    if idle:
        yield f"{label_map.source}: neither file has {', '.join(idle)}"


def _counts(counts: Counts) -> dict[str, float]:
    scores = {"f1": counts.f1, "precision": counts.precision, "recall": counts.recall}
    return {**scores, **asdict(counts), "support": counts.support}


def _notes(each: SetReport, metric: Metric) -> Iterator[str]:
    key, task = each.data_set.key, each.data_set.task
    if each.missing:
        names = pairing.named_ids(each.missing)
        yield f"{key}: no prediction for {names}: what they hold is missed"
    if metric == "paper" and task not in _SCORED_ALIKE:
        yield f"{key}: scored as NER is; the authors score {task} in another way"
    if each.audit.unplaced:
        yield f"{key}: gold mentions without a place in their text, left out: {each.audit.unplaced}"


def _error_line(document: ScoredDocument, errors: Errors, metric: Metric, job: ScoreJob) -> bytes:
    """Spell what is wrong in a document as a line of JSON."""

    def spelled(item: Item) -> dict[str, Any]:
        if len(item) == 2:
            return {"label": item[0], "text": item[1]}
        label, start, end = item
        return {"start": start, "end": end, "label": label, "text": document.text[start:end]}

    def named(name: str) -> list[dict[str, Any]]:
        found = getattr(errors, name)
        if name in ("wrong_label", "wrong_boundary"):
            return [{"gold": spelled(gold), "predicted": spelled(guess)} for gold, guess in found]
        return [spelled(item) for item in found]

    line = {
        **({"metric": metric} if len(job.metrics) > 1 else {}),
        "dataset": document.data_set.key,
        "id": document.id,
        "text": document.text,
        **{name: named(name) for name in CLASSES},
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
