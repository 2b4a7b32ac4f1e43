"""Options that commands share, said once: their names, help and environment variables.

An option is an alias; options that go together are the fields of a dataclass, which a command
under `grouped` takes as one parameter. Knows nothing of what commands do with them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.labels.label_map import LabelMap
    from b2ner_cli.models.loading import Backbone
    from b2ner_cli.tagging.settings import Settings

# An option in one of the panels of the help.
labels_option = functools.partial(typer.Option, rich_help_panel="Labels")
input_option = functools.partial(typer.Option, rich_help_panel="Input")
output_option = functools.partial(typer.Option, rich_help_panel="Output")
model_option = functools.partial(typer.Option, rich_help_panel="Model")
run_option = functools.partial(typer.Option, rich_help_panel="Run")

LabelValues = Annotated[
    list[str] | None,
    labels_option(
        "--labels", "-l", metavar="LIST|@FILE",
        help='What to look for: "person, movie title", @FILE with a label (: description) a line, '
        "or taxonomy:en/person,... Repeatable.",
    ),
]  # fmt: skip
LabelMapFile = Annotated[
    Path | None,
    labels_option(
        "--label-map", metavar="FILE",
        help="Other names for labels: `task => research task` a line, TSV or a JSON object.",
    ),
]  # fmt: skip
TaskName = Annotated[
    str | None,
    labels_option(
        "--task", metavar="TASK",
        help="ner; re: relations; eet: events with triggers; eea: their arguments; neweet, "
        "neweea: the same without triggers; sentiment.",
    ),
]  # fmt: skip
TaskFile = Annotated[
    str | None,
    typer.Option(
        "--tasks", metavar="FILE",
        help="Task config that chooses sets and documents: a file, a folder, or a name such as "
        "bilingual_full.",
    ),
]  # fmt: skip
Examples = Annotated[
    Path | None,
    labels_option(
        metavar="FILE",
        help="JSONL with gold: documents to show, with their answers, before each question. As "
        "many as fit.",
    ),
]
Descriptions = Annotated[
    Path | None,
    labels_option(
        metavar="FILE",
        help="Descriptions of labels for the prompt: lines of label: description, or a .json "
        "object.",
    ),
]
Model = Annotated[
    str | None,
    model_option(
        "--model", "-m", envvar="B2NER_MODEL",
        help="mini, internlm2.5-7b, internlm2-20b, a directory, a .gguf file or a hub name of a "
        "causal LM. By default the --adapter's own, else mini.",
    ),
]  # fmt: skip
Adapter = Annotated[
    str | None,
    model_option(
        "--adapter", "-a", envvar="B2NER_ADAPTER",
        help="A LoRA directory or hub name; none for the bare model. Named models bring theirs.",
    ),
]  # fmt: skip
Revision = Annotated[
    str | None,
    model_option(help="Revision on the hub of the model, else of the adapter; also NAME@REVISION."),
]
Device = Annotated[
    str,
    model_option(
        envvar="B2NER_DEVICE",
        help="auto, cpu, cuda, cuda:N; tag and predict take several: cuda:0,cuda:1, cuda:all, or "
        "cpu,cpu.",
    ),
]
Dtype = Annotated[str, model_option(help="auto, float32, bfloat16 or float16.")]
BatchTokens = Annotated[str, model_option(help="Tokens answered at once: auto or a number.")]
MaxAnswer = Annotated[int, model_option(min=1, help="Longest answer to a prompt, in tokens.")]
Constrain = Annotated[
    bool | None,
    model_option(
        "--constrain/--free", show_default=False,
        help="Hold answers to the labels and to words of the text, or not; by default what the "
        "adapter is better with.",
    ),
]  # fmt: skip
SetsPath = Annotated[
    Path, typer.Option("--data", help="Data sets in B2NERD layout: a folder or zip.")
]
Collection = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", show_default=False,
        help="Which folder of data sets, such as B2NERD_all; by default B2NERD where it is there.",
    ),
]  # fmt: skip
From = Annotated[
    str | None,
    input_option(
        "--from", help="jsonl, csv, txt, lines or conll; by default by suffix, then content."
    ),
]
TextField = Annotated[str, input_option(help="JSONL key or CSV column of the text.")]
CachePath = Annotated[
    Path | None,
    run_option(
        "--cache", envvar="B2NER_CACHE",
        help="Store of answers; by default in the user's cache directory.",
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonForTable = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, run_option("--quiet", "-q", help="Errors only on stderr.")]
Verbose = Annotated[
    int,
    run_option("--verbose", "-v", count=True, help="Say what was chosen and why; -vv everything."),
]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Which model is loaded, and how."""

    model: Model = None
    adapter: Adapter = None
    revision: Revision = None
    device: Device = "auto"
    dtype: Dtype = "auto"

    def load(self) -> Backbone:
        """Load it. Raises UsageError and ModelError as `loading.load` does."""
        from b2ner_cli.models import loading

        return loading.load(
            self.model, self.adapter, revision=self.revision, device=self.device, dtype=self.dtype
        )


@dataclass(frozen=True, slots=True)
class AnswerOptions(LoadOptions):
    """How a model answers the prompts of a whole run, and where answers are kept."""

    device_map: Annotated[
        str | None, model_option(metavar="auto", help="auto spreads a model over all cards.")
    ] = None
    load_in: Annotated[
        str | None,
        model_option(
            metavar="8bit|4bit",
            help="Store linear layers in fewer bits; needs the extra quantized.",
        ),
    ] = None
    engine: Annotated[str, model_option(help="fast, or plain: generate as it is.")] = "fast"
    batch_tokens: BatchTokens = "auto"
    max_answer: MaxAnswer = 256
    chunk_tokens: Annotated[
        int | None,
        model_option(
            min=1, show_default=False,
            help="Text in one prompt, in tokens, by whole sentences; by default what was measured "
            "to be best for the adapter.",
        ),
    ] = None  # fmt: skip
    constrain: Constrain = None
    cache: CachePath = None
    no_cache: Annotated[bool, run_option("--no-cache", help="Ask every question anew.")] = False

    def settings(self) -> Settings:
        """The same for a tagger. Raises UsageError for a wrong engine or number of tokens."""
        from b2ner_cli.tagging.settings import Settings

        return Settings(
            self.model, self.adapter, self.revision, self.device, self.dtype, self.device_map,
            self.load_in, self.engine, self.max_answer, as_batch_tokens(self.batch_tokens),
            self.constrain,
        )  # fmt: skip

    def answers(self) -> Path | None:
        """Where the run keeps answers, None for nowhere."""
        return None if self.no_cache else cache_file(self.cache)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command for Typer, which knows no groups of options, of one that takes some.

    Each parameter that is a dataclass gives way to its fields, in place; the command gets them
    back as one value.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters = []
    for name, parameter in signature.parameters.items():
        kind = parameter.annotation
        if not isinstance(kind, type) or not is_dataclass(kind):
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
            continue
        groups[name] = kind
        hints = get_type_hints(kind, include_extras=True)
        for option in inspect.signature(kind).parameters.values():
            annotation = hints[option.name]
            parameters.append(option.replace(kind=option.KEYWORD_ONLY, annotation=annotation))

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
        command(**values)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


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


def cache_file(path: Path | None) -> Path:
    """The store of answers that --cache names, by default the user's."""
    from b2ner_cli.core.paths import cache_directory
    from b2ner_cli.tagging.answer_cache import FILE_NAME

    return path or cache_directory() / FILE_NAME
