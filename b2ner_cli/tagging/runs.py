"""What whole runs share: an output that can be gone on with, a cache, a tagger, and who is told.

A `Ledger` hears of every result and bad record; how they are shown is its matter.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Result
from b2ner_cli.errors import NOTICE
from b2ner_cli.labels.better_names import by_language
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.planning import Options
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger

log = logging.getLogger("b2ner")

_ALLOCATIONS = 50_000  # objects made and kept between two looks of the garbage collector


class Ledger(Protocol):
    """Counts what a run does."""

    dropped: int

    def result(self, result: Result) -> None:
        """A document was tagged."""

    def bad_record(self, record: BadRecord) -> None:
        """A record could not be read."""


def open_output(
    path: str | None, *, resume: bool, force: bool, format: str = "jsonl", header: bytes = b""
) -> formats.Output:
    """Open a run's output; the log hears what was found there."""
    output = formats.open_output(path, format=format, header=header, force=force, resume=resume)
    if output.reason:
        log.log(NOTICE, "%s", output.reason)
    return output


@contextmanager
def load(
    settings: Settings,
    labels: LabelSet | None,
    options: Options,
    cache: Path | None,
    output: formats.Output,
    more: Mapping[str, str] | None = None,
) -> Iterator[Tagger]:
    """Give a run's tagger with its open cache, which end with it; `cache` None is to do without.

    Raises OutputError where the output was begun by a run that was asked something else, for
    which `more` is added to what labels and options say.
    """
    with ExitStack() as stack:
        answers = stack.enter_context(Cache.open(cache)) if cache else None
        tagger = stack.enter_context(Tagger.load(settings, labels, options=options, cache=answers))
        output.belongs_to(_asked(labels, tagger) | dict(more or {}))
        stack.enter_context(_collecting_seldom())
        yield tagger


def _asked(labels: LabelSet | None, tagger: Tagger) -> dict[str, str]:
    """All that a record depends on beside its document, in words for people."""
    asked = [labels.names, dict(labels.descriptions)] if labels else []
    options = dataclasses.asdict(dataclasses.replace(tagger.options, label_map=None))
    renaming = tagger.options.label_map
    options["label_map"] = dict(renaming.names) if renaming else None
    if tagger.options.improve_labels:
        given = labels.names if labels else ()
        options["improve_labels"] = by_language(given, tagger.options.language, renaming)
    for name in ("form", "descriptions", "roles", "min_scores", "calibration", "improve_labels"):
        if getattr(tagger.options, name) == getattr(Options(), name):
            del options[name]  # said only where it was asked for
    return {
        "model, adapter, dtype or decoding": f"{tagger.engine.identity}-{tagger.engine.max_answer}",
        "labels": json.dumps(asked, ensure_ascii=False),
        **{name.replace("_", " "): str(value) for name, value in options.items()},
    }


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Spare the garbage collector what is loaded by now, and will stay: torch and the model.

    Going through all of that again and again took a fifth of a run whose answers are cached. Nor
    need it look often at what a run makes: a window of documents, none of which is a cycle.
    Afterwards it does as before.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
