"""`b2ner predict`: data sets answered with their own labels, in the reference's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2ner_cli.cli import console, prompting
from b2ner_cli.cli.options import (
    AnswerOptions,
    Collection,
    Descriptions,
    Examples,
    LabelMapFile,
    Quiet,
    SetsPath,
    TaskFile,
    TaskName,
    Verbose,
    chosen_data,
    chosen_label_map,
    grouped,
)

EXAMPLES = "b2ner predict --data B2NERD --split test -o out && b2ner eval out"


@grouped
def predict(
    data: SetsPath,
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
    *,
    answering: AnswerOptions,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Answer data sets with their own labels; write the reference's prediction file."""
    from b2ner_cli.datasets.task_configs import read
    from b2ner_cli.tagging import predict_run
    from b2ner_cli.tagging.loop import Options

    console.set_up_logging(quiet, verbose)
    settings = answering.settings()
    form, described = prompting.form(task, examples, descriptions)
    job = predict_run.PredictJob(
        chosen_data(data, collection), output, settings, split, only or (), limit,
        config=read(tasks) if tasks is not None else None, resume=resume, force=force,
        cache=answering.answers(), task=form.task if task else None,
        options=Options(
            chunk_tokens=answering.chunk_tokens, label_map=chosen_label_map(label_map), form=form,
            descriptions=described,
        ),
    )  # fmt: skip
    with console.Watch() as watch:
        predict_run.predict(job, watch)
    console.note(watch.summary())
