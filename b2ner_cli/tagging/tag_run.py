"""A whole run of `tag`: documents in, an output file out.

What can be refused is refused before a model is loaded. Knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Document, Entity
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import NOTICE, InputError, OutputError, UsageError
from b2ner_cli.formats import jsonl
from b2ner_cli.formats.conll import Tokens
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import check, loop, runs
from b2ner_cli.tagging.asked_events import with_events
from b2ner_cli.tagging.settings import Settings

_IDS = 100_000  # explicit ids remembered to warn of repeats


@dataclass(frozen=True, slots=True)
class TagJob:
    """What `tag` was asked to do; `cache` None is to do without.

    Of `check` documents it is asked again how far to trust the answers; 0 asks once.
    """

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
    check: int = 0


def tag(job: TagJob, ledger: runs.Ledger) -> check.Check | None:
    """Tag a job's documents into its output; give what came of asking again, where it was.

    Raises B2nerError when the run cannot go on; what is written stays and can be resumed.
    """
    _check_task(job)

    def dropped(entity: Entity) -> None:
        ledger.dropped += 1

    header, encode = formats.writer(job.kind, tokens=_tokens(job.tokens), on_dropped=dropped)
    sample = check.Sample(job.check)
    with ExitStack() as loaded:
        with runs.open_output(
            job.output, resume=job.resume, force=job.force, format=job.kind, header=header
        ) as output:
            if output.complete:
                return None
            tagger = loaded.enter_context(
                runs.load(job.settings, job.labels, job.options, job.cache, output)
            )
            cut = loop.CutRun(output.done) if job.resume else None
            for item in loop.tag(
                _documents(job, output), tagger.engine, job.labels, tagger.options, tagger.cache,
                cut=cut, live=job.live,
            ):  # fmt: skip
                if not isinstance(item, BadRecord):
                    output.write(encode(item))
                    ledger.result(item)
                    if job.check:
                        sample.add(item)
                elif job.strict:
                    raise InputError(f"{item.origin}: {item.message}", item.hint)
                else:
                    ledger.bad_record(item)
        # The output is whole by now, whatever becomes of the second answers.
        if not job.check:
            return None
        runs.log.log(NOTICE, "asking %d documents again", len(sample.results))
        return check.ask_again(tagger, sample)


def _check_task(job: TagJob) -> None:
    task = job.options.form.task
    if task != "NER" and job.kind != "jsonl":
        raise UsageError(
            f"{job.kind} holds entities alone, not what task {task.lower()} finds",
            "write JSONL: --to jsonl",
        )
    if task != "NER" and job.check:
        raise UsageError(
            f"--check compares entities, not what task {task.lower()} finds", "leave it out"
        )


def _documents(job: TagJob, output: formats.Output) -> Iterator[Document | BadRecord]:
    """A job's documents with what is asked about each, from the first one in an output on."""
    task = job.options.form.task
    documents = loop.with_labels(_watch_ids(job.documents), job.labels)
    if task in ABOUT_EVENTS:
        documents = with_events(documents, job.options)
    return _check_resumed(documents, output, task) if output.done else documents


def _check_resumed(
    documents: Iterable[Document | BadRecord], output: formats.Output, task: Task
) -> Iterator[Document | BadRecord]:
    """Pass documents on, making sure that the last one written is the one it should be."""
    hint = "give the same input and options, or start over with --force"
    seen = 0
    for document in documents:
        if isinstance(document, Document):
            seen += 1
            if seen == output.done and not jsonl.continues(output.last, document, task):
                raise OutputError(
                    f"{output.part} was not written from this input: record {seen} differs", hint
                )
        yield document
    if seen < output.done:
        raise OutputError(
            f"{output.part} holds {output.done:,} documents, the input only {seen:,}", hint
        )


def _watch_ids(documents: Iterable[Document | BadRecord]) -> Iterator[Document | BadRecord]:
    """Pass documents on, warning of ids that come twice among the first of them."""
    seen: set[int] = set()  # their hashes: ids may be long
    for document in documents:
        count = len(seen)
        if isinstance(document, Document) and count < _IDS and document.id != document.origin:
            seen.add(hash(document.id))
            if len(seen) == count:
                runs.log.warning("%s: id %r comes again; it is kept", document.origin, document.id)
        yield document


def _tokens(name: str) -> Tokens:
    if name == "auto":
        return "auto"
    if name == "whitespace":
        return "whitespace"
    if name == "char":
        return "char"
    raise UsageError(f"no tokens {name!r}", "choose auto, whitespace or char")
