"""`b2ner train`: an adapter of annotated data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2ner_cli.cli import console, prompting
from b2ner_cli.cli.options import (
    Collection,
    Descriptions,
    Device,
    Examples,
    LabelMapFile,
    Model,
    Quiet,
    TaskFile,
    Verbose,
    chosen_data,
    chosen_label_map,
)
from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.training.job import TrainJob

EXAMPLES = "b2ner train --data mine.jsonl -m mini -o run"


def train(
    data: Annotated[
        Path,
        typer.Option(
            help="Annotated documents: a file (.jsonl, .conll, .csv ...), or data sets in B2NERD "
            "layout, a folder or zip."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    collection: Collection = None,
    model: Model = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="Settings to start from: fine-tune (from an adapter, the default there), default "
            "(from the bare model), paper-7b, paper-20b, paper-crosslingual, paper-supervised, "
            "mini or mini-varied.",
        ),
    ] = None,
    exact_reference: Annotated[
        bool,
        typer.Option(
            "--exact-reference",
            help="With a recipe of the paper: do as the reference does where b2ner differs.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with settings, or a run.json: its settings, model and sets."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting; wins over the file."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Train once with each seed, into OUT/seed-N, and average the scores.",
        ),
    ] = None,
    tasks: TaskFile = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="ner, re, eet, eea, neweet, neweea or sentiment; by default the sets' "
            "own, ner first. Repeatable.",
        ),
    ] = None,
    examples: Examples = None,
    descriptions: Descriptions = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Only this set, e.g. NER_en_SNIPS. Repeatable."),
    ] = None,
    label_map: LabelMapFile = None,
    from_adapter: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|mini",
            show_default=False,
            help="Start from this adapter; mini: the one shipped with it, the default for mini.",
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Start from the bare model.")
    ] = False,
    lang: Annotated[
        str, typer.Option(help="Language that documents of a file are asked in; auto: by script.")
    ] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show documents, steps, time and memory; write nothing."),
    ] = False,
    heldout: Annotated[
        Path | None, typer.Option(help="Data sets to score the adapter on at the end.")
    ] = None,
    eval_data: Annotated[
        Path | None, typer.Option(help="Data sets to predict and score after each epoch.")
    ] = None,
    eval_split: Annotated[str, typer.Option(help="Their split: train, dev or test.")] = "dev",
    eval_limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N documents of each of them.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in the folder.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard, too.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Fine-tune a LoRA adapter on annotated data; write it with a card and a run.json."""
    from b2ner_cli.core.tasks import as_task
    from b2ner_cli.datasets.task_configs import for_training
    from b2ner_cli.models.embedded import DEFAULT
    from b2ner_cli.training import run
    from b2ner_cli.training import start as starting
    from b2ner_cli.training.evaluation import EvalData
    from b2ner_cli.training.groups import FewShot
    from b2ner_cli.training.job import Before, TrainJob
    from b2ner_cli.training.recipes import read_recipe

    quiet = quiet or os.environ.get("RANK", "0") != "0"  # of several processes the first speaks
    console.set_up_logging(quiet, verbose)
    run.keep_freed_memory()
    before = Before.read(config)
    model = model or before.model or DEFAULT
    start = starting.choose(
        starting.Asked(model, from_adapter, from_scratch, recipe, before.start),
        output if resume else None,
    )
    asked = [as_task(name) for name in task or before.tasks]
    if examples and len(asked) > 1:
        raise UsageError("--examples are of one task", "leave them out, or name one --task")
    form, described = prompting.form(asked[0] if asked else None, examples, descriptions)
    chosen = recipe or start.recipe
    lora = starting.lora_settings(start.adapter)
    job = TrainJob(
        chosen_data(data, collection), output,
        read_recipe(chosen, config, set_ or [], exact_reference, lora),
        model,
        only=only or before.only, config=for_training(tasks, config), from_adapter=start.adapter,
        heldout=heldout, checkpoint_every=checkpoint_every, resume=resume, force=force,
        device=device, label_map=chosen_label_map(label_map),
        few_shot=FewShot(form.examples, described), tasks=asked, tensorboard=tensorboard,
        language=lang,
        evaluation=EvalData(eval_data, eval_split, eval_limit) if eval_data else None,
    )  # fmt: skip
    given = {"--from-adapter": from_adapter or from_scratch, "--label-map": label_map}
    for option, said in before.again.items():
        if not given.get(option, examples or descriptions):
            console.warn(f"the run of {config} had {option} ({said}): give it to repeat that run")
    console.note(f"{start.line(model)}; recipe {chosen if config is None else config}")
    if dry_run:
        from b2ner_cli.training.dry_run import preview

        for line in preview(job).lines():
            console.note(line)
        return
    if seeds is not None:
        _train_seeds(job, seeds)
        return
    with console.Steps() as steps:
        run.run(job, steps.show)
    console.note(f"adapter in {output / 'adapter'}, its card in {output / 'card.md'}")


def _train_seeds(job: TrainJob, seeds: str) -> None:
    """Train with each seed and print the scores of all."""
    from b2ner_cli.scoring import run_scores
    from b2ner_cli.training import seeds as training_seeds

    numbers = training_seeds.parse(seeds)
    with console.Steps() as steps:
        scores = training_seeds.run(job, numbers, steps.show)
    console.note(f"adapters in {job.out}, seed-{numbers[0]}/adapter and so on")
    if scores is not None:
        console.print_table(run_scores.table_rows(scores, "paper"))
    else:
        console.note("nothing to average: no --heldout and no --eval-data")
