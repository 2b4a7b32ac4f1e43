"""A training run as a whole: recipe in, adapter with its card and run.json out.

OUT/adapter/             peft adapter; a copy of run.json stands beside the weights
OUT/card.md              data, licences, settings and scores, for people
OUT/run.json             the same for programs; `--config run.json` repeats the run
OUT/log.jsonl            one line a step; no step twice, however often the run was resumed
OUT/tensorboard/         the same for TensorBoard, if asked for
OUT/curve.svg            loss by step, and F1 where it was measured
OUT/checkpoints/         what --resume goes on from
OUT/eval-120/            predictions after each epoch, if asked for (see `training_eval`)
OUT/heldout/             predictions on the held-out sets, if any were given
OUT/heldout-constrained/ the same, constrained, where the adapter is better so
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from b2ner_cli import __version__
from b2ner_cli.core.paths import cache_directory
from b2ner_cli.core.tasks import Task, as_task
from b2ner_cli.datasets import balance, task_configs
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_map import AS_GIVEN, LabelMap
from b2ner_cli.models import embedded
from b2ner_cli.tagging import predict_run
from b2ner_cli.tagging.answer_cache import FILE_NAME
from b2ner_cli.tagging.loop import Options
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.training import evaluation as training_eval
from b2ner_cli.training import run_folder, selection
from b2ner_cli.training.card import card, read_sources
from b2ner_cli.training.evaluation import EvalData
from b2ner_cli.training.log import Log, check_tensorboard, open_log
from b2ner_cli.training.loop import Progress, Setup, Trained, decisive, is_first, train
from b2ner_cli.training.recipes import NOTHING, Recipe, Shown
from b2ner_cli.training.run_folder import read_log

log = logging.getLogger("b2ner")


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What `train` was asked to do: an adapter for `model`, trained by `recipe` on the sets under
    `data`, or on those in `only`, into `out`.

    `tasks` are what is asked of the sets, where it is not what the sets' own task asks. A task
    config chooses sets and documents, instead of the recipe's limits. `heldout`
    is a folder of data sets to score the adapter on at the end, `evaluation` says what to score it
    on after each epoch. With `label_map` the adapter
    learns labels under their other names.
    """

    data: Path
    out: Path
    recipe: Recipe
    model: str = embedded.DEFAULT
    only: Sequence[str] = ()
    config: task_configs.TaskConfig | None = None
    from_adapter: Path | None = None
    heldout: Path | None = None
    checkpoint_every: int = 100
    resume: bool = False
    force: bool = False
    device: str = "auto"
    label_map: LabelMap | None = None
    shown: Shown = NOTHING
    tasks: Sequence[Task] = ()
    tensorboard: bool = False
    evaluation: EvalData | None = None

    def __post_init__(self) -> None:
        recipe, shown = self.recipe, self.shown
        if shown.examples and not recipe.few_shot:
            raise UsageError("no prompt would show the examples", "give --set few_shot=0.3")
        if bool(shown.descriptions) != bool(recipe.described):
            raise UsageError(
                "descriptions of labels need a file and a share of the prompts",
                "give both --descriptions FILE and --set described=0.3",
            )


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier run had been told, for options that are not given this time.

    `again` are the options that it had and that a run.json cannot hold: what they said in short.
    """

    model: str | None = None
    only: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    again: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Path | None) -> Self:
        """Read a run.json; a recipe in TOML says nothing of this. Raises UsageError."""
        if config is None or config.suffix != ".json":
            return cls()
        try:
            record = json.loads(config.read_text(encoding="utf-8"))
            names = record.get("label_names", {}).get("source", AS_GIVEN)
            again = {
                "--from-adapter": record.get("from_adapter"),
                "--label-map": names if names != AS_GIVEN else "",
                "--examples or --descriptions": "in its prompts" if "shown" in record else "",
            }
            return cls(
                record.get("model"), tuple(map(str, record.get("only", ()))),
                tuple(as_task(str(name)) for name in record.get("task", ())),
                {option: str(said) for option, said in again.items() if said},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "give a run.json that b2ner train wrote, or TOML"
            raise UsageError(f"{config} holds no run: {error}", hint) from None


def run(
    job: TrainJob, show: Callable[[int, int, str], None] = lambda step, steps, message: None
) -> None:
    """Train, score on held-out sets if there are any, and write adapter, card and run.json.

    Of a task config its `only` part is what is recorded. `show` hears of step, steps and loss.
    """
    out = job.out
    check(job)
    keep_freed_memory()
    picks, recorded = _picks(job)
    names, digest = _label_names(picks, job.label_map), recorded["sha256"] if recorded else ""
    if job.label_map:
        picks = [selection.renamed(pick, job.label_map) for pick in picks]
        digest += f" labels {json.dumps(dict(job.label_map.names), sort_keys=True)}"

    log = Log(out)
    title = f"{out.resolve().name}: a LoRA for {Path(job.model).name}"
    scored = ""  # what the line of progress says of the last evaluation

    def ready(step: int) -> None:
        nonlocal log
        run_folder.begin(out, job.resume, job.force, step)
        run_folder.draw_curve(out, title)
        log = open_log(out, step, job.tensorboard)

    def report(progress: Progress) -> None:
        log.add(dataclasses.asdict(progress))
        show(progress.step, progress.steps, _said(progress, scored))

    def evaluate(trained: Trained, save: Callable[[Path], None]) -> None:
        nonlocal scored
        record = describe(job, trained, recorded) | {"label_names": names}
        line = _evaluated(job, record, save)
        scored = f", F1 {100 * line['f1']:.1f} at step {trained.steps}"
        if not any("f1" in each and each["step"] == line["step"] for each in read_log(out)):
            log.add(line)

    setup = Setup(
        job.model, out, job.recipe, job.from_adapter, job.resume, job.device,
        job.checkpoint_every, job.shown,
    )  # fmt: skip
    trained = train(
        picks, setup, tasks=digest, ready=ready, report=report,
        evaluate=evaluate if job.evaluation else None,
    )  # fmt: skip
    if not is_first():
        return
    record = describe(job, trained, recorded) | {"label_names": names}
    if job.evaluation is not None:
        record["evaluated"] = training_eval.by_step(job.evaluation, read_log(out))
    write_record(out, record)
    if job.heldout is not None:
        record["heldout"] = score_heldout(job, job.heldout, constrain=False)
        if record["constrain"]:
            record["heldout_constrained"] = score_heldout(job, job.heldout, constrain=True)
        write_record(out, record)
    for path in (out / "card.md", out / "adapter" / "README.md"):
        run_folder.write_text(path, card(record, read_sources(job.data)))
    run_folder.draw_curve(out, title)


def check(job: TrainJob) -> None:
    """Raise what can be known to be wrong before data and model are read."""
    evaluation = job.evaluation
    read = [job.data, job.from_adapter, job.heldout, evaluation.data if evaluation else None]
    run_folder.check(job.out, job.resume, job.force, read)
    if job.tensorboard:
        check_tensorboard()
    if job.heldout is not None:
        predict_run.check(_heldout_job(job, job.heldout, constrain=False))
    if evaluation is not None:
        training_eval.check(_eval_job(job, evaluation, 0))


def _picks(job: TrainJob) -> tuple[list[selection.Pick], dict[str, Any] | None]:
    """The documents to train on, and what run.json keeps of the task config that chose them."""
    recipe = job.recipe
    limits = balance.Limits(recipe.per_set, recipe.per_label, recipe.empty, recipe.longest)
    if job.config is None:
        return selection.choose(job.data, limits, recipe.seed, job.only, job.tasks), None
    config = job.config.only("train", job.only)
    parts = task_configs.find(config, "train", job.data, job.tasks)
    picks = selection.draw(job.data, parts, limits, recipe.seed, recipe.random_most)
    return picks, config.record("train")


def _said(progress: Progress, scored: str) -> str:
    left = progress.seconds / max(1, progress.step) * (progress.steps - progress.step)
    speed = progress.documents / max(progress.seconds, 1e-9)
    return f"loss {progress.loss:.3f}{scored}, {speed:.1f} documents/s, {left / 60:.0f} min left"


def _label_names(picks: Sequence[selection.Pick], label_map: LabelMap | None) -> dict[str, Any]:
    """What run.json says of the names that labels are trained under."""
    if label_map is None:
        return {"source": AS_GIVEN}
    lists = {pick.name: [*pick.labels, *(n for d in pick.documents for n in d.labels or ())]
             for pick in picks}  # fmt: skip
    if unused := label_map.check_used(name for names in lists.values() for name in names):
        log.warning("%s", unused)
    sets = {name: renamed for name, labels in lists.items()
            if (renamed := label_map.renamed(labels))}  # fmt: skip
    return {"source": label_map.source, "renamed": sets}


def describe(
    job: TrainJob, trained: Trained, recorded: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What run.json says of a run; `recorded` is its task config."""
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
        **({"shown": job.shown.digest} if job.shown != NOTHING else {}),
        **({"tasks": recorded} if recorded else {}),
        "recipe": dataclasses.asdict(job.recipe),
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
            pick.name: {
                "documents": len(pick.documents),
                "read": pick.read,
                "labels": len(pick.labels),
                "mentions_left_out_for_semicolons": pick.unsayable,
                **({"left_out_as_blank_or_too_long": pick.unfit} if recorded else {}),
            }
            for pick in trained.picks
        },
    }


def is_of(record: Mapping[str, Any], job: TrainJob) -> bool:
    """Whether a run.json is of a job's recipe and model."""
    recipes = (record["recipe"], dataclasses.asdict(job.recipe))
    one, other = (decisive(json.dumps(recipe)) for recipe in recipes)
    return one == other and record["model"] == job.model


def _record_of(adapter: Path) -> dict[str, Any] | None:
    """The run.json of an adapter that another stage starts from, if it has one."""
    try:
        record = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Write run.json, beside the adapter's weights too, where tagging looks for it."""
    for path in (out / "run.json", out / "adapter" / "run.json"):
        run_folder.write_text(path, _as_text(record))


def _as_text(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def score_heldout(job: TrainJob, heldout: Path, *, constrain: bool) -> dict[str, Any]:
    """Predict the test split of every held-out set with the adapter and score it."""
    return training_eval.score(_heldout_job(job, heldout, constrain=constrain))


def _heldout_job(job: TrainJob, heldout: Path, *, constrain: bool) -> predict_run.PredictJob:
    adapter = str(job.out / "adapter")
    settings = Settings(job.model, adapter, device=job.device, constrain=constrain)
    folder = job.out / ("heldout-constrained" if constrain else "heldout")
    cache = cache_directory() / FILE_NAME
    options = Options(label_map=job.label_map)
    return predict_run.PredictJob(
        heldout, folder, settings, force=True, cache=cache, options=options
    )


def _eval_job(job: TrainJob, wanted: EvalData, step: int) -> predict_run.PredictJob:
    """The predictions after a step, of the adapter as it was, decoded as it says of itself."""
    folder = job.out / f"eval-{step}"
    settings = Settings(job.model, str(folder / "adapter"), device=job.device)
    return predict_run.PredictJob(
        wanted.data, folder, settings, wanted.split, limit=wanted.limit, force=True,
        cache=cache_directory() / FILE_NAME, options=Options(label_map=job.label_map),
    )  # fmt: skip


def _evaluated(
    job: TrainJob, record: dict[str, Any], save: Callable[[Path], None]
) -> dict[str, Any]:
    """What the log says of a step's scores; what is there from before a kill is not done again."""
    assert job.evaluation is not None
    step = record["steps"]
    asked = _eval_job(job, job.evaluation, step)
    if training_eval.is_done(asked):
        return training_eval.line(step, training_eval.scores_in(asked.folder))
    with run_folder.writing(job.out):
        asked.folder.mkdir(exist_ok=True)
    save(asked.folder / "adapter")
    run_folder.write_text(asked.folder / "adapter" / "run.json", _as_text(record))
    return training_eval.line(step, training_eval.score(asked))


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks: giving each activation back costs a page fault a page."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    mmap_threshold, trim_threshold, mmap_max = -3, -1, -4
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(mmap_max, 0)
