"""What `train` is asked to do, and what an earlier run's run.json says that it was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from b2ner_cli.core.language import as_language
from b2ner_cli.core.tasks import Task, as_task
from b2ner_cli.datasets import splits
from b2ner_cli.datasets.task_configs import TaskConfig
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_map import AS_GIVEN, LabelMap
from b2ner_cli.models import embedded
from b2ner_cli.training.evaluation import EvalData
from b2ner_cli.training.groups import NO_EXAMPLES, FewShot
from b2ner_cli.training.recipes import Recipe


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What `train` was asked to do: an adapter for `model`, trained by `recipe` on the sets under
    `data`, or on those in `only`, into `out`.

    `data` may be a file of annotated documents; they are asked in `language`, or "auto", each by
    its script. `tasks` are what is asked of the sets, where it is not what the sets' own task asks.
    A task config chooses sets and documents, instead of the recipe's limits. `heldout` is a folder
    of data sets to score the adapter on at the end, `evaluation` says what to score it on after
    each epoch. With `label_map` the adapter learns labels under their other names.
    """

    data: Path
    out: Path
    recipe: Recipe
    model: str = embedded.DEFAULT
    only: Sequence[str] = ()
    config: TaskConfig | None = None
    from_adapter: Path | None = None
    heldout: Path | None = None
    checkpoint_every: int = 100
    resume: bool = False
    force: bool = False
    device: str = "auto"
    label_map: LabelMap | None = None
    few_shot: FewShot = NO_EXAMPLES
    tasks: Sequence[Task] = ()
    tensorboard: bool = False
    evaluation: EvalData | None = None
    language: str = "auto"

    @property
    def is_file(self) -> bool:
        """Whether the data are one file, and no folder or archive of data sets."""
        return self.data.is_file() and not splits.is_archive(self.data)

    def __post_init__(self) -> None:
        if self.language != "auto":
            as_language(self.language)
        for option, given in (
            ("--only", self.only),
            ("--tasks", self.config),
            ("--task", [task for task in self.tasks if task != "NER"]),
        ):
            if given and self.is_file:
                raise UsageError(
                    f"{option} is for folders of data sets, and {self.data} is a file of entities",
                    f"leave it out, or make a set of it: b2ner data convert {self.data} "
                    "--to b2nerd -o FOLDER",
                )
        self._check_prompts()

    def _check_prompts(self) -> None:
        given, asked = self.few_shot, self.recipe.experiments
        if given.examples and not asked.few_shot:
            raise UsageError("no prompt would show the examples", "give --set few_shot=0.3")
        if given.descriptions and not asked.described:
            raise UsageError("no prompt would show the descriptions", "give --set described=0.3")


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier run had been told, for options that are not given this time.

    `start` is the adapter that it started from, as records call it. `again` are the options
    that it had and that a run.json cannot hold: what they said in short.
    """

    model: str | None = None
    only: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    start: str | None = None
    again: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Path | None) -> Self:
        """Read a run.json; a recipe in TOML says nothing of this. Raises UsageError."""
        if config is None or config.suffix != ".json":
            return cls()
        try:
            record = json.loads(config.read_text(encoding="utf-8"))
            names = record.get("label_names", {}).get("source", AS_GIVEN)
            start = record.get("from_adapter") or ""
            again = {
                "--from-adapter": start if start not in embedded.EMBEDDED else "",
                "--label-map": names if names != AS_GIVEN else "",
                "--examples or --descriptions": "in its prompts" if "shown" in record else "",
            }
            return cls(
                record.get("model"), tuple(map(str, record.get("only", ()))),
                tuple(as_task(str(name)) for name in record.get("task", ())), str(start),
                {option: str(said) for option, said in again.items() if said},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "give a run.json that b2ner train wrote, or TOML"
            raise UsageError(f"{config} holds no run: {error}", hint) from None
