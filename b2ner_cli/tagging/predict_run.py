"""A whole run of `predict`: data sets in, a folder of predictions out.

Knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from b2ner_cli.core.document import BadRecord, Result
from b2ner_cli.core.language import as_language
from b2ner_cli.core.tasks import Task
from b2ner_cli.datasets import b2nerd, task_configs, task_documents
from b2ner_cli.errors import DataError, OutputError, UsageError
from b2ner_cli.formats import predictions, result_json
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import rendering
from b2ner_cli.tagging import loop, runs
from b2ner_cli.tagging.planning import Planner
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger


@dataclass(frozen=True, slots=True)
class PredictJob:
    """What `predict` was asked to do: `split` of the sets under `data`, of those in `only` if it
    names any, the first `limit` documents of each; with a task config, of what its section of
    the split chooses. Without `task` the sets' own decides, that of named entities first.
    """

    data: Path
    folder: Path
    settings: Settings
    split: str = "test"
    only: Sequence[str] = ()
    limit: int | None = None
    config: task_configs.TaskConfig | None = None
    resume: bool = False
    force: bool = False
    cache: Path | None = None
    options: loop.Options = field(default_factory=loop.Options)
    task: Task | None = None


def check(job: PredictJob) -> None:
    """Raise what `predict` would of its data sets and label map; nothing is answered or written."""
    parts, _ = _parts(job)
    if job.options.label_map:
        _renamed(job.options.label_map, parts)


def predict(job: PredictJob, ledger: runs.Ledger) -> None:
    """Answer every document with its data set's own labels, verbatim.

    With a label map the model is asked other names. Writes
    ``job.folder/predict_eval_predictions.jsonl``. Raises DataError for unusable data.
    """
    parts, task = _parts(job)
    task_documents.refuse_empty([part.dataset for part in parts], job.split, task, runs.log.warning)
    form = replace(job.options.form, task=task) if task != "NER" else job.options.form
    job = replace(job, options=replace(job.options, form=form))
    renaming = job.options.label_map
    names = _renamed(renaming, parts) if renaming else {}
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {job.folder}: {error.strerror}") from None
    path = str(job.folder / predictions.FILE_NAME)
    with runs.open_output(path, resume=job.resume, force=job.force) as output:
        if output.complete:
            return
        asked = {
            "data sets": ", ".join(map(str, parts)),
            "split": job.split,
            "limit": str(job.limit),
        }
        with runs.load(job.settings, None, job.options, job.cache, output, asked) as tagger:
            predictions.write_names(job.folder, renaming.source if renaming else "", names)
            cut = loop.CutRun(output.done) if job.resume else None
            for part in parts:
                for record, result in _answered(job, part, tagger, cut):
                    output.write(predictions.encode(record))
                    ledger.result(result)


def _answered(
    job: PredictJob, part: task_configs.Part, tagger: Tagger, cut: loop.CutRun | None
) -> Iterator[tuple[predictions.PredictionRecord, Result]]:
    """Answer the documents of one set, but for those that the run that was cut has written."""
    dataset, task = part.dataset, job.options.form.task
    wanted = part.once(task_documents.read_task(dataset, job.split, task, runs.log.warning))
    documents = [
        document._replace(labels=document.labels or dataset.labels)
        for document in islice(wanted, job.limit)
    ]
    options = replace(tagger.options, language=dataset.language)
    planner = Planner(tagger.engine, None, options)
    for item in loop.tag(documents, tagger.engine, None, options, tagger.cache, cut=cut):
        if isinstance(item, BadRecord):
            raise DataError(f"{item.origin}: {item.message}", item.hint)
        yield _prediction(dataset, item, planner), item


def _renamed(renaming: LabelMap, parts: Sequence[task_configs.Part]) -> dict[str, dict[str, str]]:
    """The labels of each set that are asked under other names; refuses two under one name."""
    sets = {f"{part.dataset.task}_{part.dataset.name}": part.dataset.labels for part in parts}
    for labels in sets.values():
        renaming.ask(LabelSet(tuple(dict.fromkeys(labels))))
    if unused := renaming.unused(name for labels in sets.values() for name in labels):
        runs.log.warning("%s", unused)
    return {name: renamed for name, labels in sets.items() if (renamed := renaming.renamed(labels))}


def _parts(job: PredictJob) -> tuple[list[task_configs.Part], Task]:
    """What to answer, and for which task: what a task config chooses, or all documents of the
    sets under `data` of the task asked for.
    """
    split, config = job.split, job.config
    if split not in b2nerd.SPLITS:
        raise UsageError(f"no split {split!r}", "choose train, dev or test")
    if config is not None:
        wanted = [job.task] if job.task else []
        parts = task_configs.find(config.only(split, job.only), split, job.data, wanted)
    else:
        parts = [task_configs.Part(dataset, task=task) for dataset, task in _chosen(job)]
    several = {part.task for part in parts}
    if len(several) > 1:
        names = " or ".join(sorted(task.lower() for task in several))
        raise UsageError("sets of several tasks", f"name one: --task {names}")
    return parts, several.pop()


def _chosen(job: PredictJob) -> list[tuple[b2nerd.DataSet, Task]]:
    """The sets under `data` that a task can be asked of and that have the split, or those named."""
    data, split, only = job.data, job.split, job.only
    found = task_documents.by_task(b2nerd.datasets(data), [job.task] if job.task else (), only)
    known = {*found, *(f"{d.task}_{d.name}" for d, _ in found.values())}
    if missing := [name for name in only if name not in known]:
        raise DataError(f"{data} has no data set {missing[0]}", f"it has {', '.join(found)}")
    wanted = [each for name, each in found.items() if task_documents.asked_for(name, each[0], only)]
    have = [
        each
        for each in wanted
        if split in each[0].splits or (split == "train" and "dev" in each[0].splits)
    ]
    if only and len(have) < len(wanted):
        lacking = next(each[0] for each in wanted if each not in have)
        raise DataError(f"{lacking.path}: no {split}.json", f"it has {', '.join(lacking.splits)}")
    if not have:
        what = f" for task {job.task.lower()}" if job.task else ""
        raise DataError(f"no data set under {data} has a {split} split{what}")
    return have


def _prediction(
    dataset: b2nerd.DataSet, result: Result, planner: Planner
) -> predictions.PredictionRecord:
    document = result.document
    names = tuple(dict.fromkeys(document.labels or dataset.labels))
    labels = LabelSet(names).described(planner.options.descriptions)
    language = as_language(dataset.language)
    said = [answer.strip() for answer in result.answers]
    spoken = [answer for answer in said if answer and answer != rendering.NONE.strip()]
    return predictions.PredictionRecord(
        task=result.task,
        dataset=dataset.name,
        language=dataset.language,
        id=document.id,
        sentence=document.text,
        instruction=rendering.render(labels, document.text, language, planner.form(document)).text,
        gold=rendering.answer(document.mentions or (), result.task).strip(),
        predicted="; ".join(spoken) or rendering.NONE.strip(),
        entities=result.entities if result.task == "NER" else None,
        found=None if result.task == "NER" else result_json.spelled(result),
    )
