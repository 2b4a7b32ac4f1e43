"""Recipes of training runs: their settings, checked; recipes with a name, and from files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from b2ner_cli.datasets.task_configs import RANDOM_MOST
from b2ner_cli.errors import UsageError

# What a number may be: what errors say it must, and what holds of it; NaN is within none.
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "at least 1": ("be at least 1", lambda value: value >= 1),
    "0 or more": ("not be negative", lambda value: value >= 0),
    "above 0": ("be positive", lambda value: 0 < value < math.inf),
    "0 to 1": ("be in [0, 1]", lambda value: 0 <= value <= 1),
    "0 to below 1": ("be in [0, 1)", lambda value: 0 <= value < 1),
}
_NAME = re.compile(r"\w[\w.]*")  # of a layer


_DTYPES = ("auto", "float32", "bfloat16")
_SWITCH = "true, false"
# Names of earlier versions, which run.json files and commands still have.
_FORMER_NAMES = {
    "at_once": "micro_batch",
    "candidates": "sampled_softmax",
    "nearby": "length_bucket_window",
    "redraw": "resample_each_epoch",
    "longest": "max_chars",
}


def _setting(default: Any, meaning: str, allowed: str) -> Any:
    """A field of the recipe; the table of settings in the documentation says the same of it."""
    return field(default=default, metadata={"meaning": meaning, "range": allowed})


@dataclass(frozen=True, slots=True)
class Experiments:
    """Settings that few runs need: what the paper does not vary, or b2ner does otherwise."""

    first_layer: int = _setting(
        0, "layers below this one get no LoRA, and no gradient passes them", "0 or more"
    )
    mean_over: int = _setting(
        0,
        "the loss is a mean over so many documents' answer tokens, then over these means, "
        "0: over all of the step; a multiple of `group`",
        "0 or more",
    )
    sampled_softmax: int = _setting(
        4000,
        "random vocabulary entries that stand against the step's own tokens in the loss, "
        "0: all of the vocabulary",
        "0 or more",
    )
    length_bucket_window: int = _setting(
        8,
        "out of so many steps' documents those of like length stand in one step, 0: any",
        "0 or more",
    )
    resample_each_epoch: bool = _setting(True, "make other label lists in each epoch", _SWITCH)
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
    random_most: int = _setting(
        RANDOM_MOST, "documents of a set that a task config's `random` takes, at most", "at least 1"
    )

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what a training run does, given data and backbone: what `--set` takes.

    The fields say what they mean; how, is said where they are used: `lora.targets`, `Schedule`,
    `balance.Limits` (of which only `max_chars` holds with a task config), `PromptChoices`.
    Files and options name those of `experiments` as they name the others: see `flat`.
    """

    target: str = _setting(
        "all",
        "layers that get a LoRA: `all` linear layers, `attention`'s inputs, or names of layers",
        "all, attention, names",
    )
    rank: int = _setting(32, "rank of the LoRA", "at least 1")
    alpha: int = _setting(64, "the LoRA's scaling is this by its rank", "at least 1")
    dropout: float = _setting(0.0, "share of the LoRA's inputs that drop out", "0 to below 1")
    learning_rate: float = _setting(1e-3, "its peak; a cosine leads from there to 0", "above 0")
    warmup: float = _setting(
        0.05, "share of the steps in which the rate rises to its peak", "0 to below 1"
    )
    weight_decay: float = _setting(1e-4, "AdamW's", "0 or more")
    clip: float = _setting(
        1.0, "longest gradient of a step; a longer one is scaled down", "above 0"
    )
    epochs: float = _setting(1.0, "how often each document is trained on", "above 0")
    min_steps: int = _setting(
        0, "steps at least: few documents are trained on more often than `epochs` says", "0 or more"
    )
    replay: float = _setting(
        0.0,
        "documents of earlier training, which the package brings along, for each new one: "
        "what was known is forgotten less",
        "0 or more",
    )
    batch: int = _setting(16, "documents a step, a multiple of `group`", "at least 1")
    group: int = _setting(
        4,
        "documents that share a label list and the computing of their prompt's prefix",
        "at least 1",
    )
    micro_batch: int = _setting(
        0,
        "documents of a step that are computed at once, 0: all; gradients are added up",
        "0 or more",
    )
    max_labels: int = _setting(18, "labels in a prompt, at most", "at least 1")
    label_dropout: float = _setting(
        0.10, "share of the labels that are left out, with their entities", "0 to below 1"
    )
    max_tokens: int = _setting(
        400, "tokens of prompt and answer; longer documents are left out", "at least 1"
    )
    per_set: int = _setting(800, "documents of a set, at most", "at least 1")
    per_label: int = _setting(200, "documents of a set with a label, at most", "at least 1")
    empty: float = _setting(
        0.2, "documents without entities, as a share of `per_set`, at most", "0 to 1"
    )
    max_chars: int = _setting(
        1200, "characters of a text; longer ones are passed over", "at least 1"
    )
    seed: int = _setting(23, "of all that is drawn", "any")
    dtype: str = _setting(
        "auto", "what is computed in; weights of the LoRA are float32", ", ".join(_DTYPES)
    )
    base_dtype: str = _setting(
        "auto",
        "what the model's own weights, which are not trained, are kept in; `auto`: float32 on a "
        "CPU, elsewhere what is computed in",
        ", ".join(_DTYPES),
    )
    checkpointing: bool = _setting(
        False,
        "compute each layer twice instead of keeping what it computed: less memory, a "
        "third more time, the same result",
        _SWITCH,
    )
    experiments: Experiments = field(default_factory=Experiments)

    def __post_init__(self) -> None:
        _check_ranges(self)
        if not all(_NAME.fullmatch(name) for name in self.targets):
            raise UsageError(
                f"target {self.target!r} names no layers",
                "choose all, attention or names of linear layers, such as q_proj,v_proj",
            )
        for name in (self.dtype, self.base_dtype):
            if name not in _DTYPES:
                raise UsageError(f"cannot train in {name!r}", "choose auto, float32 or bfloat16")
        mean_over = self.experiments.mean_over
        for what, number in (("batch", self.batch), ("mean_over", mean_over)):
            if number % self.group:
                raise UsageError(f"{what} {number} is no multiple of group {self.group}")

    @property
    def targets(self) -> tuple[str, ...]:
        """What `target` lists."""
        return tuple(name.strip() for name in self.target.split(","))

    @property
    def micro_batch_rows(self) -> int:
        """Rows of a step that are computed at once, 0 for all; a row holds a group."""
        return -(-self.micro_batch // self.group)

    def flat(self) -> dict[str, Any]:
        """Every setting by name, as run.json has them; those of `experiments` come last."""
        settings = dataclasses.asdict(self)
        experiments: dict[str, Any] = settings.pop("experiments")
        return settings | experiments

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The recipe with these settings, by present or former names, and defaults for others.

        Values may be strings. Raises UsageError for unknown names and values of another type.
        """
        types = {name: type(value) for name, value in cls().flat().items()}
        typed: dict[str, Any] = {}
        for key, value in renamed(settings).items():
            if key not in types:
                raise UsageError(f"no setting {key!r}", f"settings: {', '.join(types)}")
            try:
                typed[key] = _as_bool(value) if types[key] is bool else types[key](value)
            except (TypeError, ValueError):
                raise UsageError(f"{key}={value}: not {types[key].__name__}") from None
        own = {each.name for each in dataclasses.fields(Experiments)} & typed.keys()
        experiments = Experiments(**{name: typed.pop(name) for name in own})
        return cls(**typed, experiments=experiments)


def _check_ranges(settings: Experiments | Recipe) -> None:
    for each in dataclasses.fields(settings):
        must, holds = _RANGES.get(each.metadata.get("range", ""), ("", None))
        value = getattr(settings, each.name)
        if holds and not holds(value):
            raise UsageError(f"{each.name} must {must}, not {value}")


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their present names, where some may have names of earlier versions."""
    return {_FORMER_NAMES.get(name, name): value for name, value in settings.items()}


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run's result depends on, of those that a run noted.

    A run begun before a setting was known did as its default says.
    """
    known = Recipe().flat() | renamed(settings)
    return {name: known[name] for name in known if name not in ("checkpointing", "micro_batch")}


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
    "micro_batch": 16,
    "checkpointing": True,
    "max_labels": 18,
    "label_dropout": 0.10,
    "max_tokens": 4096,
    "per_set": RANDOM_MOST,
    "per_label": RANDOM_MOST,
    "empty": 1.0,
    "max_chars": 100_000,
    "random_most": RANDOM_MOST,
    "sampled_softmax": 0,
    "seed": 23,
}
# Each document has a label list of its own, drawn once; steps are of any documents; the loss is a
# mean of the means of what was on one card at once: a document, of four where the model was small.
_EXACT: dict[str, Any] = {
    "group": 1,
    "mean_over": 1,
    "length_bucket_window": 0,
    "resample_each_epoch": False,
}
_ON_A_CARD = {"paper-crosslingual": 4}
_SUPERVISED = 10_000  # documents a set, by the authors' answer to a question

FINE_TUNE = "fine-tune"  # what a stage that starts from an adapter is trained by

# `fine-tune`: chosen by tests/bench/bench_finetune.py; twice the rate at half the
# replay forgot much elsewhere.
# The first two stages of the shipped adapter (its run.json has all): prefixes of eight documents,
# texts of a sentence or two, the lower third of the layers left as they are; then, on top of that,
# other documents under varied labels.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    FINE_TUNE: {
        "learning_rate": 3e-4,
        "warmup": 0.1,
        "epochs": 2.0,
        "min_steps": 40,
        "replay": 1.0,
        "length_bucket_window": 0,
        "per_set": RANDOM_MOST,
        "per_label": RANDOM_MOST,
        "empty": 1.0,
        "max_labels": 60,
        "max_tokens": 1500,
        "max_chars": 4000,
    },
    "paper-7b": _PAPER,
    "paper-20b": _PAPER | {"micro_batch": 4},
    "paper-crosslingual": _PAPER | {"epochs": 6.0},
    "paper-supervised": {
        **_PAPER,
        "micro_batch": 4,
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
        "max_chars": 200,
    },
    "mini-varied": {
        "batch": 24,
        "group": 8,
        "first_layer": 6,
        "per_set": 540,
        "per_label": 150,
        "max_chars": 240,
        "seed": 24,
        "learning_rate": 6e-4,
        "subset": 0.4,
        "rename": 0.35,
        "noise": 0.25,
    },
}


def read_recipe(
    name: str,
    config: Path | None,
    settings: Sequence[str],
    exact: bool = False,
    lora: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """Build a recipe: a named one, then a TOML file or run.json, then ``key=value`` settings.

    `lora` are the settings of an adapter that `fine-tune` starts from. With `exact`, one of the
    paper's trains as the reference does wherever it can, but for what the settings say.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}", f"choose from {', '.join(RECIPES)}")
    chosen = dict(RECIPES[name])
    if name == FINE_TUNE:
        chosen |= lora
    if config is not None:
        chosen |= renamed(_read_config(config))
    if exact:
        chosen |= _exact(name)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: not KEY=VALUE", "for example --set epochs=2")
        chosen |= renamed({key.strip(): value.strip()})
    return Recipe.of(chosen)


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
