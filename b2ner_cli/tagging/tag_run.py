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
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Document, Entity, Result
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import NOTICE, InputError, OutputError, UsageError
from b2ner_cli.formats import gold, jsonl
from b2ner_cli.formats.conll import Tokens
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.settings import Settings

if TYPE_CHECKING:
    from b2ner_cli.tagging.tagger import Tagger

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
    options: loop.Options
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
        documents = loop.with_labels(_watch_ids(job.documents), job.labels)
        if task in ABOUT_EVENTS:
            documents = _with_events(documents, job.options, job.labels)
        if output.done:
            documents = _check_resumed(documents, output, task)
        from b2ner_cli.tagging.tagger import Tagger

        cache = stack.enter_context(Cache.open(job.cache)) if job.cache else None
        tagger = stack.enter_context(
            Tagger.load(job.settings, job.labels, options=job.options, cache=cache)
        )
        output.belongs_to(_asked(job.labels, tagger))
        _settle()
        for item in loop.tag(
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
    documents: Iterable[Document | BadRecord], options: loop.Options, labels: LabelSet | None
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
        if getattr(tagger.options, name) == getattr(loop.Options(), name):
            del options[name]  # said only where it was asked for
    return {
        "model, adapter, dtype or decoding": tagger.engine.identity,
        "labels": json.dumps(asked, ensure_ascii=False),
        **{name.replace("_", " "): str(value) for name, value in options.items()},
    }


def _settle() -> None:
    """Spare the garbage collector what is loaded by now, and will stay: torch and the model.

    Going through all of that again and again took a fifth of a run whose answers are cached. Nor
    need it look often at what a run makes: a window of documents, none of which is a cycle.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


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
