"""Predictions and scores of an adapter in training: after each epoch, and at the end.

OUT/eval-120/adapter/                          the adapter as it was after 120 steps
OUT/eval-120/predict_eval_predictions.jsonl    its answers, as `b2ner predict` gives them

The adapter is loaded anew beside the model in training, which stays as it is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from b2ner_cli.datasets import b2nerd
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.formats import predictions
from b2ner_cli.scoring import report
from b2ner_cli.scoring.scored_documents import ScoreJob
from b2ner_cli.tagging import predict_run


@dataclass(frozen=True, slots=True)
class EvalData:
    """What to answer after each epoch: a split of the sets under `data`, or its first documents."""

    data: Path
    split: str = "dev"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.split not in b2nerd.SPLITS:
            raise UsageError(f"no split {self.split!r}", f"choose {', '.join(b2nerd.SPLITS)}")


def is_done(job: predict_run.PredictJob) -> bool:
    """Whether a job's predictions are there: the file gets its name when it is whole."""
    return (job.folder / predictions.FILE_NAME).is_file()


def check(job: predict_run.PredictJob) -> None:
    """Raise what is wrong with data sets to evaluate on before training, not after an epoch."""
    try:
        predict_run.check(job)
    except DataError as error:
        if "split" not in error.message:
            raise
        raise DataError(error.message, "name another with --eval-split") from None


def score(job: predict_run.PredictJob) -> dict[str, Any]:
    """Predict as a job says, and score its predictions by the paper's metric."""
    predict_run.predict(job, _Silent())
    gc.collect()  # its model goes before training comes on
    return scores_in(job.folder)


def scores_in(folder: Path) -> dict[str, Any]:
    """The scores of predictions by the paper's metric."""
    return report.score(folder, ScoreJob(("paper",)))["paper"].as_dict()


def line(step: int, scores: dict[str, Any]) -> dict[str, Any]:
    """What the log says of scores: F1 over all sets, and of each."""
    each = {name: found["f1"] for name, found in scores["datasets"].items()}
    return {"step": step, "f1": scores["averages"]["overall"], "f1_of_sets": each}


def by_step(wanted: EvalData, log: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What run.json says of the scores after each epoch."""
    limit = {} if wanted.limit is None else {"limit": wanted.limit}
    f1s = {str(each["step"]): each["f1"] for each in log if "f1" in each}
    return {"data": wanted.data.name, "split": wanted.split, **limit, "f1": f1s}


class _Silent:
    dropped = 0

    def result(self, result: object) -> None: ...

    def bad_record(self, record: object) -> None: ...
