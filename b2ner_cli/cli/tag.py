"""`b2ner tag`: documents in, entities out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2ner_cli.cli import console, prompting
from b2ner_cli.cli.options import (
    AnswerOptions,
    Descriptions,
    Examples,
    From,
    LabelMapFile,
    LabelValues,
    Quiet,
    TaskName,
    TextField,
    Verbose,
    chosen_label_map,
    grouped,
    input_option,
    labels_option,
    output_option,
    run_option,
)
from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.core.document import BadRecord, Document
    from b2ner_cli.labels.label_set import LabelSet
    from b2ner_cli.tagging.check import Check
    from b2ner_cli.tagging.loop import Options
    from b2ner_cli.tagging.settings import Settings

EXAMPLES = (
    'b2ner tag docs.jsonl -l "person, movie title" -o tagged.jsonl\n\n'
    'b2ner tag docs.jsonl -l "person, movie title" -o tagged.jsonl --check\n\n'
    "cat docs.jsonl | b2ner tag - -l @labels.txt | jq .entities"
)


_SAMPLE = 100  # documents asked again


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What is looked for, and the prompt's form."""

    labels: LabelValues = None
    labels_field: Annotated[
        str | None,
        labels_option(
            metavar="NAME", help="Field with a document's own labels; --labels stand in."
        ),
    ] = None
    label_map: LabelMapFile = None
    improve_labels: Annotated[
        bool | None,
        labels_option(
            "--improve-labels/--labels-as-given",
            help="Ask labels such as PER, movie_title or persn under better names; answers keep "
            "yours. Default for mini.",
        ),
    ] = None
    lang: Annotated[
        str,
        labels_option(help="Language of the prompt: auto, en, zh, de, nl, es. auto: by script."),
    ] = "auto"
    task: TaskName = None
    examples: Examples = None
    descriptions: Descriptions = None


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How documents are read."""

    from_: From = None
    lines: Annotated[bool, input_option("--lines", help="A line is a document.")] = False
    text_field: TextField = "text"
    id_field: Annotated[str, input_option(help="JSONL key or CSV column of the id.")] = "id"
    limit: Annotated[int | None, input_option(min=0, help="Read only the first N documents.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Which entities are written, where and how."""

    output: Annotated[str | None, output_option("--output", "-o", help="File; default stdout.")] = (
        None
    )
    to: Annotated[
        str | None,
        output_option("--to", "-t", help="jsonl, conll or csv; by default by suffix of --output."),
    ] = None
    tokens: Annotated[str, output_option(help="CoNLL tokens: auto, whitespace or char.")] = "auto"
    all_occurrences: Annotated[
        bool, output_option("--all-occurrences", help="Mark every occurrence of a found entity.")
    ] = False
    min_score: Annotated[
        str,
        output_option(
            metavar="N|LABEL=N,...",
            help='Drop entities below this: 0.8, "person=0.8, product=0.95", or both.',
        ),
    ] = "0"
    resume: Annotated[bool, output_option("--resume", help="Go on with a killed run.")] = False
    force: Annotated[bool, output_option("--force", help="Overwrite the output.")] = False


@grouped
def tag(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files to tag, - for standard input. JSONL, CSV, TSV, text, CoNLL; .gz."
        ),
    ] = None,
    *,
    asked: LabelOptions,
    reading: InputOptions,
    writing: OutputOptions,
    answering: AnswerOptions,
    strict: Annotated[bool, run_option("--strict", help="Stop at the first bad record.")] = False,
    check: Annotated[
        bool,
        run_option(
            "--check", help="Ask a sample again in another way, and say how far answers agree."
        ),
    ] = False,
    check_sample: Annotated[
        int | None,
        run_option(min=1, metavar="N", help=f"Documents that --check asks again: {_SAMPLE}."),
    ] = None,
    dry_run: Annotated[
        bool,
        run_option("--dry-run", help="Show the first prompts and their tokens; load no model."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Find entities in documents and write them with their places, in input order."""
    from b2ner_cli import formats
    from b2ner_cli.labels.label_map import describe
    from b2ner_cli.tagging import tag_run

    console.set_up_logging(quiet, verbose)
    if check_sample and not check:
        raise UsageError("--check-sample is of --check", "give --check, too, or leave it out")
    again = (check_sample or _SAMPLE) if check else 0
    labels, options = _asked(asked, writing, answering)
    settings = answering.settings()
    sources = _sources(inputs)
    _check_output(writing.output, sources)
    documents = _documents(sources, reading, asked.labels_field)
    doubting = answering.adapter in (None, "none")
    improved = prompting.say_names(labels.names if labels else (), options, doubting=doubting)
    if asked.labels_field and doubting:
        documents = prompting.with_doubts(documents, options)
    if dry_run:
        _preview(documents, settings, labels, options, again)
        return
    job = tag_run.TagJob(
        documents, labels, settings, options, writing.output,
        kind=writing.to or formats.output_format(writing.output), tokens=writing.tokens,
        resume=writing.resume, force=writing.force, strict=strict, cache=answering.answers(),
        live=_is_live(sources), check=again,
    )  # fmt: skip
    with console.Watch() as watch:
        checked = tag_run.tag(job, watch)
    console.note(watch.summary())
    if check:
        _show_check(checked)
    if options.label_map or not improved:  # which has said so already
        console.detail(describe(options.label_map, labels.names if labels else ()))
    if watch.failed:
        raise typer.Exit(1)


def _show_check(found: Check | None) -> None:
    """Print on stderr how far both answers agree, however quiet all is to be: it was asked for."""
    from b2ner_cli.scoring.tables import agreement_rows

    if found is None or not found.tagged:
        console.finding("check: nothing was tagged, so nothing is checked")
        return
    console.finding(
        f"check: {found.asked:,} of the {found.tagged:,} documents that this run tagged were asked "
        f"again, {found.way}"
    )
    if found.alike:
        console.finding(f"check: {found.alike:,} more would be asked the same, and were not")
    if found.agreement.labels:
        console.print_table(agreement_rows(found.agreement), to_stderr=True)
        console.finding("check: agreement is not F1; `b2ner docs tagging` says what to make of it")
    else:
        console.finding("check: no entities in either answer, so nothing to compare")


def _asked(
    asked: LabelOptions, writing: OutputOptions, answering: AnswerOptions
) -> tuple[LabelSet | None, Options]:
    """The labels of the run, if it has any, and how they are asked for."""
    from b2ner_cli.tagging.loop import Options

    labels, roles = prompting.labels(asked.labels, asked.labels_field, asked.task)
    label_map = chosen_label_map(asked.label_map)
    if label_map and labels:
        label_map.ask(labels)
        unused = label_map.unused if asked.labels_field else label_map.check_used
        console.warn(unused(labels.names))
    form, described = prompting.form(asked.task, asked.examples, asked.descriptions)
    labels = labels and prompting.described(labels, described, form)
    least, by_label = prompting.min_scores(
        writing.min_score, None if asked.labels_field else labels
    )
    options = Options(
        asked.lang, writing.all_occurrences, least, answering.chunk_tokens, label_map=label_map,
        form=form, descriptions=described, roles=roles, min_scores=by_label,
        improve_labels=_improves(asked, answering),
    )  # fmt: skip
    return labels, options


def _improves(asked: LabelOptions, answering: AnswerOptions) -> bool:
    """Whether labels are asked under better names: as was said, else where it was measured to
    help, for the adapter that comes along. One of the user's own knows the labels it learned.
    """
    from b2ner_cli.core.tasks import as_task
    from b2ner_cli.models.embedded import DEFAULT, EMBEDDED

    if asked.improve_labels is not None:
        return asked.improve_labels
    shipped = answering.adapter is None and (answering.model or DEFAULT) in EMBEDDED
    return shipped and as_task(asked.task or "ner") == "NER"


def _sources(inputs: Iterable[str] | None) -> list[str]:
    sources = list(inputs or ())
    if sources:
        return sources
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing to tag", "name files, or pipe documents in: cat x | b2ner tag -")
    return ["-"]


def _check_output(output: str | None, sources: Iterable[str]) -> None:
    """Refuse to write over what is read: --force means an earlier output."""
    if output is None or not os.path.exists(output):
        return
    for source in sources:
        if source != "-" and os.path.exists(source) and os.path.samefile(source, output):
            raise UsageError(f"{output} is an input, too", "name another file with -o")


def _documents(
    sources: list[str], reading: InputOptions, labels_field: str | None
) -> Iterator[Document | BadRecord]:
    from b2ner_cli import formats

    documents = formats.read(
        sources,
        format="lines" if reading.lines else reading.from_,
        text_field=reading.text_field,
        id_field=reading.id_field,
        labels_field=labels_field,
        stdin=_stdin() if "-" in sources else None,
    )
    return islice(documents, reading.limit)


def _stdin() -> Any:
    # A reader of its own: a thread that waits in sys.stdin would hold up the interpreter's exit.
    return open(0, "rb", closefd=False)


def _is_live(sources: Iterable[str]) -> bool:
    """Whether an input is a pipe or a terminal, on which documents may take their time."""
    from b2ner_cli.formats.input_file import is_stream

    return any(is_stream("/dev/stdin" if source == "-" else source) for source in sources)


def _preview(
    documents: Iterable[Document | BadRecord],
    settings: Settings,
    labels: LabelSet | None,
    options: Options,
    checked: int,
) -> None:
    """Print the first prompts, under the names that labels are asked by."""
    from b2ner_cli.tagging.preview import preview

    for line in preview(documents, settings, labels, options, checked=checked):
        typer.echo(line)
