"""`b2ner eval`: scores of predictions, of runs and of several seeds."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2ner_cli.cli import console, prompting
from b2ner_cli.cli.options import JsonForTable, LabelMapFile, Quiet, Verbose, chosen_label_map
from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.scoring.run_scores import RunScores
    from b2ner_cli.scoring.scored_documents import ScoreJob

EXAMPLES = (
    "b2ner eval tagged.jsonl --gold gold.jsonl --errors errors.jsonl\n\n"
    "b2ner eval tagged.jsonl --gold gold.jsonl --thresholds\n\n"
    "b2ner eval run-23 run-33 run-34 run-42 --metric both --reports reports"
)
_BOTH = "both"


def evaluate(
    predictions: Annotated[
        list[Path],
        typer.Argument(help="Tagged JSONL or CoNLL, a prediction file, or a run's folder, with "
                       "eval-N or checkpoint-N folders or without; several are averaged."),
    ],
    gold: Annotated[Path | None, typer.Option(help="Annotated documents, matched by id.")] = None,
    gold_field: Annotated[
        str | None, typer.Option(help="Field of the same records that holds the annotation.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="What tag was asked for: ner, re, eet, eea, neweet, "
                     "neweea, sentiment. By default what records hold."),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="strict: span and label; paper: the reference's own; both.")
    ] = "strict",
    label_map: LabelMapFile = None,
    fix_commas: Annotated[
        bool,
        typer.Option("--fix-commas", help="Read `a: b, c` in answers as `a: b; a: c`, as the "
                     "reference does for paths that hold gpt or eval+full."),
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, metavar="N", help="Draw documents N times: 95 % intervals of F1.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws and --thresholds.")] = 0,
    errors: Annotated[
        Path | None, typer.Option(help="Write what is wrong in each document to this JSONL.")
    ] = None,
    confusion: Annotated[
        Path | None, typer.Option(help="Write which labels were taken for which to this CSV.")
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the reference's tables and audits to this folder."),
    ] = None,
    thresholds: Annotated[
        bool,
        typer.Option("--thresholds", help="Find the --min-score of tag that gives each label its "
                     "best F1, in place of scores."),
    ] = False,
    min_f1: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 below this overall F1, 0..1.")
    ] = None,
    as_json: JsonForTable = False,
    text_field: Annotated[str, typer.Option(help="Field of the text.")] = "text",
    id_field: Annotated[str, typer.Option(help="Field of the id.")] = "id",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Score predictions against annotations: precision, recall, F1, by data set and label.

    Several runs are averaged, with their standard deviation; steps of a run stand side by side.
    """
    from b2ner_cli.core.tasks import as_task
    from b2ner_cli.formats.fields import Fields
    from b2ner_cli.scoring import prediction_folders, run_scores
    from b2ner_cli.scoring import tables as score_tables
    from b2ner_cli.scoring.counts import METRICS
    from b2ner_cli.scoring.scored_documents import ScoreJob

    console.set_up_logging(quiet, verbose)
    if metric not in (*METRICS, _BOTH):
        raise UsageError(f"no metric {metric!r}", f"choose from {', '.join((*METRICS, _BOTH))}")
    metrics = tuple(each for each in METRICS if metric in (each, _BOTH))
    job = ScoreJob(
        metrics, gold, Fields(text_field, id_field, gold=gold_field), chosen_label_map(label_map),
        fix_commas, as_task(task) if task else None, errors, bootstrap, seed,
    )  # fmt: skip
    if thresholds:
        unused = {"--confusion": confusion, "--reports": reports, "--min-f1": min_f1}
        _show_thresholds(predictions, job, as_json, [name for name in unused if unused[name]])
        return
    runs = prediction_folders.find_runs(predictions)
    scores = run_scores.score_runs(runs, job, reports)
    if confusion:
        if scores.single is None:
            raise UsageError("--confusion is of one file of predictions", "Name one of them.")
        score_tables.write_confusion(confusion, scores.single[metrics[0]].data_sets)
    if as_json:
        found = scores.as_dict() if scores.single is None else run_scores.as_dict(scores.single)
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _print_tables(scores)
    for line in (*(run.note for run in runs if run.note), *scores.notes):
        console.note(line)
    if min_f1 is not None and scores.f1 < min_f1:
        console.finding(f"F1 {scores.f1:.4f} is below --min-f1 {min_f1}")
        raise typer.Exit(1)


def _show_thresholds(
    files: list[Path], job: ScoreJob, as_json: bool, unused: Sequence[str]
) -> None:
    """Print the thresholds of one file's labels, and the option that says them."""
    from b2ner_cli.scoring.tables import threshold_rows
    from b2ner_cli.scoring.thresholds import LEAST, find_thresholds

    if len(files) > 1:
        raise UsageError("--thresholds are of one file of predictions", "Name one of them.")
    if job.metrics != ("strict",) or job.task not in (None, "NER"):
        raise UsageError("--thresholds are of entities by place", "Leave out --metric and --task.")
    others = {"--errors": job.errors, "--bootstrap": job.bootstrap, "--fix-commas": job.fix_commas}
    if unused := [*unused, *(name for name in others if others[name])]:
        raise UsageError(f"--thresholds has no use for {', '.join(unused)}", "Leave it out.")
    found = find_thresholds(files[0], job)
    said = prompting.spelled_min_scores(found.min_scores)
    if as_json:
        values = {**found.as_dict(), "min_score": said, "seed": job.seed}
        typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
    else:
        console.print_table(threshold_rows(found))
        typer.echo(f"\n--min-score {_quoted(said)}" if said else "\nno label is better with one")
    if found.left_out:
        names = ", ".join(found.left_out)
        console.note(f"left out, with under {LEAST} mentions in gold or found: {names}")
    if found.doubtful:
        console.note(f"no better on other documents, cross-validated: {', '.join(found.doubtful)}")
    console.note(
        "Thresholds look better on the documents they were chosen on than on others: expect the "
        "cross-validated F1, chosen on one half of the documents and scored on the other."
    )


def _quoted(said: str) -> str:
    """A word for the shell: in double quotes, unless something in it means more within them."""
    return shlex.quote(said) if re.search(r'["$`\\!]', said) else f'"{said}"'


def _print_tables(scores: RunScores) -> None:
    from b2ner_cli.scoring import run_scores
    from b2ner_cli.scoring import tables as score_tables

    if scores.single:
        tables = [score_tables.side_by_side(scores.single), score_tables.error_rows(scores.single)]
    else:
        tables = [run_scores.table_rows(scores, metric) for metric in scores.metrics]
    for turn, rows in enumerate(tables):
        if turn:
            typer.echo()
        console.print_table(rows)
