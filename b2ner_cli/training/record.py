"""What run.json says of a run: for programs, for `--config`, and for the stage that comes next."""

from __future__ import annotations

import json
import math
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
from b2ner_cli.training.start import name_of


def describe(
    job: TrainJob, trained: Trained, names: dict[str, Any], recorded: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The record of a run; `names` is what it says of label names, `recorded` its task config."""
    import torch
    import transformers

    before = _record_of(job.from_adapter) if job.from_adapter else None
    return {
        "b2ner": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "model": job.model,
        "from_adapter": name_of(job.from_adapter) or None,
        "stage_before": before,
        "only": list(job.only),
        **({"task": list(job.tasks)} if job.tasks else {}),
        **({"shown": job.few_shot.digest} if job.few_shot != NO_EXAMPLES else {}),
        **({"tasks": recorded} if recorded else {}),
        "recipe": job.recipe.flat(),
        **_for_tagging(job, trained, before or {}),
        "processes": trained.processes,
        "steps": trained.steps,
        "documents": trained.documents,
        **({"replayed": trained.replayed} if job.recipe.replay else {}),
        "left_out_as_too_long": trained.too_long,
        "final_loss": trained.loss,
        **_losses(trained),
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


def _for_tagging(job: TrainJob, trained: Trained, before: Mapping[str, Any]) -> dict[str, Any]:
    """What `tag` goes by. Of the stage before holds what a stage of few documents takes nothing
    from: how long texts may be, and how answers are better.

    What was measured of scores and confidence is of other weights and does not hold.
    """
    # it scored higher so on the held-out sets' dev splits
    constrain = before.get("constrain", job.model == embedded.DEFAULT)
    longest = before.get("longest_document_tokens")
    most = max(trained.longest, longest if isinstance(longest, int) else 0)
    said = {"longest_document_tokens": most, "constrain": constrain}
    return said | {key: before[key] for key in ("chunk_tokens",) if key in before}


def _losses(trained: Trained) -> dict[str, Any]:
    """The loss on new documents before and after, where it is known."""
    before, after = trained.new_loss
    if not math.isfinite(before) or not math.isfinite(after):
        return {}
    return {"new_loss": {"before": before, "after": after}}


def is_of(record: Mapping[str, Any], job: TrainJob) -> bool:
    """Whether a run.json is of a job's recipe, model and start."""
    same = decisive(record["recipe"]) == decisive(job.recipe.flat())
    begun = (record.get("from_adapter") or "") == name_of(job.from_adapter)
    return same and begun and bool(record["model"] == job.model)


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
