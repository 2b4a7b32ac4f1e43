"""What a run would ask: the prompts of the first documents, and how long they are.

Needs a tokenizer, no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.language import as_language, detect_language
from b2ner_cli.core.tasks import ABOUT_EVENTS
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import rendering
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.settings import Settings


def preview(
    documents: Iterable[Document | BadRecord],
    settings: Settings,
    labels: LabelSet | None,
    options: loop.Options,
    most: int = 3,
) -> Iterator[str]:
    """The first documents' prompts and their token counts, from the tokenizer alone.

    Examples are shown all: how many fit is known once the model is.
    """
    language = options.language
    if options.form.task in ABOUT_EVENTS:
        raise UsageError("prompts of one event each are not shown", "leave out --dry-run")
    from b2ner_cli.models.files import locate
    from b2ner_cli.models.tokenizer import load_tokenizer

    source = locate(settings.model, settings.adapter, settings.revision, weights=False)
    tokenizer = load_tokenizer(source)
    shown = 0
    for item in loop.with_labels(documents, labels):
        if isinstance(item, BadRecord):
            yield f"# {item.origin}: {item.message}"
            continue
        asked = labels
        if item.labels:
            asked = LabelSet(tuple(dict.fromkeys(item.labels))).described(options.descriptions)
        assert asked is not None  # with_labels lets no document through without
        spoken = detect_language(item.text) if language == "auto" else as_language(language)
        prompt = rendering.render(asked, item.text, spoken, options.form.without(item.text))
        shared = tokenizer.count(prompt.prefix) + len(tokenizer.bos)
        own = tokenizer.count(prompt.own)
        counts = f"{shared} shared + {own} own tokens, answer up to {settings.max_answer}"
        yield f"# {item.origin or item.id}: {counts}"
        yield prompt.text
        yield ""
        shown += 1
        if shown == most:
            return
