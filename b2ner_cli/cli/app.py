"""The command line: each command parses its options, calls one function and shows the outcome.

stdout carries data alone; everything else goes to stderr through `console`. Exit codes: 0 done,
1 done with findings, 2 could not do it, 130 interrupted. Heavy libraries are imported inside the
commands, so that help answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from b2ner_cli import __version__
from b2ner_cli.cli import bench, console, docs, eval, prompting, train
from b2ner_cli.cli import cache as cli_cache
from b2ner_cli.cli import data as cli_data
from b2ner_cli.cli import labels as cli_labels
from b2ner_cli.cli import model as cli_model
from b2ner_cli.cli.cache import CachePath
from b2ner_cli.cli.options import (
    Adapter,
    BatchTokens,
    Collection,
    Constrain,
    Descriptions,
    Device,
    Dtype,
    Examples,
    LabelMapFile,
    LabelValues,
    MaxAnswer,
    Model,
    Quiet,
    Revision,
    TaskFile,
    TaskName,
    Verbose,
    as_batch_tokens,
    chosen_data,
    chosen_label_map,
)
from b2ner_cli.errors import B2nerError, OutputError, UsageError
from b2ner_cli.tagging import predict_run, preview

app = typer.Typer(
    name="b2ner",
    help="Tag documents in bulk with open-label named entities, with exact character offsets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_cache.app, name="cache")
app.add_typer(cli_model.app, name="model")
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_labels.app, name="labels")

Inputs = Annotated[
    list[str] | None,
    typer.Argument(help="Files to tag, - for standard input. JSONL, CSV, TSV, text, CoNLL; .gz."),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(metavar="auto", rich_help_panel="Model",
                 help="auto spreads a model over all cards."),
]  # fmt: skip
LoadIn = Annotated[
    str | None,
    typer.Option(metavar="8bit|4bit", rich_help_panel="Model",
                 help="Store linear layers in fewer bits; needs the extra quantized."),
]  # fmt: skip
EngineName = Annotated[
    str,
    typer.Option("--engine", rich_help_panel="Model", help="fast, or plain: generate as it is."),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", rich_help_panel="Run", help="Ask every question anew.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"b2ner {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command(
    epilog='b2ner tag docs.jsonl -l "person, movie title" -o tagged.jsonl\n\n'
    "cat docs.jsonl | b2ner tag - -l @labels.txt | jq .entities"
)
def tag(
    inputs: Inputs = None,
    labels: LabelValues = None,
    labels_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel="Labels",
                     help="Field with a document's own labels; --labels stand in."),
    ] = None,
    label_map: LabelMapFile = None,
    lang: Annotated[
        str,
        typer.Option(rich_help_panel="Labels",
                     help="Language of the prompt: auto, en, zh, de, nl, es. auto: by script."),
    ] = "auto",
    task: TaskName = None,
    examples: Examples = None,
    descriptions: Descriptions = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", rich_help_panel="Input",
                     help="jsonl, csv, txt, lines or conll; by default by suffix, then content."),
    ] = None,
    lines: Annotated[
        bool,
        typer.Option("--lines", rich_help_panel="Input", help="A line is a document."),
    ] = False,
    text_field: Annotated[
        str, typer.Option(rich_help_panel="Input", help="JSONL key or CSV column of the text.")
    ] = "text",
    id_field: Annotated[
        str, typer.Option(rich_help_panel="Input", help="JSONL key or CSV column of the id.")
    ] = "id",
    limit: Annotated[
        int | None,
        typer.Option(min=0, rich_help_panel="Input", help="Read only the first N documents."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", rich_help_panel="Output", help="File; default stdout."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", "-t", rich_help_panel="Output",
                     help="jsonl, conll or csv; by default by suffix of --output."),
    ] = None,
    tokens: Annotated[
        str,
        typer.Option(rich_help_panel="Output", help="CoNLL tokens: auto, whitespace or char."),
    ] = "auto",
    all_occurrences: Annotated[
        bool,
        typer.Option("--all-occurrences", rich_help_panel="Output",
                     help="Mark every occurrence of a found entity."),
    ] = False,
    min_score: Annotated[
        float,
        typer.Option(min=0, max=1, rich_help_panel="Output", help="Drop entities below this."),
    ] = 0.0,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel="Output", help="Go on with a killed run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel="Output", help="Overwrite the output.")
    ] = False,
    model: Model = None,
    adapter: Adapter = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    load_in: LoadIn = None,
    engine: EngineName = "fast",
    batch_tokens: BatchTokens = "auto",
    max_answer: MaxAnswer = 256,
    constrain: Constrain = None,
    cache: CachePath = None,
    no_cache: NoCache = False,
    strict: Annotated[
        bool, typer.Option("--strict", rich_help_panel="Run", help="Stop at the first bad record.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", rich_help_panel="Run",
                     help="Show the first prompts and their tokens; load no model."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Find entities in documents and write them with their places, in input order."""
    from b2ner_cli import formats
    from b2ner_cli.labels.label_map import describe
    from b2ner_cli.tagging import tag_run
    from b2ner_cli.tagging.loop import Options
    from b2ner_cli.tagging.settings import Settings

    console.set_up_logging(quiet, verbose)
    label_set, roles = prompting.labels(labels, labels_field, task, quiet)
    renaming = chosen_label_map(label_map)
    if renaming and label_set:
        renaming.ask(label_set)
        unused = renaming.unused if labels_field else renaming.check_used
        console.warn(unused(label_set.names))
    form, described = prompting.form(task, examples, descriptions)
    label_set = label_set and prompting.described(label_set, described, form)
    options = Options(
        lang, all_occurrences, min_score, label_map=renaming, form=form, descriptions=described,
        roles=roles,
    )  # fmt: skip
    settings = Settings(
        model, adapter, revision, device, dtype, device_map, load_in, engine, max_answer,
        as_batch_tokens(batch_tokens), constrain,
    )  # fmt: skip
    sources = _sources(inputs)
    _check_output(output, sources)
    documents = formats.read(
        sources,
        format="lines" if lines else from_,
        text_field=text_field,
        id_field=id_field,
        labels_field=labels_field,
        stdin=_stdin() if "-" in sources else None,
    )
    wanted = islice(documents, limit) if limit is not None else documents
    if dry_run:
        shown = renaming.ask(label_set) if renaming and label_set else label_set
        if renaming:
            wanted = map(renaming.document_labels, wanted)
        for line in preview.preview(wanted, settings, shown, options):
            typer.echo(line)
        return
    kind = to or formats.output_format(output)
    job = tag_run.TagJob(
        documents=wanted, labels=label_set, settings=settings, options=options, output=output,
        kind=kind, tokens=tokens, resume=resume, force=force, strict=strict,
        cache=_cache_path(cache, no_cache), live=_is_live(sources),
    )  # fmt: skip
    with console.Watch(quiet) as watch:
        tag_run.tag(job, watch)
    if not quiet:
        console.note(watch.summary())
    console.detail(describe(renaming, label_set.names if label_set else ()))
    if watch.failed:
        raise typer.Exit(1)


@app.command(epilog="b2ner predict --data B2NERD --split test -o out && b2ner eval out")
def predict(
    data: Annotated[Path, typer.Option(help="Data sets in B2NERD layout: a folder or zip.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the predictions.")],
    collection: Collection = None,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    tasks: TaskFile = None,
    task: TaskName = None,
    examples: Examples = None,
    descriptions: Descriptions = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Only this set, e.g. NER_en_WNUT17. Repeatable."),
    ] = None,
    label_map: LabelMapFile = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N documents of each set.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a killed run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the predictions.")] = False,
    model: Model = None,
    adapter: Adapter = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    load_in: LoadIn = None,
    engine: EngineName = "fast",
    batch_tokens: BatchTokens = "auto",
    max_answer: MaxAnswer = 256,
    constrain: Constrain = None,
    cache: CachePath = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Answer data sets with their own labels; write the reference's prediction file."""
    from b2ner_cli.datasets.task_configs import read
    from b2ner_cli.tagging.loop import Options
    from b2ner_cli.tagging.settings import Settings

    console.set_up_logging(quiet, verbose)
    settings = Settings(
        model, adapter, revision, device, dtype, device_map, load_in, engine, max_answer,
        as_batch_tokens(batch_tokens), constrain,
    )  # fmt: skip
    form, described = prompting.form(task, examples, descriptions)
    job = predict_run.PredictJob(
        chosen_data(data, collection), output, settings, split, only or (), limit,
        config=read(tasks) if tasks is not None else None, resume=resume, force=force,
        cache=_cache_path(cache, no_cache), task=form.task if task else None,
        options=Options(label_map=chosen_label_map(label_map), form=form, descriptions=described),
    )  # fmt: skip
    with console.Watch(quiet) as watch:
        predict_run.predict(job, watch)
    if not quiet:
        console.note(watch.summary())


app.command("eval", epilog=eval.EXAMPLES)(eval.evaluate)


app.command("train", epilog=train.EXAMPLES)(train.train)
app.command(epilog=bench.EXAMPLES)(bench.bench)
app.command(epilog=docs.EXAMPLES)(docs.docs)


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


def _stdin() -> Any:
    # A reader of its own: a thread that waits in sys.stdin would hold up the interpreter's exit.
    return open(0, "rb", closefd=False)


def _is_live(sources: Iterable[str]) -> bool:
    """Whether an input is a pipe or a terminal, on which documents may take their time."""
    from b2ner_cli.formats.input_file import is_stream

    return any(is_stream("/dev/stdin" if source == "-" else source) for source in sources)


def _cache_path(path: Path | None, off: bool) -> Path | None:
    """Where the run keeps answers, None for nowhere."""
    if off:
        return None
    from b2ner_cli.core.paths import cache_directory
    from b2ner_cli.tagging.answer_cache import FILE_NAME

    return path or cache_directory() / FILE_NAME


def main() -> NoReturn:
    """Run the command line and exit with the code that says how it went."""
    _speak_utf8()
    # transformers looks for progress bars and telemetry settings when it is imported
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app(standalone_mode=True)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
        if isinstance(exit_.__context__, BrokenPipeError):  # Typer makes a 1 of `| head`
            os._exit(0)
    except B2nerError as error:
        console.show_error(error)
        code = 2
    except MemoryError:
        console.show_error(B2nerError("out of memory", "try a smaller --batch-tokens"))
        code = 2
    except OSError as error:  # a disk that fills up or goes away under what we print or keep
        where = f"{error.filename}: " if error.filename else ""
        console.show_error(OutputError(where + (error.strerror or str(error)).lower()))
        code = 2
    _leave(code)


def _speak_utf8() -> None:
    """Begin again in UTF-8 mode where the locale, as C does, leaves Python with ASCII alone.

    Arguments, file names and output are UTF-8 then, as they are under any other locale of today.
    """
    if sys.getfilesystemencoding() == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _leave(code: int) -> NoReturn:
    """Flush and exit without waiting for a reader that may be stuck on a pipe."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if code != 2:  # else it is this that was complained of
            console.show_error(OutputError(f"cannot write standard output: {error.strerror}"))
        code = 2
    sys.stderr.flush()
    os._exit(code)
