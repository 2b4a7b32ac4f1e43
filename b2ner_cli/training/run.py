"""A training run as a whole: recipe in, adapter with its card and run.json out.

OUT/adapter/             peft adapter; a copy of run.json stands beside the weights
OUT/card.md              data, licences, settings and scores, for people
OUT/run.json             the same for programs; `--config run.json` repeats the run
OUT/log.jsonl            one line a step; no step twice, however often the run was resumed
OUT/tensorboard/         the same for TensorBoard, if asked for
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from b2ner_cli.core.document import Document
from b2ner_cli.core.paths import cache_directory
from b2ner_cli.datasets import b2nerd, balance, task_configs
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_map import AS_GIVEN, LabelMap
from b2ner_cli.tagging import predict_run
from b2ner_cli.tagging.answer_cache import FILE_NAME
from b2ner_cli.tagging.loop import Options
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training import chunk_size, run_folder, selection
from b2ner_cli.training import evaluation as training_eval
from b2ner_cli.training import record as run_record
from b2ner_cli.training.card import card, read_sources
from b2ner_cli.training.evaluation import EvalData
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.loop import Hooks, Setup, Trained, TrainingProgress, is_first, train
from b2ner_cli.training.run_folder import RunLog, read_log

log = logging.getLogger("b2ner")

Show = Callable[[int, int, str], None]
"""Hears of step, steps and loss."""


def run(job: TrainJob, show: Show = lambda step, steps, message: None) -> None:
    """Train, measure how much text a prompt should hold, score on held-out sets if there are any,
    and write adapter, card and run.json.

    Of a task config its `only` part is what is recorded.
    """
    out = job.out
    check(job)
    read, recorded = _chosen(job)
    _check_descriptions(job, read)
    names, digest = _label_names(read, job.label_map), recorded["sha256"] if recorded else ""
    if job.label_map:
        digest += f" labels {json.dumps(dict(job.label_map.names), sort_keys=True)}"
    selections = _renamed(read, job.label_map)
    hooks = _hooks(job, show, lambda trained: run_record.describe(job, trained, names, recorded))
    trained = train(selections, setup(job), hooks, tasks=digest)
    if not is_first():
        return
    _warn_if_worse(job, trained)
    record = run_record.describe(job, trained, names, recorded)
    if job.evaluation is not None:
        record["evaluated"] = training_eval.by_step(job.evaluation, read_log(out))
    run_record.write(out, record)
    if "chunk_tokens" not in record:
        record |= _chunk_size(job, selections)
        run_record.write(out, record)
    if job.heldout is not None:
        record["heldout"] = score_heldout(job, job.heldout, constrain=False)
        if record["constrain"]:
            record["heldout_constrained"] = score_heldout(job, job.heldout, constrain=True)
        run_record.write(out, record)
    for path in (out / "card.md", out / "adapter" / "README.md"):
        run_folder.write_text(path, card(record, read_sources(job.data)))


def _chunk_size(job: TrainJob, selections: list[selection.Selection]) -> dict[str, Any]:
    """How much text one prompt is to hold, measured with the adapter as it is now."""
    dev: dict[str, list[Document]] = {}
    names = {each.name for each in selections}
    for each in () if job.is_file else b2nerd.datasets(job.data):
        if each.key in names and {"train", "dev"} <= set(each.splits):
            read = chunk_size.first_documents(b2nerd.read_split(each, "dev"))
            dev[each.key] = list(map(job.label_map.document, read)) if job.label_map else read
    settings = Settings(job.model, str(job.out / "adapter"), device=job.device)
    with Tagger.load(settings) as tagger:
        return chunk_size.chosen(tagger, selections, dev)


def setup(job: TrainJob) -> Setup:
    """What is trained, how and where."""
    return Setup(
        job.model, job.out, job.recipe, job.from_adapter, job.resume, job.device,
        job.checkpoint_every, job.few_shot,
    )  # fmt: skip


def _warn_if_worse(job: TrainJob, trained: Trained) -> None:
    """Say that training did harm, where its own documents show it."""
    before, after = trained.new_loss
    if after > before:
        log.warning(
            "the loss on the documents that were trained on rose from %.3f to %.3f: the adapter in "
            "%s is worse than what it started from; lower the learning rate (--set "
            "learning_rate=%.1g), or train on more documents",
            before, after, job.out / "adapter", job.recipe.learning_rate / 4,
        )  # fmt: skip


def check(job: TrainJob) -> None:
    """Raise what can be known to be wrong before data and model are read."""
    evaluation = job.evaluation
    read = [job.data, job.from_adapter, job.heldout, evaluation.data if evaluation else None]
    run_folder.check(job.out, job.resume, job.force, read)
    if job.tensorboard:
        run_folder.check_tensorboard()
    if job.heldout is not None:
        predict_run.check(_heldout_job(job, job.heldout, constrain=False))
    if evaluation is not None:
        training_eval.check(_eval_job(job, evaluation, 0))


def _hooks(job: TrainJob, show: Show, describe: Callable[[Trained], dict[str, Any]]) -> Hooks:
    """What is noted and shown as a run goes on."""
    out, log = job.out, RunLog(job.out)
    scored = ""  # what the line of progress says of the last evaluation

    def ready(step: int) -> None:
        nonlocal log
        run_folder.begin(out, job.resume, job.force, step)
        log = run_folder.open_log(out, step, job.tensorboard)

    def report(progress: TrainingProgress) -> None:
        log.add(dataclasses.asdict(progress))
        left = progress.seconds / max(1, progress.step) * (progress.steps - progress.step)
        speed = progress.documents / max(progress.seconds, 1e-9)
        told = (
            f"loss {progress.loss:.3f}{scored}, {speed:.1f} documents/s, {left / 60:.0f} min left"
        )
        show(progress.step, progress.steps, told)

    def evaluate(trained: Trained, save: Callable[[Path], None]) -> None:
        nonlocal scored
        line = _evaluated(job, describe(trained), save)
        scored = f", F1 {100 * line['f1']:.1f} at step {trained.steps}"
        if not any("f1" in each and each["step"] == line["step"] for each in read_log(out)):
            log.add(line)

    return Hooks(ready, report, evaluate if job.evaluation else None)


def selected(job: TrainJob) -> list[selection.Selection]:
    """The documents to train on, under the names that their labels are trained under."""
    return _renamed(_chosen(job)[0], job.label_map)


def _renamed(
    read: list[selection.Selection], label_map: LabelMap | None
) -> list[selection.Selection]:
    return [selection.renamed(each, label_map) for each in read] if label_map else read


def _chosen(
    job: TrainJob,
) -> tuple[list[selection.Selection], dict[str, Any] | None]:
    """The documents to train on, and what run.json keeps of the task config that chose them."""
    recipe = job.recipe
    limits = balance.Limits(recipe.per_set, recipe.per_label, recipe.empty, recipe.max_chars)
    if job.is_file:
        return selection.from_file(job.data, limits, recipe.seed, job.language), None
    if job.config is None:
        return selection.choose(job.data, limits, recipe.seed, job.only, job.tasks), None
    config = job.config.only("train", job.only)
    parts = task_configs.find(config, "train", job.data, job.tasks)
    most = recipe.experiments.random_most
    return selection.draw(job.data, parts, limits, recipe.seed, most), config.record("train")


def _check_descriptions(job: TrainJob, selections: Sequence[selection.Selection]) -> None:
    """Raise UsageError where prompts are to show descriptions and nothing is described."""
    if not job.recipe.experiments.described or job.few_shot.descriptions:
        return
    chosen = (document for each in selections for document in each.documents)
    if not any(document.meta.get(selection.DESCRIPTIONS) for document in chosen):
        raise UsageError(
            "prompts are to show descriptions of labels, and none is given",
            "give --descriptions FILE, documents with `descriptions`, or --set described=0",
        )


def _label_names(
    selections: Sequence[selection.Selection], label_map: LabelMap | None
) -> dict[str, Any]:
    """What run.json says of the names that labels are trained under."""
    if label_map is None:
        return {"source": AS_GIVEN}
    lists = {
        each.name: [*each.labels, *(name for d in each.documents for name in d.labels or ())]
        for each in selections
    }
    if unused := label_map.check_used(name for names in lists.values() for name in names):
        log.warning("%s", unused)
    sets = {name: label_map.renamed(labels) for name, labels in lists.items()}
    return {
        "source": label_map.source,
        "renamed": {name: renamed for name, renamed in sets.items() if renamed},
    }


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
    run_folder.write_text(asked.folder / "adapter" / "run.json", run_record.as_text(record))
    return training_eval.line(step, training_eval.score(asked))


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks: giving each activation back costs a page fault a page.

    This holds for the process, to its end: for one that does nothing but train.
    """
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
