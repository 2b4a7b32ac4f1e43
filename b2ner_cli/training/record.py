"""What run.json says of a run: for programs, for `--config`, and for the stage that comes next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from b2ner_cli import __version__
from b2ner_cli.models import embedded
from b2ner_cli.training import run_folder
from b2ner_cli.training.groups import NO_EXAMPLES
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.loop import Trained
from b2ner_cli.training.recipes import decisive


def describe(
    job: TrainJob, trained: Trained, names: dict[str, Any], recorded: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The record of a run; `names` is what it says of label names, `recorded` its task config."""
    import torch
    import transformers

    return {
        "b2ner": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "model": job.model,
        "from_adapter": job.from_adapter.name if job.from_adapter else None,
        "stage_before": _record_of(job.from_adapter) if job.from_adapter else None,
        "only": list(job.only),
        **({"task": list(job.tasks)} if job.tasks else {}),
        **({"shown": job.few_shot.digest} if job.few_shot != NO_EXAMPLES else {}),
        **({"tasks": recorded} if recorded else {}),
        "recipe": job.recipe.flat(),
        "longest_document_tokens": trained.longest,
        # it scored higher so on the held-out sets' dev splits
        "constrain": job.model == embedded.DEFAULT,
        "processes": trained.processes,
        "steps": trained.steps,
        "documents": trained.documents,
        "left_out_as_too_long": trained.too_long,
        "final_loss": trained.loss,
        "seconds": round(trained.seconds),
        "data": {
            each.name: {
                "documents": len(each.documents),
                "read": each.read,
                "labels": len(each.labels),
                "mentions_left_out_for_semicolons": each.unsayable,
                **({"left_out_as_blank_or_too_long": each.unfit} if recorded else {}),
            }
            for each in trained.selections
        },
        "label_names": names,
    }


def is_of(record: Mapping[str, Any], job: TrainJob) -> bool:
    """Whether a run.json is of a job's recipe and model."""
    same = decisive(record["recipe"]) == decisive(job.recipe.flat())
    return same and bool(record["model"] == job.model)


def write(out: Path, record: dict[str, Any]) -> None:
    """Write run.json, beside the adapter's weights too, where tagging looks for it."""
    for path in (out / "run.json", out / "adapter" / "run.json"):
        run_folder.write_text(path, as_text(record))


def as_text(record: dict[str, Any]) -> str:
    """A record as run.json has it."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _record_of(adapter: Path) -> dict[str, Any] | None:
    """The run.json of an adapter that another stage starts from, if it has one."""
    try:
        record = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
