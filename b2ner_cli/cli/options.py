"""Options that commands share: their names, help and environment variables, said once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.labels.label_map import LabelMap

LabelValues = Annotated[
    list[str] | None,
    typer.Option(
        "--labels", "-l", metavar="LIST|@FILE", rich_help_panel="Labels",
        help='What to look for: "person, movie title", @FILE with a label (: description) a line, '
        "or taxonomy:en/person,... Repeatable.",
    ),
]  # fmt: skip
LabelMapFile = Annotated[
    Path | None,
    typer.Option(
        "--label-map", metavar="FILE", rich_help_panel="Labels",
        help="Other names for labels: `task => research task` a line, TSV or a JSON object.",
    ),
]  # fmt: skip
TaskName = Annotated[
    str | None,
    typer.Option("--task", metavar="TASK", rich_help_panel="Labels",
                 help="ner; re: relations; eet: events with triggers; eea: their arguments; "
                 "neweet, neweea: the same without triggers; sentiment."),
]  # fmt: skip
TaskFile = Annotated[
    str | None,
    typer.Option("--tasks", metavar="FILE", help="Task config that chooses sets and documents: a "
                 "file, a folder, or a name such as bilingual_full."),
]  # fmt: skip
Examples = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel="Labels",
                 help="JSONL with gold: documents to show, with their answers, before each "
                 "question. As many as fit."),
]  # fmt: skip
Descriptions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel="Labels",
                 help="Descriptions of labels for the prompt: lines of label: description, or a "
                 ".json object."),
]  # fmt: skip
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", envvar="B2NER_MODEL", rich_help_panel="Model",
        help="mini, internlm2.5-7b, internlm2-20b, a directory, a .gguf file or a hub name of a "
        "causal LM. By default the --adapter's own, else mini.",
    ),
]  # fmt: skip
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter", "-a", envvar="B2NER_ADAPTER", rich_help_panel="Model",
        help="A LoRA directory or hub name; none for the bare model. Named models bring theirs.",
    ),
]  # fmt: skip
Revision = Annotated[
    str | None,
    typer.Option(rich_help_panel="Model",
                 help="Revision on the hub of the model, else of the adapter; also NAME@REVISION."),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(envvar="B2NER_DEVICE", rich_help_panel="Model",
                 help="auto, cpu, cuda, cuda:N; tag and predict take several: cuda:0,cuda:1, "
                 "cuda:all, or cpu,cpu."),
]  # fmt: skip
Dtype = Annotated[
    str,
    typer.Option(rich_help_panel="Model", help="auto, float32, bfloat16 or float16."),
]
BatchTokens = Annotated[
    str, typer.Option(rich_help_panel="Model", help="Tokens answered at once: auto or a number.")
]
MaxAnswer = Annotated[
    int, typer.Option(min=1, rich_help_panel="Model", help="Longest answer to a prompt, in tokens.")
]
Constrain = Annotated[
    bool | None,
    typer.Option("--constrain/--free", rich_help_panel="Model", show_default=False,
                 help="Hold answers to the labels and to words of the text, or not; by default "
                 "what the adapter is better with."),
]  # fmt: skip
Collection = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=False,
                 help="Which folder of data sets, such as B2NERD_all; by default "
                 "B2NERD where it is there."),
]  # fmt: skip
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel="Run", help="Errors only on stderr.")
]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, rich_help_panel="Run",
                 help="Say what was chosen and why; -vv everything."),
]  # fmt: skip


def as_batch_tokens(value: str) -> int | None:
    """What --batch-tokens says: a number, or None to leave it to the engine."""
    if value == "auto":
        return None
    if not value.isdigit() or int(value) < 1:
        raise UsageError(f"--batch-tokens {value}: not a number of tokens", "give auto or a number")
    return int(value)


def chosen_data(data: Path, collection: str | None) -> Path:
    """The folder that --data and --collection name together, which may stand in an archive."""
    if collection is None:
        return data
    from b2ner_cli.datasets import b2nerd

    return b2nerd.within(data, collection)


def chosen_label_map(path: Path | None) -> LabelMap | None:
    """What --label-map names."""
    if path is None:
        return None
    from b2ner_cli.labels.label_map import read

    return read(path)
