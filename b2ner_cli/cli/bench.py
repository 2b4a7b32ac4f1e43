"""`b2ner bench`: how fast a model answers on this machine, and the settings that are chosen."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated

import typer

from b2ner_cli.cli import console
from b2ner_cli.cli.options import (
    Adapter,
    BatchTokens,
    Constrain,
    Device,
    Dtype,
    LabelValues,
    MaxAnswer,
    Model,
    Quiet,
    Revision,
    Verbose,
    as_batch_tokens,
)

EXAMPLES = (
    'b2ner bench docs.jsonl -l "person, movie title" --documents 300\n\n'
    "b2ner bench -m path/to/model --dtype bfloat16 --json"
)


def bench(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Files to measure with; by default synthetic documents."),
    ] = None,
    labels: LabelValues = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", rich_help_panel="Input",
                     help="jsonl, csv, txt, lines or conll; by default by suffix, then content."),
    ] = None,
    text_field: Annotated[
        str, typer.Option(rich_help_panel="Input", help="JSONL key or CSV column of the text.")
    ] = "text",
    documents: Annotated[
        int, typer.Option(min=1, rich_help_panel="Input", help="Documents, the first of INPUT.")
    ] = 64,
    model: Model = None,
    adapter: Adapter = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = "auto",
    max_answer: MaxAnswer = 256,
    constrain: Constrain = None,
    rounds: Annotated[
        int,
        typer.Option(min=1, rich_help_panel="Run",
                     help="Slices of the documents; both engines answer each, in turns."),
    ] = 3,
    skip_plain: Annotated[
        bool,
        typer.Option("--skip-plain", rich_help_panel="Run",
                     help="Leave out plain generate, which takes most of the time."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Measure how fast documents are answered here, next to plain generate, and what is chosen.

    Exits with 1 if answers of the two engines differ in float32. Uses no cache.
    """
    from b2ner_cli import formats
    from b2ner_cli.labels.label_set import LabelSet
    from b2ner_cli.labels.reading import parse_labels

    console.set_up_logging(quiet, verbose)
    show = (lambda line: None) if quiet else console.note
    tokens = as_batch_tokens(batch_tokens)
    label_set = None
    if labels:
        label_set, notes = parse_labels(labels)
        for line in notes:
            show(line)
    read = formats.read(inputs, format=from_, text_field=text_field) if inputs else None

    from b2ner_cli.bench import benchmark, synthetic
    from b2ner_cli.models import loading

    loaded = loading.load(model, adapter, revision=revision, device=device, dtype=dtype)
    report = benchmark.run(
        loaded,
        islice(read, documents) if read else synthetic.documents(documents),
        label_set or LabelSet(benchmark.LABELS),
        benchmark.Settings(rounds, max_answer, tokens, constrain, not skip_plain),
        source=", ".join(inputs) if inputs else synthetic.SOURCE,
        on_bad=console.show_bad_record,
        show=show,
    )
    for line in report.notes:
        show(line)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
    else:
        console.print_table(benchmark.table(report))
        for name, line in benchmark.lines(report):
            typer.echo(f"{name:<10} {line}")
    if report.failed:
        console.note("in float32 both engines must say the same: please report this")
        raise typer.Exit(1)
