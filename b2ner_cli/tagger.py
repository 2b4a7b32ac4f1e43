"""Tagging from Python: a loaded model with labels, ready for any number of documents.

tagger = Tagger.load("mini", labels=["person", "movie title"])
for result in tagger.tag(["Moon plays StarCraft II ."]):
    print(result.entities)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from b2ner_cli import tagging
from b2ner_cli.backbone import Backbone, Choice, load
from b2ner_cli.cache import Cache
from b2ner_cli.document import BadRecord, Document, Result
from b2ner_cli.engine import ENGINES, open_engine
from b2ner_cli.errors import UsageError
from b2ner_cli.labels import LabelSet
from b2ner_cli.tagging import Engine, Options

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
        model: str | None = "mini",
        labels: LabelSet | Sequence[str] | None = None,
        *,
        adapter: str | None = None,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        device_map: str | None = None,
        load_in: str | None = None,
        engine: str = "fast",
        max_answer: int = 256,
        batch_tokens: int | None = None,
        constrain: bool | None = None,
        language: str = "auto",
        all_occurrences: bool = False,
        min_score: float = 0.0,
        cache: Cache | None = None,
    ) -> Tagger:
        """Load a model by name or directory; raises ModelError or UsageError with the reason.

        `model` None is the adapter's own base; the options of loading are those of
        `backbone.load`. `constrain` holds answers to the labels asked for and the words of the
        text; None leaves that to what the adapter says of itself.
        """
        if not isinstance(labels, LabelSet) and labels is not None:
            labels = LabelSet(tuple(labels))
        Options(language, all_occurrences, min_score)  # wrong options show before the model loads
        if engine not in ENGINES:
            raise UsageError(f"no engine {engine!r}", f"choose from {', '.join(ENGINES)}")
        backbone = load(
            model, adapter, revision=revision, device=device, dtype=dtype,
            device_map=device_map, load_in=load_in,
        )  # fmt: skip
        decoding = choose_decoding(constrain, backbone.source.adapter)
        opened = open_engine(
            engine, backbone, max_answer=max_answer, batch_tokens=batch_tokens,
            constrain=decoding.value == "constrained",
        )  # fmt: skip
        longest = chunk_tokens(backbone.source.adapter)
        chosen = (*backbone.choices, decoding, longest)
        for reason in (*(choice.reason for choice in chosen), *opened.notes):
            log.info(reason)
        options = Options(language, all_occurrences, min_score, int(longest.value))
        return cls(opened, labels, options, cache)

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


def choose_decoding(constrain: bool | None, adapter: Path | None) -> Choice:
    """Constrained or free answers: as asked for, or as the adapter says it is better."""
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
