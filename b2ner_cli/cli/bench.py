"""`b2ner bench`: how fast a model answers on this machine, and the settings that are chosen."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated

import typer

from b2ner_cli.cli import console
from b2ner_cli.cli.options import (
    BatchTokens,
    Constrain,
    From,
    JsonForTable,
    LabelValues,
    LoadOptions,
    MaxAnswer,
    Quiet,
    TextField,
    Verbose,
    as_batch_tokens,
    grouped,
    input_option,
    run_option,
)

EXAMPLES = (
    'b2ner bench docs.jsonl -l "person, movie title" --documents 300\n\n'
    "b2ner bench -m path/to/model --dtype bfloat16 --json"
)


@grouped
def bench(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Files to measure with; by default synthetic documents."),
    ] = None,
    labels: LabelValues = None,
    from_: From = None,
    text_field: TextField = "text",
    documents: Annotated[int, input_option(min=1, help="Documents, the first of INPUT.")] = 64,
    *,
    loading: LoadOptions,
    batch_tokens: BatchTokens = "auto",
    max_answer: MaxAnswer = 256,
    constrain: Constrain = None,
    rounds: Annotated[
        int,
        run_option(min=1, help="Slices of the documents; both engines answer each, in turns."),
    ] = 3,
    skip_plain: Annotated[
        bool,
        run_option("--skip-plain", help="Leave out plain generate, which takes most of the time."),
    ] = False,
    as_json: JsonForTable = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Measure how fast documents are answered here, next to plain generate, and what is chosen.

    Exits with 1 if answers of the two engines differ in float32. Uses no cache.
    """
    from b2ner_cli import formats
    from b2ner_cli.labels.label_set import LabelSet
    from b2ner_cli.labels.reading import parse_labels

    console.set_up_logging(quiet, verbose)
    tokens = as_batch_tokens(batch_tokens)
    label_set = None
    if labels:
        label_set, notes = parse_labels(labels)
        for line in notes:
            console.note(line)
    read = formats.read(inputs, format=from_, text_field=text_field) if inputs else None

    from b2ner_cli.bench import benchmark, synthetic
    from b2ner_cli.bench import report as reports

    loaded = loading.load()
    report = benchmark.run(
        loaded,
        islice(read, documents) if read else synthetic.documents(documents),
        label_set or LabelSet(benchmark.LABELS),
        benchmark.BenchSettings(rounds, max_answer, tokens, constrain, not skip_plain),
        source=", ".join(inputs) if inputs else synthetic.SOURCE,
        on_bad=console.show_bad_record,
        show=console.note,
    )
    for line in report.notes:
        console.note(line)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
    else:
        console.print_table(reports.table(report))
        for name, line in reports.lines(report):
            typer.echo(f"{name:<10} {line}")
    if report.failed:
        console.finding("in float32 both engines must say the same: please report this")
        raise typer.Exit(1)
