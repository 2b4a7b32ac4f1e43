"""Tagging from Python: a loaded model with labels, ready for any number of documents.

tagger = Tagger.load("mini", labels=["person", "movie title"])
for result in tagger.tag(["Moon plays StarCraft II ."]):
    print(result.entities)
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.core.tasks import LABELS_ONLY, Task
from b2ner_cli.engine import PackedEngine, PlainEngine, open_engine, workers
from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import placement
from b2ner_cli.models.devices import Choice, choose_devices
from b2ner_cli.models.files import locate
from b2ner_cli.models.loading import Backbone, load
from b2ner_cli.models.tokenizer import load_tokenizer
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.loop import Engine, Options
from b2ner_cli.tagging.planning import CHUNK_TOKENS
from b2ner_cli.tagging.settings import Settings

log = logging.getLogger("b2ner")


@dataclass(frozen=True, slots=True)
class Tagger:
    """An engine with the labels and options to use it with."""

    engine: Engine
    labels: LabelSet | None
    options: Options
    cache: Cache | None = None

    @classmethod
    def load(
        cls,
        model: str | Settings | None = None,
        labels: LabelSet | Sequence[str] | None = None,
        *,
        options: Options = Options(),
        cache: Cache | None = None,
    ) -> Tagger:
        """Load a model by name or directory, or as `Settings` say.

        Where `options.chunk_tokens` is None the adapter says how much it was trained on. Raises
        ModelError or UsageError with the reason.
        """
        settings = model if isinstance(model, Settings) else Settings(model)
        if not isinstance(labels, LabelSet) and labels is not None:
            labels = LabelSet(tuple(labels))
        where, task = choose_devices(settings.device), options.form.task
        devices = where.value.split(",")
        opened: Engine
        if len(devices) == 1:
            opened = one = _open(replace(settings, device=where.value), task)
            adapter = one.backbone.source.adapter
        else:
            opened, adapter = _open_pool(settings, task, devices, where.reason)
        if options.chunk_tokens is None:
            chosen = chunk_tokens(adapter)
            log.info(chosen.reason)
            options = replace(options, chunk_tokens=int(chosen.value))
        return cls(opened, labels, options, cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the processes of an engine on several devices; of others there is nothing to do."""
        if isinstance(self.engine, workers.WorkerPool):
            self.engine.close()

    def tag(self, documents: Iterable[str | Document]) -> Iterator[Result]:
        """Tag texts or documents; results come in input order.

        Raises UsageError for a document without usable labels.
        """
        given = (
            Document(str(index), document) if isinstance(document, str) else document
            for index, document in enumerate(documents)
        )
        labelled = loop.with_labels(given, self.labels)
        for result in loop.tag(labelled, self.engine, self.labels, self.options, self.cache):
            if isinstance(result, BadRecord):
                raise UsageError(f"{result.origin or 'document'}: {result.message}", result.hint)
            yield result


def _open(settings: Settings, task: Task) -> PackedEngine | PlainEngine:
    """Load a model on one device and give its engine; tells the log what was chosen and why."""
    backbone = load(
        settings.model, settings.adapter, revision=settings.revision, device=settings.device,
        dtype=settings.dtype, device_map=settings.device_map, load_in=settings.load_in,
    )  # fmt: skip
    decoding = choose_decoding(settings.constrain, backbone.source.adapter, task)
    opened = open_engine(
        settings.engine, backbone, max_answer=settings.max_answer,
        batch_tokens=settings.batch_tokens, constrain=decoding.value == "constrained",
    )  # fmt: skip
    chosen = (*backbone.choices, decoding)
    for reason in (*(choice.reason for choice in chosen), *opened.notes):
        log.info(reason)
    return opened


def _open_pool(
    settings: Settings, task: Task, devices: Sequence[str], reason: str
) -> tuple[workers.WorkerPool, Path | None]:
    """Give an engine over a process a device, and the adapter of all; no model is loaded here."""
    placement.check(settings.device_map, settings.load_in, settings.device)
    source = locate(settings.model, settings.adapter, settings.revision)
    threads = max(1, torch.get_num_threads() // len(devices))
    log.info("%s, a process each; CPU threads of each: %d", reason, threads)
    make = functools.partial(_open_on, settings, task, threads)
    engine = workers.start(devices, make, load_tokenizer(source).count)
    if not engine.identity.startswith(f"{source.fingerprint}/"):
        engine.close()
        raise ModelError(f"the files of {source.name} changed while they were loaded", "try again")
    return engine, source.adapter


def _open_on(settings: Settings, task: Task, threads: int, device: str) -> Engine:
    """What each of several processes does: the same as one alone, with its share of the CPU."""
    torch.set_num_threads(threads)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # or some libraries would take memory of the first card, too
        log.info("%s", torch.cuda.get_device_name(device))
    return _open(replace(settings, device=device), task)


def chunk_tokens(adapter: Path | None) -> Choice:
    """How much text to put into one prompt: as much as the adapter was trained on, if known."""
    longest = _said_of(adapter, "longest_document_tokens")
    if isinstance(longest, int) and longest > 0:
        reason = f"chunks of {longest} tokens: what the adapter was trained on"
        return Choice(str(longest), reason)
    return Choice(str(CHUNK_TOKENS), f"chunks of up to {CHUNK_TOKENS} tokens")


def choose_decoding(constrain: bool | None, adapter: Path | None, task: Task = "NER") -> Choice:
    """Constrained or free answers: as asked for, or as the adapter says it is better.

    Raises UsageError for a task whose answers are not pairs of a label and a part of the text.
    """
    if task in ("RE", *LABELS_ONLY):
        if constrain:
            raise UsageError(
                f"answers of task {task.lower()} cannot be constrained", "leave out --constrain"
            )
        return Choice("free", f"answers free: task {task.lower()} has no other")
    if constrain is not None:
        value = "constrained" if constrain else "free"
        return Choice(value, f"answers {value}: asked for")
    if _said_of(adapter, "constrain") is True:
        return Choice("constrained", "answers constrained: the adapter scores higher so")
    return Choice("free", "answers free, as the models of the paper give them")


def _said_of(adapter: Path | None, what: str) -> object:
    """What an adapter's run.json says, None where there is none or it does not."""
    if adapter is None:
        return None
    try:
        run = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run.get(what) if isinstance(run, dict) else None


def backbone_of(engine: Engine) -> Backbone | None:
    """The backbone an engine answers with, None for an engine without one."""
    return getattr(engine, "backbone", None)
