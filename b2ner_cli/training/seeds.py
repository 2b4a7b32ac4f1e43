"""One training run after another, of several seeds, and their scores together.

OUT/seed-23/    a run as `train` leaves it
OUT/agg.csv     F1 of each set and average: mean, deviation, each run
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from b2ner_cli.errors import NOTICE, OutputError, UsageError
from b2ner_cli.formats.predictions import FILE_NAME
from b2ner_cli.scoring import run_scores
from b2ner_cli.scoring.prediction_folders import Run, step_number
from b2ner_cli.scoring.run_scores import RunScores
from b2ner_cli.scoring.scored_documents import ScoreJob
from b2ner_cli.training import record as run_record
from b2ner_cli.training import run as training_run
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.loop import is_first
from b2ner_cli.training.run import Show

log = logging.getLogger("b2ner")

TABLE = "agg.csv"


def parse(value: str) -> tuple[int, ...]:
    """The seeds that ``23,33,34`` lists; UsageError where it lists none, or one twice."""
    names = [name.strip() for name in value.split(",")]
    if not all(name.isascii() and name.isdecimal() for name in names):
        raise UsageError(f"--seeds {value}: not a list of seeds", "for example --seeds 23,33,34,42")
    seeds = tuple(map(int, names))
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {value}: a seed is there twice", "name each once")
    return seeds


def run(
    job: TrainJob,
    seeds: Sequence[int],
    show: Show = lambda step, steps, message: None,
) -> RunScores | None:
    """Train with one seed after another; gives their scores, None where nothing was scored.

    A resumed job passes over seeds that are done. What is wrong with the job, or with the folder
    of any seed, comes out before the first is trained.
    """
    table = job.out / TABLE
    if table.exists() and not job.resume and not job.force:
        raise OutputError(
            f"{job.out} holds runs of several seeds already ({TABLE})",
            "go on with --resume, replace it with --force, or name another folder",
        )
    jobs = [_of_seed(job, seed) for seed in seeds]
    for each in jobs:
        training_run.check(each)
    left = [each for each in jobs if not (job.resume and _is_done(each))]
    for turn, each in enumerate(jobs, 1):
        if each in left:
            training_run.run(each, partial(_told, show, f"{each.out.name}, {turn} of {len(jobs)}"))
            gc.collect()  # the model of one seed goes before that of the next comes
        else:
            log.log(NOTICE, "%s is done", each.out)
    if not is_first():
        return None
    runs = _together([found for each in jobs if (found := _run(each))])
    if not runs:
        return None
    scores = run_scores.score_runs(runs, ScoreJob(("paper",)))
    try:
        run_scores.write_spreads(table, scores)
    except OSError as error:
        raise OutputError(f"cannot write {table}: {error.strerror}") from None
    return scores


def _told(show: Show, run: str, step: int, steps: int, message: str) -> None:
    show(step, steps, f"{run}: {message}")


def _of_seed(job: TrainJob, seed: int) -> TrainJob:
    recipe = replace(job.recipe, seed=seed)
    return replace(job, out=job.out / f"seed-{seed}", recipe=recipe)


def _is_done(job: TrainJob) -> bool:
    """Whether a run is at its end, where its card is written; it must be this very run."""
    if not (job.out / "card.md").is_file():
        return False
    try:
        record = json.loads((job.out / "run.json").read_text(encoding="utf-8"))
        same = run_record.is_of(record, job)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # then it is trained to its end again, from its last checkpoint
    if not same:
        raise UsageError(
            f"the run in {job.out} has another recipe or model than the one given",
            "resume with the options it was started with, or train into another folder",
        )
    return True


def _run(job: TrainJob) -> Run | None:
    """The predictions of a run that are averaged: after each epoch, else those at its end."""
    if job.evaluation:
        steps = {path.parent.name: path.parent for path in job.out.glob(f"eval-*/{FILE_NAME}")}
        return Run(job.out.name, {step: steps[step] for step in sorted(steps, key=step_number)})
    return Run(job.out.name, {"": job.out / "heldout"}) if job.heldout else None


def _together(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Runs with the same steps: by epoch where seeds, which choose documents, took more or less."""
    if len({frozenset(run.steps) for run in runs}) < 2:
        return tuple(runs)
    least = min(len(run.steps) for run in runs)
    names = [f"eval-{epoch}" for epoch in range(1, least + 1)]
    return tuple(
        Run(run.name, dict(zip(names, list(run.steps.values())[-least:], strict=True)))
        for run in runs
    )
