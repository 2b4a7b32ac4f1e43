"""Where a run starts: from the bare model, or from an adapter, which a name may stand for.

--from-adapter DIR    from that adapter
--from-adapter mini   from the adapter that this package ships for mini
--from-scratch        from the bare model
--resume, --config    as the run that is gone on with or repeated did
--recipe mini         from the bare model: it made the adapter, as those of the paper made theirs
(none of these)       from the shipped adapter if there is one for the model
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models.embedded import EMBEDDED
from b2ner_cli.training import checkpoints
from b2ner_cli.training.recipes import FINE_TUNE

BARE = ""  # what records and checkpoints call a start from the bare model
_MAKE_ADAPTERS = ("mini", "mini-varied", "paper-")


@dataclass(frozen=True, slots=True)
class Start:
    """The adapter that a run starts from, None for the bare model, and why it does."""

    adapter: Path | None
    why: str

    @property
    def name(self) -> str:
        """What records call the adapter: the model that it is shipped for, else its folder."""
        return name_of(self.adapter)

    @property
    def recipe(self) -> str:
        """The recipe where none is named."""
        return FINE_TUNE if self.adapter else "default"

    def line(self, model: str) -> str:
        """What is said of it before training."""
        if self.adapter is None:
            return f"starts from the bare model {model}: {self.why}"
        shipped = f"the adapter shipped with {self.name}"
        start = shipped if self.name in EMBEDDED else f"the adapter {self.adapter}"
        return f"starts from {start}: {self.why}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say of the start; `before` is what a repeated run's run.json says."""

    model: str
    from_adapter: str | None = None
    from_scratch: bool = False
    recipe: str | None = None
    before: str | None = None

    def __post_init__(self) -> None:
        if self.from_scratch and self.from_adapter:
            raise UsageError("--from-scratch and --from-adapter exclude each other", "give one")


def choose(asked: Asked, resumed: Path | None = None) -> Start:
    """Where a run starts; `resumed` is the folder of a run that is gone on with.

    Raises ModelError for a shipped adapter that is not there.
    """
    if asked.from_adapter:
        return Start(_adapter(asked.from_adapter), "--from-adapter")
    if asked.from_scratch:
        return Start(None, "--from-scratch")
    for began, why in (
        (_began(resumed) if resumed else None, "as the run did that is gone on with"),
        (asked.before, "as the run did that is repeated"),
    ):
        if began == BARE:
            return Start(None, why)
        if began in EMBEDDED:
            return Start(_adapter(began), why)
        if began is not None:  # a folder, which only who gives it knows
            return Start(None, f"{why}, unless --from-adapter names {began}")
    if asked.recipe and asked.recipe.startswith(_MAKE_ADAPTERS):
        return Start(None, f"recipe {asked.recipe} means --from-scratch")
    if asked.model not in EMBEDDED:
        return Start(None, "no adapter is shipped with it; --from-adapter names one")
    return Start(_adapter(asked.model), "--from-scratch starts from the bare model")


def _adapter(name: str) -> Path:
    if name not in EMBEDDED:
        return Path(name)
    found = EMBEDDED[name].adapter_directory()
    if found is None:
        raise ModelError(
            f"the adapter of {name} is not in this installation",
            "install b2ner-cli again, or start from the bare model with --from-scratch",
        )
    return found


def name_of(adapter: Path | None) -> str:
    """What records call an adapter: the model that it is shipped for, else its folder's name."""
    if adapter is None:
        return BARE
    shipped = (
        name for name, each in EMBEDDED.items() if each.adapter_directory() == adapter.resolve()
    )
    return next(shipped, adapter.name)


def _began(out: Path) -> str | None:
    """How the run in a folder, or the runs of its seeds, began; None where nothing says it.

    A run of an earlier version that had no adapter began from the bare model.
    """
    for folder in (out, *sorted(out.glob("seed-*"))):
        for checkpoint in checkpoints.stored(folder)[::-1]:
            try:
                return checkpoints.notes(checkpoint).get("start", BARE)
            except (OSError, SafetensorError):
                continue  # `checkpoints.load_latest` says what is wrong with it
        try:
            record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            return record.get("from_adapter") or BARE
        except (OSError, ValueError, AttributeError):
            continue
    return None


def lora_settings(adapter: Path | None) -> Mapping[str, Any]:
    """The settings of the LoRA that an adapter is, for a recipe that goes on with it.

    {} without an adapter, and where its adapter_config.json does not say: the run then does.
    """
    if adapter is None:
        return {}
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        layers = config.get("layers_to_transform") or [0]
        targets = config["target_modules"]
        names = [targets] if isinstance(targets, str) else sorted(targets)
        # the reference's own, which this package's InternLM2 has under other names
        target = "attention" if names == ["wqkv"] else ",".join(names)
        return {
            "rank": config["r"],
            "alpha": config["lora_alpha"],
            "target": target,
            "first_layer": min(layers),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
