"""Tagging from Python: a loaded model with labels, ready for any number of documents.

tagger = Tagger.load("mini", labels=["person", "movie title"])
for result in tagger.tag(["Moon plays StarCraft II ."]):
    print(result.entities)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.core.engine import Engine
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.planning import Options
from b2ner_cli.tagging.settings import Settings

log = logging.getLogger("b2ner")


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

        Where `options.chunk_tokens`, `sentence_tokens` or `calibration` is None the adapter says
        it. Raises ModelError or UsageError with the reason.
        """
        from b2ner_cli.tagging import opening  # imports torch, which takes seconds

        settings = model if isinstance(model, Settings) else Settings(model)
        if not isinstance(labels, LabelSet) and labels is not None:
            labels = LabelSet(tuple(labels))
        engine, adapter = opening.open_settings(settings, options.form.task)
        if options.chunk_tokens is None:
            chosen = opening.chunk_tokens(adapter)
            log.info(chosen.reason)
            options = replace(options, chunk_tokens=int(chosen.value))
        if options.sentence_tokens is None:
            options = replace(options, sentence_tokens=opening.sentence_tokens(adapter))
        if options.calibration is None:
            decoding = opening.choose_decoding(settings.constrain, adapter, options.form.task)
            found = opening.calibration(adapter, decoding.value, options.form.task)
            log.info(found.reason)
            options = replace(options, calibration=found.value)
        return cls(engine, labels, options, cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the processes of an engine on several devices; of others there is nothing to do."""
        if close := getattr(self.engine, "close", None):
            close()

    def tag(self, documents: Iterable[str | Document]) -> Iterator[Result]:
        """Tag texts or documents; results come in input order.

        Raises UsageError for a document without usable labels.
        """
        given = (
            Document(str(index), document) if isinstance(document, str) else document
            for index, document in enumerate(documents)
        )
        labelled = loop.with_labels(given, self.labels)
        for result in loop.tag(labelled, self.engine, self.labels, self.options, self.cache):
            if isinstance(result, BadRecord):
                raise UsageError(f"{result.origin or 'document'}: {result.message}", result.hint)
            yield result
