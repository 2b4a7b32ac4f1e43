"""Recipes of training runs: their settings, checked; recipes with a name, and from files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from b2ner_cli.datasets.task_configs import RANDOM_MOST
from b2ner_cli.errors import UsageError
from b2ner_cli.prompts.rendering import Example
from b2ner_cli.training import groups
from b2ner_cli.training.augmentation import Variation


@dataclass(frozen=True, slots=True)
class Shown:
    """What prompts may show, from files: examples in the place of a set's own, and descriptions."""

    examples: tuple[Example, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Names the contents; empty where there are none."""
        if not self.examples and not self.descriptions:
            return ""
        shown = repr((self.examples, list(self.descriptions.items())))
        return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()


NOTHING = Shown()
# What a number may be: what errors say it must, and what holds of it; NaN is within none.
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "at least 1": ("be at least 1", lambda value: value >= 1),
    "0 or more": ("not be negative", lambda value: value >= 0),
    "above 0": ("be positive", lambda value: 0 < value < math.inf),
    "0 to 1": ("be in [0, 1]", lambda value: 0 <= value <= 1),
    "0 to below 1": ("be in [0, 1)", lambda value: 0 <= value < 1),
}
_NAME = re.compile(r"\w[\w.]*")  # of a layer


def _setting(default: Any, meaning: str, allowed: str) -> Any:
    """A field of the recipe; the table of settings in the documentation says the same of it."""
    return field(default=default, metadata={"meaning": meaning, "range": allowed})


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what a training run does, given data and backbone: what `--set` takes.

    The fields say what they mean; how, is said where they are used: `lora.targets`, `Schedule`,
    `balance.Limits` (of which only `longest` holds with a task config), `Variation`, `Showing`.
    """

    target: str = _setting(
        "all",
        "layers that get a LoRA: `all` linear layers, `attention`'s inputs, or names of layers",
        "all, attention, names",
    )
    rank: int = _setting(32, "rank of the LoRA", "at least 1")
    alpha: int = _setting(64, "the LoRA's scaling is this by its rank", "at least 1")
    dropout: float = _setting(0.0, "share of the LoRA's inputs that drop out", "0 to below 1")
    first_layer: int = _setting(
        0, "layers below this one get no LoRA, and no gradient passes them", "0 or more"
    )
    learning_rate: float = _setting(1e-3, "its peak; a cosine leads from there to 0", "above 0")
    warmup: float = _setting(
        0.05, "share of the steps in which the rate rises to its peak", "0 to below 1"
    )
    weight_decay: float = _setting(1e-4, "AdamW's", "0 or more")
    clip: float = _setting(
        1.0, "longest gradient of a step; a longer one is scaled down", "above 0"
    )
    epochs: float = _setting(1.0, "how often each document is trained on", "above 0")
    batch: int = _setting(16, "documents a step, a multiple of `group`", "at least 1")
    group: int = _setting(
        4,
        "documents that share a label list and the computing of their prompt's prefix",
        "at least 1",
    )
    at_once: int = _setting(
        0,
        "documents of a step that are computed at once, 0: all; gradients are added up",
        "0 or more",
    )
    mean_over: int = _setting(
        0,
        "the loss is a mean over so many documents' answer tokens, then over these means, "
        "0: over all of the step; a multiple of `group`",
        "0 or more",
    )
    nearby: int = _setting(
        8,
        "out of so many steps' documents those of like length stand in one step, 0: any",
        "0 or more",
    )
    redraw: bool = _setting(True, "make other label lists in each epoch", "true, false")
    max_labels: int = _setting(18, "labels in a prompt, at most", "at least 1")
    label_dropout: float = _setting(
        0.10, "share of the labels that are left out, with their entities", "0 to below 1"
    )
    subset: float = _setting(
        0.0, "share of the label lists that are a random part of the set's labels", "0 to 1"
    )
    rename: float = _setting(
        0.0, "share of the labels that take another name of the same meaning", "0 to 1"
    )
    noise: float = _setting(
        0.0, "share of the texts that are changed: other surfaces, other casing", "0 to 1"
    )
    few_shot: float = _setting(0.0, "share of the groups that are asked after examples", "0 to 1")
    examples: int = _setting(5, "examples before a question, at most", "at least 1")
    described: float = _setting(
        0.0, "share of the other groups that are asked with descriptions of labels", "0 to 1"
    )
    max_tokens: int = _setting(
        400, "tokens of prompt and answer; longer documents are left out", "at least 1"
    )
    per_set: int = _setting(800, "documents of a set, at most", "at least 1")
    per_label: int = _setting(200, "documents of a set with a label, at most", "at least 1")
    empty: float = _setting(
        0.2, "documents without entities, as a share of `per_set`, at most", "0 to 1"
    )
    longest: int = _setting(1200, "characters of a text; longer ones are passed over", "at least 1")
    random_most: int = _setting(
        RANDOM_MOST, "documents of a set that a task config's `random` takes, at most", "at least 1"
    )
    candidates: int = _setting(
        4000,
        "random vocabulary entries that stand against the step's own tokens in the loss, "
        "0: all of the vocabulary",
        "0 or more",
    )
    seed: int = _setting(23, "of all that is drawn", "any")
    dtype: str = _setting(
        "auto", "what is computed in; weights of the LoRA are float32", "auto, float32, bfloat16"
    )
    checkpointing: bool = _setting(
        False,
        "compute each layer twice instead of keeping what it computed: less memory, a "
        "third more time, the same result",
        "true, false",
    )

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            must, holds = _RANGES.get(each.metadata["range"], ("", None))
            if holds and not holds(value):
                raise UsageError(f"{each.name} must {must}, not {value}")
        if not all(_NAME.fullmatch(name) for name in self.targets):
            raise UsageError(
                f"target {self.target!r} names no layers",
                "choose all, attention or names of linear layers, such as q_proj,v_proj",
            )
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise UsageError(f"cannot train in {self.dtype!r}", "choose auto, float32 or bfloat16")
        if self.batch % self.group:
            raise UsageError(f"batch {self.batch} is no multiple of group {self.group}")
        if self.mean_over % self.group:
            raise UsageError(f"mean_over {self.mean_over} is no multiple of group {self.group}")
        self.asking()

    @property
    def targets(self) -> tuple[str, ...]:
        """What `target` lists."""
        return tuple(name.strip() for name in self.target.split(","))

    @property
    def rows_at_once(self) -> int:
        """Rows of a step that are computed at once, 0 for all; a row holds a group."""
        return -(-self.at_once // self.group)

    def asking(self, shown: Shown = NOTHING) -> groups.Asking:
        """How label lists are made and varied, and what prompts show beside them."""
        variation = Variation(self.subset, self.rename, self.noise)
        showing = groups.Showing(
            self.few_shot, self.examples, self.described, shown.examples, shown.descriptions
        )
        return groups.Asking(self.max_labels, self.label_dropout, variation, showing)


# The reference's settings. Its caps are one, of documents a set; what would cut more is set so
# high that it does not. What else its training does otherwise is in `_EXACT`.
_PAPER: dict[str, Any] = {
    "target": "attention",
    "rank": 32,
    "alpha": 64,
    "dropout": 0.05,
    "learning_rate": 3e-4,
    "warmup": 0.02,
    "weight_decay": 1e-4,
    "clip": 1.0,
    "epochs": 5.0,
    "batch": 128,
    "group": 4,
    "at_once": 16,
    "checkpointing": True,
    "max_labels": 18,
    "label_dropout": 0.10,
    "max_tokens": 4096,
    "per_set": RANDOM_MOST,
    "per_label": RANDOM_MOST,
    "empty": 1.0,
    "longest": 100_000,
    "random_most": RANDOM_MOST,
    "candidates": 0,
    "seed": 23,
}
# Each document has a label list of its own, drawn once; steps are of any documents; the loss is a
# mean of the means of what was on one card at once: a document, of four where the model was small.
_EXACT: dict[str, Any] = {"group": 1, "mean_over": 1, "nearby": 0, "redraw": False}
_ON_A_CARD = {"paper-crosslingual": 4}
_SUPERVISED = 10_000  # documents a set, by the authors' answer to a question

# The first two stages of the shipped adapter (its run.json has all): prefixes of eight documents,
# texts of a sentence or two, the lower third of the layers left as they are; then, on top of that,
# other documents under varied labels.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper-7b": _PAPER,
    "paper-20b": _PAPER | {"at_once": 4},
    "paper-crosslingual": _PAPER | {"epochs": 6.0},
    "paper-supervised": {
        **_PAPER,
        "at_once": 4,
        "per_set": _SUPERVISED,
        "per_label": _SUPERVISED,
        "random_most": _SUPERVISED,
    },
    "mini": {
        "batch": 24,
        "group": 8,
        "first_layer": 6,
        "per_set": 520,
        "per_label": 150,
        "longest": 200,
    },
    "mini-varied": {
        "batch": 24,
        "group": 8,
        "first_layer": 6,
        "per_set": 540,
        "per_label": 150,
        "longest": 240,
        "seed": 24,
        "learning_rate": 6e-4,
        "subset": 0.4,
        "rename": 0.35,
        "noise": 0.25,
    },
}


def read_recipe(
    name: str, config: Path | None, settings: Sequence[str], exact: bool = False
) -> Recipe:
    """Build a recipe: a named one, then a TOML file or run.json, then ``key=value`` settings.

    With `exact`, one of the paper's trains as the reference does wherever it can, but for what
    the settings say.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}", f"choose from {', '.join(RECIPES)}")
    chosen = dict(RECIPES[name])
    if config is not None:
        chosen |= _read_config(config)
    if exact:
        chosen |= _exact(name)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: not KEY=VALUE", "for example --set epochs=2")
        chosen[key.strip()] = value.strip()
    defaults = dataclasses.asdict(Recipe())
    types: dict[str, Any] = {key: type(value) for key, value in defaults.items()}
    typed: dict[str, Any] = {}
    for key, value in chosen.items():
        if key not in types:
            raise UsageError(f"no setting {key!r}", f"settings: {', '.join(types)}")
        try:
            typed[key] = _as_bool(value) if types[key] is bool else types[key](value)
        except (TypeError, ValueError):
            raise UsageError(f"{key}={value}: not {types[key].__name__}") from None
    return Recipe(**typed)


def _exact(name: str) -> dict[str, Any]:
    if not name.startswith("paper-"):
        known = ", ".join(each for each in RECIPES if each.startswith("paper-"))
        raise UsageError(f"recipe {name!r} is not the reference's", f"choose from {known}")
    return _EXACT | {"mean_over": _ON_A_CARD.get(name, 1)}


def _as_bool(value: object) -> bool:
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise ValueError(value)
    return known[str(value).lower()]


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return dict(json.loads(text)["recipe"])
        return tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no recipe: {error}", "give TOML, or a run.json") from None
