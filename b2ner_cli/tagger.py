"""Tagging from Python: a loaded model with labels, ready for any number of documents.

tagger = Tagger.load("mini", labels=["person", "movie title"])
for result in tagger.tag(["Moon plays StarCraft II ."]):
    print(result.entities)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from b2ner_cli import tagging
from b2ner_cli.backbone import Backbone, Choice, load
from b2ner_cli.cache import Cache
from b2ner_cli.document import BadRecord, Document, Result
from b2ner_cli.engine import open_engine
from b2ner_cli.errors import UsageError
from b2ner_cli.labels import LabelSet
from b2ner_cli.settings import Settings
from b2ner_cli.tagging import Engine, Options
from b2ner_cli.templates import LABELS_ONLY, Task

log = logging.getLogger("b2ner")

_LONG = 1024  # tokens of text a prompt may hold where nothing is known of the adapter's training


@dataclass(frozen=True, slots=True)
class Tagger:
    """An engine with the labels and options to use it with."""

    engine: Engine
    labels: LabelSet | None
    options: Options
    cache: Cache | None = None

    @classmethod
    def load(
        cls,
        model: str | Settings | None = None,
        labels: LabelSet | Sequence[str] | None = None,
        *,
        options: Options = Options(),
        cache: Cache | None = None,
    ) -> Tagger:
        """Load a model by name or directory, or as `Settings` say.

        What the adapter says of its training takes the place of `options.chunk_tokens`. Raises
        ModelError or UsageError with the reason.
        """
        settings = model if isinstance(model, Settings) else Settings(model)
        if not isinstance(labels, LabelSet) and labels is not None:
            labels = LabelSet(tuple(labels))
        backbone = load(
            settings.model, settings.adapter, revision=settings.revision, device=settings.device,
            dtype=settings.dtype, device_map=settings.device_map, load_in=settings.load_in,
        )  # fmt: skip
        decoding = choose_decoding(settings.constrain, backbone.source.adapter, options.form.task)
        opened = open_engine(
            settings.engine, backbone, max_answer=settings.max_answer,
            batch_tokens=settings.batch_tokens, constrain=decoding.value == "constrained",
        )  # fmt: skip
        longest = chunk_tokens(backbone.source.adapter)
        chosen = (*backbone.choices, decoding, longest)
        for reason in (*(choice.reason for choice in chosen), *opened.notes):
            log.info(reason)
        return cls(opened, labels, replace(options, chunk_tokens=int(longest.value)), cache)

    def tag(self, documents: Iterable[str | Document]) -> Iterator[Result]:
        """Tag texts or documents; results come in input order.

        Raises UsageError for a document without usable labels.
        """
        given = (
            Document(str(index), document) if isinstance(document, str) else document
            for index, document in enumerate(documents)
        )
        labelled = tagging.with_labels(given, self.labels)
        for result in tagging.tag(labelled, self.engine, self.labels, self.options, self.cache):
            if isinstance(result, BadRecord):
                raise UsageError(f"{result.origin or 'document'}: {result.message}", result.hint)
            yield result


def chunk_tokens(adapter: Path | None) -> Choice:
    """How much text to put into one prompt: as much as the adapter was trained on, if known."""
    longest = _said_of(adapter, "longest_document_tokens")
    if isinstance(longest, int) and longest > 0:
        reason = f"chunks of {longest} tokens: what the adapter was trained on"
        return Choice(str(longest), reason)
    return Choice(str(_LONG), f"chunks of up to {_LONG} tokens")


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
    if _said_of(adapter, "constrain") is True:
        return Choice("constrained", "answers constrained: the adapter scores higher so")
    return Choice("free", "answers free, as the models of the paper give them")


def _said_of(adapter: Path | None, what: str) -> object:
    """What an adapter's run.json says, None where there is none or it does not."""
    if adapter is None:
        return None
    try:
        run = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run.get(what) if isinstance(run, dict) else None


def backbone_of(engine: Engine) -> Backbone | None:
    """The backbone an engine answers with, None for an engine without one."""
    return getattr(engine, "backbone", None)
