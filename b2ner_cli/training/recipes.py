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
_LIMITS: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        ("rank", "alpha", "batch", "group", "max_labels", "max_tokens",
         "per_set", "per_label", "longest", "random_most", "examples"),
        lambda value: value >= 1, "be at least 1",
    ),
    (("label_dropout", "dropout", "warmup"), lambda value: 0 <= value < 1, "be in [0, 1)"),
    (("empty",), lambda value: 0 <= value <= 1, "be in [0, 1]"),
    (("learning_rate", "epochs", "clip"), lambda value: 0 < value < math.inf, "be positive"),
    (
        ("weight_decay", "candidates", "first_layer", "at_once", "mean_over", "nearby"),
        lambda value: value >= 0, "not be negative",
    ),
)  # fmt: skip
_NAME = re.compile(r"\w[\w.]*")  # of a layer


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what a training run does, given data and backbone.

    `target` names the layers that carry a LoRA, as `lora.targets` reads it. Layers below
    `first_layer` carry none; no gradient passes them, which saves its time.
    `batch` is documents a step and `group` how many of them share a prefix. `at_once` is how many
    documents of a step are computed at once, 0 for all: their gradients are added up, so that the
    result is that of the whole step (but where parts of a layer drop out). The loss is the mean
    over the answer tokens of `mean_over` documents and then over these means, 0: of all of a step.
    `nearby` and `redraw` are those of `Schedule`. `candidates` is the
    number of random vocabulary entries that stand against the batch's own tokens in the loss
    (0: the whole vocabulary). `max_tokens` bounds prompt plus answer of one document. `per_set`,
    `per_label`, `empty` and `longest` are those of `balance.Limits`; of these only `longest` holds
    with a task config, whose strategy `random` takes at most `random_most` documents of a set.
    `subset`, `rename` and `noise` are those of `Variation`; `few_shot`, `examples` (the most of
    them) and `described` those of `corpus.Showing`. `checkpointing` computes each layer twice
    instead of keeping what it computed: less memory, a third more time, the same result.
    """

    target: str = "all"
    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    first_layer: int = 0
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    clip: float = 1.0
    epochs: float = 1.0
    batch: int = 16
    group: int = 4
    at_once: int = 0
    mean_over: int = 0
    nearby: int = 8
    redraw: bool = True
    max_labels: int = 18
    label_dropout: float = 0.10
    subset: float = 0.0
    rename: float = 0.0
    noise: float = 0.0
    few_shot: float = 0.0
    examples: int = 5
    described: float = 0.0
    max_tokens: int = 400
    per_set: int = 800
    per_label: int = 200
    empty: float = 0.2
    longest: int = 1200
    random_most: int = RANDOM_MOST
    candidates: int = 4000
    seed: int = 23
    dtype: str = "auto"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for names, within, rule in _LIMITS:
            for name in names:
                if not within(getattr(self, name)):  # NaN is within none
                    raise UsageError(f"{name} must {rule}, not {getattr(self, name)}")
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
