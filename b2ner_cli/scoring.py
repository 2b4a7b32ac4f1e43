"""Score a file of predictions: count what `pairing` gathers, and report it.

What a score is, is `evaluation`'s to say; how to print it, the command line's. ``macro`` is the
mean F1 of all labels with gold support, each label's counts pooled over the data sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from b2ner_cli.errors import UsageError
from b2ner_cli.evaluation import (
    Counts,
    DataSet,
    Errors,
    Item,
    Metric,
    Scores,
    Tally,
    averages,
    macro,
    normalise,
    piece_errors,
    span_errors,
)
from b2ner_cli.formats import open_output
from b2ner_cli.formats.fields import Fields
from b2ner_cli.formats.predictions import read_names
from b2ner_cli.label_map import AS_GIVEN, LabelMap
from b2ner_cli.pairing import Audit, Pair, named_ids, read_pairs

_SCORED_ALIKE = ("", "NER", "EEA")  # the authors score other tasks in ways of their own


@dataclass(frozen=True, slots=True)
class DataSetReport:
    """The scores of one data set; `missing` are ids in gold that have no prediction."""

    data_set: DataSet
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
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `b2ner eval` has to say; data sets sorted by name, whatever their case.

    `labels` says whose names the labels are scored under: as given, or those of a file.
    `asked` are the labels of each data set that the model was asked for under other names.
    """

    metric: Metric
    data_sets: tuple[DataSetReport, ...]
    labels: str = AS_GIVEN
    asked: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    renamed: tuple[str, ...] = ()

    @property
    def averages(self) -> dict[str, float]:
        return averages({each.data_set: each.scores.total.f1 for each in self.data_sets})

    @property
    def f1(self) -> float:
        """The one number ``--min-f1`` is held against: the overall average."""
        return self.averages["overall"]

    @property
    def macro(self) -> float:
        return macro({each.data_set: each.scores for each in self.data_sets})

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
            "notes": list(self.notes),
        }


def evaluate(
    path: Path,
    *,
    gold: Path | None = None,
    gold_field: str | None = None,
    metric: Metric = "strict",
    errors: Path | None = None,
    text_field: str = "text",
    id_field: str = "id",
    label_map: LabelMap | None = None,
) -> Report:
    """Score the predictions at `path`; write what is wrong in each document to `errors`.

    The authors' files bring their gold along; any other file needs `gold` or `gold_field`.
    `label_map` renames the labels of both sides; those that get one name are scored as one.
    """
    if errors and errors.exists() and any(errors.samefile(each) for each in (path, gold) if each):
        raise UsageError(f"{errors}: the errors would overwrite what they are found in")
    named = Fields(text=text_field, id=id_field, gold=gold_field)
    report = _score(read_pairs(path, gold, named, metric, label_map), metric, errors)
    if label_map:
        notes = tuple(_renaming_notes(label_map, report))
        report = replace(report, labels=label_map.source, renamed=notes)
    return replace(report, asked=read_names(path))


def table_rows(report: Report) -> list[tuple[str, ...]]:
    """Return the report as rows of a table, the header first; scores in percent.

    One data set: its lines and its labels. Several: a line each, then the averages.
    """
    rows: list[tuple[str, ...]] = [(_whose_names(report), "F1", "precision", "recall", "support")]
    if len(report.data_sets) == 1:
        (only,) = report.data_sets
        rows.append(_row(only.data_set.key, only.scores.total))
        for name, counts in (("boundary", only.scores.boundary), ("type", only.scores.type)):
            if counts:
                rows.append(_row(name, counts))
        rows.append(("macro", _percent(report.macro), "", "", ""))
        rows.extend(_row(label, counts) for label, counts in only.scores.labels.items())
        return rows
    rows.extend(_row(each.data_set.key, each.scores.total) for each in report.data_sets)
    means = report.averages
    overall = means.pop("overall")
    rows.extend((f"{group} average", _percent(f1), "", "", "") for group, f1 in means.items())
    rows.append(("overall average", _percent(overall), "", "", ""))
    rows.append(("macro", _percent(report.macro), "", "", ""))
    return rows


def _whose_names(report: Report) -> str:
    asked = ", asked under others" if report.asked else ""
    of = "" if report.labels == AS_GIVEN else "of "
    return f"labels {of}{report.labels}{asked}"


def _renaming_notes(label_map: LabelMap, report: Report) -> Iterator[str]:
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


def _row(name: str, counts: Counts) -> tuple[str, ...]:
    scores = (counts.f1, counts.precision, counts.recall)
    return (name, *map(_percent, scores), str(counts.support))


def _percent(score: float) -> str:
    return f"{100 * score:.2f}"


def _counts(counts: Counts) -> dict[str, float]:
    return {
        "f1": counts.f1,
        "precision": counts.precision,
        "recall": counts.recall,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "support": counts.support,
    }


def _notes(each: DataSetReport, metric: Metric) -> Iterator[str]:
    key, task = each.data_set.key, each.data_set.task
    if each.missing:
        yield f"{key}: no prediction for {named_ids(each.missing)}: what they hold is missed"
    if metric == "paper" and task not in _SCORED_ALIKE:
        yield f"{key}: scored as NER is; the authors score {task} in another way"
    if each.audit.unplaced:
        yield f"{key}: gold mentions without a place in their text, left out: {each.audit.unplaced}"


def _score(pairs: Iterable[Pair], metric: Metric, errors: Path | None) -> Report:
    tallies: dict[DataSet, Tally] = {}
    audits: dict[DataSet, Audit] = {}
    missing: dict[DataSet, list[str]] = {}
    with open_output(str(errors), force=True) if errors else nullcontext() as output:
        for pair in pairs:
            data_set = pair.data_set
            tally = tallies.setdefault(data_set, Tally())
            if metric == "strict":
                tally.add_spans(pair.gold.spans, pair.predicted.spans)
            else:
                tally.add_pieces(pair.gold.pieces, pair.predicted.pieces)
            audits[data_set] = audits.get(data_set, Audit()) + pair.audit
            if pair.missing:
                missing.setdefault(data_set, []).append(pair.id)
            if output:
                output.write(_error_line(pair, metric))
    ordered = sorted(tallies, key=lambda each: (each.key.casefold(), each.key))
    return Report(
        metric,
        tuple(
            DataSetReport(each, tallies[each].scores(), audits[each], tuple(missing.get(each, ())))
            for each in ordered
        ),
    )


def _error_line(pair: Pair, metric: Metric) -> bytes:
    """Spell what is wrong in a document as a line of JSON; nothing if nothing is."""
    found: Errors
    if metric == "strict":
        found = span_errors(pair.gold.spans, pair.predicted.spans)
    else:
        found = piece_errors(pair.gold.pieces, pair.predicted.pieces)
    if not found:
        return b""

    def spelled(item: Item) -> dict[str, Any]:
        if len(item) == 2:
            return {"label": item[0], "text": item[1]}
        label, start, end = item
        return {"start": start, "end": end, "label": label, "text": pair.text[start:end]}

    def paired(pairs: Iterable[tuple[Item, Item]]) -> list[dict[str, Any]]:
        return [{"gold": spelled(gold), "predicted": spelled(guess)} for gold, guess in pairs]

    line = {
        "dataset": pair.data_set.key,
        "id": pair.id,
        "text": pair.text,
        "missed": [spelled(item) for item in found.missed],
        "invented": [spelled(item) for item in found.invented],
        "wrong_label": paired(found.wrong_label),
        "wrong_boundary": paired(found.wrong_boundary),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
