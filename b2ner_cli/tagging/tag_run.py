"""Whole runs: documents through a tagger into an output file, for `tag` and for `predict`.

What can be refused is refused before a model is loaded. A `Ledger` hears of every result and bad
record; how they are shown is its matter.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from b2ner_cli import formats, prompts, tagging, tasks
from b2ner_cli.cache import Cache
from b2ner_cli.document import BadRecord, Document, Entity, Result
from b2ner_cli.errors import NOTICE, DataError, InputError, OutputError, UsageError
from b2ner_cli.formats import asked, b2nerd, found, gold, jsonl, predictions
from b2ner_cli.formats.conll import Tokens
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.label_map import LabelMap
from b2ner_cli.labels import LabelSet, as_language, detect_language
from b2ner_cli.planning import Planner
from b2ner_cli.settings import Settings
from b2ner_cli.templates import ABOUT_EVENTS, Task

if TYPE_CHECKING:
    from b2ner_cli.tagger import Tagger

log = logging.getLogger("b2ner")

_ALLOCATIONS = 50_000  # objects made and kept between two looks of the garbage collector
_IDS = 100_000  # explicit ids remembered to warn of repeats
_SLOTS = 1 << 18  # of the table that remembers them: 2 MB


class Ledger(Protocol):
    """Counts what a run does."""

    dropped: int

    def result(self, result: Result) -> None:
        """A document was tagged."""

    def bad_record(self, record: BadRecord) -> None:
        """A record could not be read."""


@dataclass(frozen=True, slots=True)
class TagJob:
    """What `tag` was asked to do; `cache` None is to do without."""

    documents: Iterable[Document | BadRecord]
    labels: LabelSet | None
    settings: Settings
    options: tagging.Options
    output: str | None
    kind: str
    tokens: str
    resume: bool
    force: bool
    strict: bool
    cache: Path | None
    live: bool


def tag(job: TagJob, ledger: Ledger) -> None:
    """Tag a job's documents into its output.

    Raises B2nerError when the run cannot go on; what is written stays and can be resumed.
    """

    task = job.options.form.task
    if task != "NER" and job.kind != "jsonl":
        raise UsageError(
            f"{job.kind} holds entities alone, not what task {task.lower()} finds",
            "write JSONL: --to jsonl",
        )

    def dropped(entity: Entity) -> None:
        ledger.dropped += 1

    header, encode = formats.writer(job.kind, tokens=_tokens(job.tokens), on_dropped=dropped)
    with ExitStack() as stack:
        output = stack.enter_context(
            formats.open_output(
                job.output, format=job.kind, header=header, force=job.force, resume=job.resume
            )
        )
        if output.reason:
            log.log(NOTICE, "%s", output.reason)
        if output.complete:
            return
        documents = tagging.with_labels(_watch_ids(job.documents), job.labels)
        if task in ABOUT_EVENTS:
            documents = _with_events(documents, job.options, job.labels)
        if output.done:
            documents = _check_resumed(documents, output, task)
        from b2ner_cli.tagger import Tagger

        cache = stack.enter_context(Cache.open(job.cache)) if job.cache else None
        tagger = stack.enter_context(
            Tagger.load(job.settings, job.labels, options=job.options, cache=cache)
        )
        output.belongs_to(_asked(job.labels, tagger))
        _settle()
        for item in tagging.tag(
            documents, tagger.engine, job.labels, tagger.options, cache,
            skip=output.done, resumed=job.resume, live=job.live,
        ):  # fmt: skip
            if isinstance(item, BadRecord):
                if job.strict:
                    raise InputError(f"{item.origin}: {item.message}", item.hint)
                ledger.bad_record(item)
            else:
                output.write(encode(item))
                ledger.result(item)


def _with_events(
    documents: Iterable[Document | BadRecord], options: tagging.Options, labels: LabelSet | None
) -> Iterator[Document | BadRecord]:
    """Read the events whose arguments are asked for; bad records without them or their roles."""
    for item in documents:
        if isinstance(item, BadRecord):
            yield item
            continue
        try:
            read = gold.with_events(item)
        except RecordError as error:
            hint = "find events first, with --task eet: its output is what this reads"
            yield BadRecord(item.origin, error.message, hint)
            continue
        events = read.events or ()
        strange = [e.label for e in events if options.roles and e.label not in options.roles]
        bare = [e.label for e in events if not e.trigger]
        if strange and item.labels is None:
            yield BadRecord(
                item.origin, f"no roles for events of type {strange[0]!r}", "name them in --labels"
            )
        elif bare and options.form.task == "EEA":
            hint = "ask without it: --task neweea"
            yield BadRecord(item.origin, f"the event {bare[0]!r} has no trigger", hint)
        else:
            yield read


def _asked(labels: LabelSet | None, tagger: Tagger) -> dict[str, str]:
    """All that a record depends on beside its document, in words for people."""
    asked = [labels.names, dict(labels.descriptions)] if labels else []
    options = dataclasses.asdict(replace(tagger.options, label_map=None))
    renaming = tagger.options.label_map
    options["label_map"] = dict(renaming.names) if renaming else None
    for name in ("form", "descriptions", "roles"):
        if getattr(tagger.options, name) == getattr(tagging.Options(), name):
            del options[name]  # said only where it was asked for
    return {
        "model, adapter, dtype or decoding": tagger.engine.identity,
        "labels": json.dumps(asked, ensure_ascii=False),
        **{name.replace("_", " "): str(value) for name, value in options.items()},
    }


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
    config: tasks.TaskConfig | None = None
    resume: bool = False
    force: bool = False
    cache: Path | None = None
    options: tagging.Options = field(default_factory=tagging.Options)
    task: Task | None = None


def check(job: PredictJob) -> None:
    """Raise what `predict` would of its data sets and label map; nothing is answered or written."""
    parts, _ = _parts(job)
    if job.options.label_map:
        _renamed(job.options.label_map, parts)


def predict(job: PredictJob, ledger: Ledger) -> None:
    """Answer every document with its data set's own labels, verbatim.

    With a label map the model is asked other names. Writes
    ``job.folder/predict_eval_predictions.jsonl``. Raises DataError for unusable data.
    """
    parts, task = _parts(job)
    asked.refuse_empty([part.dataset for part in parts], job.split, task, log.warning)
    form = replace(job.options.form, task=task) if task != "NER" else job.options.form
    job = replace(job, options=replace(job.options, form=form))
    renaming = job.options.label_map
    names = _renamed(renaming, parts) if renaming else {}
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {job.folder}: {error.strerror}") from None
    with ExitStack() as stack:
        output = stack.enter_context(
            formats.open_output(
                str(job.folder / predictions.FILE_NAME),
                format="jsonl",
                force=job.force,
                resume=job.resume,
            )
        )
        if output.reason:
            log.log(NOTICE, "%s", output.reason)
        if output.complete:
            return
        from b2ner_cli.tagger import Tagger

        cache = stack.enter_context(Cache.open(job.cache)) if job.cache else None
        tagger = stack.enter_context(Tagger.load(job.settings, options=job.options, cache=cache))
        output.belongs_to(
            _asked(None, tagger)
            | {
                "data sets": ", ".join(map(str, parts)),
                "split": job.split,
                "limit": str(job.limit),
            }
        )
        predictions.write_names(job.folder, renaming.source if renaming else "", names)
        _settle()
        done = output.done
        for part in parts:
            dataset = part.dataset
            task = job.options.form.task
            wanted = part.once(asked.read_task(dataset, job.split, task, log.warning))
            documents = [
                document._replace(labels=document.labels or dataset.labels)
                for document in islice(wanted, job.limit)
            ]
            options = replace(tagger.options, language=dataset.language)
            asking = Planner(tagger.engine, None, options)
            skip, done = min(done, len(documents)), max(0, done - len(documents))
            for item in tagging.tag(documents, tagger.engine, None, options, cache, skip=skip):
                if isinstance(item, BadRecord):
                    raise DataError(f"{item.origin}: {item.message}", item.hint)
                output.write(predictions.encode(_prediction(dataset, item, asking)))
                ledger.result(item)


def _renamed(renaming: LabelMap, parts: Sequence[tasks.Part]) -> dict[str, dict[str, str]]:
    """The labels of each set that are asked under other names; refuses two under one name."""
    sets = {f"{part.dataset.task}_{part.dataset.name}": part.dataset.labels for part in parts}
    for labels in sets.values():
        renaming.ask(LabelSet(tuple(dict.fromkeys(labels))))
    if unused := renaming.unused(name for labels in sets.values() for name in labels):
        log.warning("%s", unused)
    return {name: renamed for name, labels in sets.items() if (renamed := renaming.renamed(labels))}


def _settle() -> None:
    """Spare the garbage collector what is loaded by now, and will stay: torch and the model.

    Going through all of that again and again took a fifth of a run whose answers are cached. Nor
    need it look often at what a run makes: a window of documents, none of which is a cycle.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


def preview(
    documents: Iterable[Document | BadRecord],
    settings: Settings,
    labels: LabelSet | None,
    options: tagging.Options,
    most: int = 3,
) -> Iterator[str]:
    """The first documents' prompts and their token counts, from the tokenizer alone.

    Examples are shown all: how many fit is known once the model is.
    """
    language = options.language
    if options.form.task in ABOUT_EVENTS:
        raise UsageError("prompts of one event each are not shown", "leave out --dry-run")
    from b2ner_cli import backbone
    from b2ner_cli.model_files import locate

    source = locate(settings.model, settings.adapter, settings.revision, weights=False)
    tokenizer = backbone.load_tokenizer(source)
    shown = 0
    for item in tagging.with_labels(documents, labels):
        if isinstance(item, BadRecord):
            yield f"# {item.origin}: {item.message}"
            continue
        asked = labels
        if item.labels:
            asked = LabelSet(tuple(dict.fromkeys(item.labels))).described(options.descriptions)
        assert asked is not None  # with_labels lets no document through without
        spoken = detect_language(item.text) if language == "auto" else as_language(language)
        prompt = prompts.render(asked, item.text, spoken, options.form.without(item.text))
        prefix, own = (
            tokenizer.count(prompt.prefix) + len(tokenizer.bos),
            tokenizer.count(prompt.own),
        )
        counts = f"{prefix} shared + {own} own tokens, answer up to {settings.max_answer}"
        yield f"# {item.origin or item.id}: {counts}"
        yield prompt.text
        yield ""
        shown += 1
        if shown == most:
            return


def _parts(job: PredictJob) -> tuple[list[tasks.Part], Task]:
    """What to answer, and for which task: what a task config chooses, or all documents of the
    sets under `data` of the task asked for.
    """
    split, config = job.split, job.config
    if split not in b2nerd.SPLITS:
        raise UsageError(f"no split {split!r}", "choose train, dev or test")
    if config is not None:
        wanted = [job.task] if job.task else []
        parts = tasks.find(config.only(split, job.only), split, job.data, wanted)
    else:
        parts = [tasks.Part(dataset, task=task) for dataset, task in _chosen(job)]
    several = {part.task for part in parts}
    if len(several) > 1:
        names = " or ".join(sorted(task.lower() for task in several))
        raise UsageError("sets of several tasks", f"name one: --task {names}")
    return parts, several.pop()


def _chosen(job: PredictJob) -> list[tuple[b2nerd.DataSet, Task]]:
    """The sets under `data` that a task can be asked of and that have the split, or those named."""
    data, split, only = job.data, job.split, job.only
    found = asked.by_task(b2nerd.datasets(data), [job.task] if job.task else (), only)
    known = {*found, *(f"{d.task}_{d.name}" for d, _ in found.values())}
    if missing := [name for name in only if name not in known]:
        raise DataError(f"{data} has no data set {missing[0]}", f"it has {', '.join(found)}")
    wanted = [each for name, each in found.items() if asked.asked_for(name, each[0], only)]
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
    dataset: b2nerd.DataSet, result: Result, asking: Planner
) -> predictions.PredictionRecord:
    document = result.document
    names = tuple(dict.fromkeys(document.labels or dataset.labels))
    labels = LabelSet(names).described(asking.options.descriptions)
    language = as_language(dataset.language)
    said = [answer.strip() for answer in result.answers]
    spoken = [answer for answer in said if answer and answer != prompts.NONE.strip()]
    return predictions.PredictionRecord(
        task=result.task,
        dataset=dataset.name,
        language=dataset.language,
        id=document.id,
        sentence=document.text,
        instruction=prompts.render(labels, document.text, language, asking.form(document)).text,
        gold=prompts.answer(document.mentions or (), result.task).strip(),
        predicted="; ".join(spoken) or prompts.NONE.strip(),
        entities=result.entities if result.task == "NER" else None,
        found=None if result.task == "NER" else found.spelled(result),
    )


def _check_resumed(
    documents: Iterable[Document | BadRecord], output: formats.Output, task: Task
) -> Iterator[Document | BadRecord]:
    """Pass documents on, making sure that the last one written is the one it should be."""
    seen = 0
    for document in documents:
        if isinstance(document, Document):
            seen += 1
            if seen == output.done and not jsonl.continues(output.last, document, task):
                raise OutputError(
                    f"{output.part} was not written from this input: record {seen} differs",
                    "give the same input and options, or start over with --force",
                )
        yield document
    if seen < output.done:
        raise OutputError(
            f"{output.part} holds {output.done:,} documents, the input only {seen:,}",
            "give the same input and options, or start over with --force",
        )


def _watch_ids(documents: Iterable[Document | BadRecord]) -> Iterator[Document | BadRecord]:
    """Pass documents on, warning of ids that come twice among the first of them."""
    seen = _Hashes()
    for document in documents:
        if (
            isinstance(document, Document)
            and seen.count < _IDS
            and document.id != document.origin
            and not seen.add(hash(document.id))
        ):
            log.warning("%s: id %r comes again; it is kept", document.origin, document.id)
        yield document


class _Hashes:
    """A set of hashes, 8 bytes a slot: a fifth of what Python's takes, and all of it at once."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = array("q", bytes(8 * _SLOTS))

    def add(self, hash: int) -> bool:
        """Add a hash; False if it was there."""
        hash = hash or 1  # an empty slot is 0
        slots, slot = self._slots, hash % _SLOTS
        while (held := slots[slot]) != hash:
            if not held:
                slots[slot] = hash
                self.count += 1
                return True
            slot = (slot + 1) % _SLOTS
        return False


def _tokens(name: str) -> Tokens:
    if name == "auto":
        return "auto"
    if name == "whitespace":
        return "whitespace"
    if name == "char":
        return "char"
    raise UsageError(f"no tokens {name!r}", "choose auto, whitespace or char")
