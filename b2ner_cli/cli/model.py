"""`b2ner model`: look at a model, and write InternLM2's in Llama's layout and back.

Each command parses its options, calls one function and shows the outcome.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from b2ner_cli.cli import console
from b2ner_cli.cli.options import AsJson

app = typer.Typer(help="Look at a model, or convert it.", no_args_is_help=True)

Revision = Annotated[
    str | None,
    typer.Option(help="Revision on the hub of the model, else of the adapter; also NAME@REVISION."),
]
AdapterName = Annotated[
    str | None,
    typer.Option("--adapter", "-a", help="A LoRA directory or hub name; none for the bare model."),
]
DtypeName = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.")]


@app.command(epilog="b2ner model info internlm2.5-7b")
def info(
    model: Annotated[
        str | None,
        typer.Argument(help="A name or directory; by default the --adapter's, else mini."),
    ] = None,
    adapter: AdapterName = None,
    revision: Revision = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    dtype: DtypeName = "auto",
    as_json: AsJson = False,
) -> None:
    """Show what a model is, the memory it needs, its adapter, and what is chosen and why."""
    from b2ner_cli.models import info as model_info

    console.set_up_logging(False, 0)
    found = model_info.describe(model, adapter, revision=revision, device=device, dtype=dtype)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, indent=2))
        return
    for name, line in model_info.rows(found):
        typer.echo(f"{name:<13} {line}")


@app.command(epilog="b2ner model convert internlm2.5-7b b2ner-7b-llama --merged merged")
def convert(
    source: Annotated[str, typer.Argument(help="An adapter, a released name, or a model.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The adapter's base, if not the one it names."),
    ] = None,
    revision: Revision = None,
    merged: Annotated[
        Path | None, typer.Option(help="Folder for base and adapter as one model.")
    ] = None,
    dtype: DtypeName = "auto",
    layout: Annotated[
        str, typer.Option(help="llama, or internlm2 for an adapter as InternLM2's own code has it.")
    ] = "llama",
    force: Annotated[bool, typer.Option("--force", help="Replace the folders.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write an InternLM2 adapter, or model, in the Llama layout that other engines read.

    With --layout internlm2 the way back: an adapter on wqkv, wo, w1, w2 and w3.
    """
    from b2ner_cli.models import convert as model_convert

    console.set_up_logging(quiet, 0)
    job = model_convert.Conversion(source, target, model, revision, merged, dtype, layout, force)
    for line in model_convert.convert(job):
        console.note(line)


@app.command(epilog="b2ner model calibrate run/adapter --data DATA --split dev")
def calibrate(
    adapter: Annotated[Path, typer.Argument(help="Folder of an adapter.")],
    data: Annotated[Path, typer.Option(help="Data sets that it was not trained on.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The adapter's base, if not the one it names."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Only this set, e.g. NER_en_SNIPS. Repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="Their split: train, dev or test.")] = "train",
    limit: Annotated[int, typer.Option(min=1, help="Documents of each set, at most.")] = 400,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    dtype: DtypeName = "auto",
    quiet: Quiet = False,
) -> None:
    """Fit an adapter's scores to how often it is right, and write that into its run.json.

    Afterwards a score of 0.9 means: right nine times of ten on documents like these. The table says
    how far scores and truth were apart before (ECE), and afterwards on a set that was left out.
    """
    from b2ner_cli.tagging.settings import Settings
    from b2ner_cli.training import calibrating

    console.set_up_logging(quiet, 0)
    settings = Settings(model, device=device, dtype=dtype)
    found = calibrating.calibrate(
        adapter, calibrating.choose(data, only or ()), split, limit, settings
    )
    console.print_table(calibrating.table_rows(found))
    console.note(f"scores of {adapter} are calibrated: in its run.json")


@app.command(epilog="b2ner model average stage-1/adapter stage-2/adapter mean")
def average(
    one: Annotated[Path, typer.Argument(help="Folder of an adapter.")],
    other: Annotated[Path, typer.Argument(help="Of another, whose rank and settings are kept.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    share: Annotated[float, typer.Option(help="What the first counts, between 0 and 1.")] = 0.5,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write the mean of two adapters of one base, such as two stages of a training."""
    from b2ner_cli.training import averaging

    console.set_up_logging(quiet, 0)
    console.note(averaging.average(one, other, target, share, force))
