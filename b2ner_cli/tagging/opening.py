"""From `Settings` to an engine that answers: on one device, or a process a device on several.

How answers are given and how much text a prompt holds is chosen here, each with its reason.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from b2ner_cli.core.engine import Engine
from b2ner_cli.core.tasks import LABELS_ONLY, Task
from b2ner_cli.engine import PackedEngine, PlainEngine, open_engine, workers
from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models import placement
from b2ner_cli.models.adapters import recorded
from b2ner_cli.models.devices import Choice, choose_devices
from b2ner_cli.models.files import locate
from b2ner_cli.models.loading import load
from b2ner_cli.models.tokenizer import load_tokenizer
from b2ner_cli.prompts.confidence import Calibration
from b2ner_cli.tagging.planning import CHUNK_TOKENS
from b2ner_cli.tagging.settings import Settings

log = logging.getLogger("b2ner")


def open_settings(settings: Settings, task: Task) -> tuple[Engine, Path | None]:
    """Load the model that settings name and give its engine, and the folder of its adapter.

    Raises ModelError or UsageError with the reason.
    """
    chosen = choose_devices(settings.device)
    devices = chosen.value.split(",")
    if len(devices) > 1:
        return _open_pool(settings, task, devices, chosen.reason)
    engine = _open(replace(settings, device=chosen.value), task)
    return engine, engine.backbone.source.adapter


def _open(settings: Settings, task: Task) -> PackedEngine | PlainEngine:
    """Load a model on one device and give its engine; tells the log what was chosen and why."""
    backbone = load(
        settings.model, settings.adapter, revision=settings.revision, device=settings.device,
        dtype=settings.dtype, device_map=settings.device_map, load_in=settings.load_in,
    )  # fmt: skip
    decoding = choose_decoding(settings.constrain, backbone.source.adapter, task)
    opened = open_engine(
        settings.engine, backbone, max_answer=settings.max_answer,
        batch_tokens=settings.batch_tokens, constrain=decoding.value == "constrained",
    )  # fmt: skip
    chosen = (*backbone.choices, decoding)
    for reason in (*(choice.reason for choice in chosen), *opened.notes):
        log.info(reason)
    return opened


def _open_pool(
    settings: Settings, task: Task, devices: Sequence[str], reason: str
) -> tuple[Engine, Path | None]:
    """Give an engine over a process a device, and the adapter of all; no model is loaded here."""
    placement.check(settings.device_map, settings.load_in, settings.device)
    source = locate(settings.model, settings.adapter, settings.revision)
    threads = max(1, torch.get_num_threads() // len(devices))
    log.info("%s, a process each; CPU threads of each: %d", reason, threads)
    make = functools.partial(_open_on, settings, task, threads)
    engine = workers.start(devices, make, load_tokenizer(source).count)
    if not engine.identity.startswith(f"{source.fingerprint}/"):
        engine.close()
        raise ModelError(f"the files of {source.name} changed while they were loaded", "try again")
    return engine, source.adapter


def _open_on(settings: Settings, task: Task, threads: int, device: str) -> Engine:
    """What each of several processes does: the same as one alone, with its share of the CPU."""
    torch.set_num_threads(threads)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # or some libraries would take memory of the first card, too
        log.info("%s", torch.cuda.get_device_name(device))
    return _open(replace(settings, device=device), task)


def chunk_tokens(adapter: Path | None) -> Choice:
    """How much text to put into one prompt, in whole sentences.

    As much as was measured to be best for the adapter, else as much as it was trained on.
    """
    measured, most = recorded(adapter, "chunk_tokens"), sentence_tokens(adapter)
    if isinstance(measured, int) and measured > 0:
        return Choice(str(measured), f"chunks of {measured} tokens: measured to be the best")
    if most:
        return Choice(str(most), f"chunks of {most} tokens: what the adapter was trained on")
    return Choice(str(CHUNK_TOKENS), f"chunks of up to {CHUNK_TOKENS} tokens")


def sentence_tokens(adapter: Path | None) -> int | None:
    """Up to how many tokens a sentence stays whole: what the adapter was trained on, if known."""
    most = recorded(adapter, "longest_document_tokens")
    return most if isinstance(most, int) and most > 0 else None


def choose_decoding(constrain: bool | None, adapter: Path | None, task: Task = "NER") -> Choice:
    """Constrained or free answers: as asked for, or as the adapter says it is better.

    Raises UsageError for a task whose answers are not pairs of a label and a part of the text.
    """
    if task in ("RE", *LABELS_ONLY):
        if constrain:
            raise UsageError(
                f"answers of task {task.lower()} cannot be constrained", "leave out --constrain"
            )
        return Choice("free", f"answers free: task {task.lower()} has no other")
    if constrain is not None:
        value = "constrained" if constrain else "free"
        return Choice(value, f"answers {value}: asked for")
    if recorded(adapter, "constrain") is True:
        return Choice("constrained", "answers constrained: the adapter scores higher so")
    return Choice("free", "answers free, as the models of the paper give them")


@dataclass(frozen=True, slots=True)
class Scoring:
    """What makes scores of an adapter's answers, and why; None leaves the tokens' probability."""

    value: Calibration | None
    reason: str


def calibration(adapter: Path | None, decoding: str, task: Task = "NER") -> Scoring:
    """What an adapter has to make scores of its `free` or `constrained` answers.

    Raises ModelError for one that cannot be read.
    """
    kept = recorded(adapter, "calibration")
    if task != "NER" or not isinstance(kept, dict) or decoding not in kept:
        return Scoring(None, "scores are mean probabilities of tokens, not calibrated")
    try:
        found = Calibration.of(kept[decoding])
    except ValueError as error:
        hint = "fit it anew with b2ner model calibrate, or take that key out"
        raise ModelError(f"{adapter}/run.json: {error}", hint) from None
    return Scoring(found, f"scores calibrated for {decoding} answers")
