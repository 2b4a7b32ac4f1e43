"""What a run would ask: the prompts of the first documents, and how long they are.

Needs a tokenizer, no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from b2ner_cli.core import chunking
from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.engine import Prompt
from b2ner_cli.core.language import as_language, detect_language
from b2ner_cli.core.model_text import model_text
from b2ner_cli.core.tasks import ABOUT_EVENTS
from b2ner_cli.core.text import no_surrogates
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import rendering
from b2ner_cli.tagging import check, loop
from b2ner_cli.tagging.settings import Settings


def preview(
    documents: Iterable[Document | BadRecord],
    settings: Settings,
    labels: LabelSet | None,
    options: loop.Options,
    most: int = 3,
    checked: int = 0,
) -> Iterator[str]:
    """The first prompts, chunk by chunk, and their token counts, from the tokenizer alone.

    Examples are shown all: how many fit is known once the model is. `checked` is how many
    documents are asked again afterwards, which is said.
    """
    if options.form.task in ABOUT_EVENTS:
        raise UsageError("prompts of one event each are not shown", "leave out --dry-run")
    from b2ner_cli.models.files import locate
    from b2ner_cli.models.tokenizer import load_tokenizer
    from b2ner_cli.tagging.opening import chunk_tokens, sentence_tokens

    source = locate(settings.model, settings.adapter, settings.revision, weights=False)
    tokenizer = load_tokenizer(source)
    budget = options.chunk_tokens or int(chunk_tokens(source.adapter).value)
    whole = options.sentence_tokens or sentence_tokens(source.adapter)
    if checked:
        known = replace(options, chunk_tokens=budget, sentence_tokens=whole)
        yield f"# --check: then up to {checked:,} documents again, {check.in_words(known)}"
    shown = 0
    for item in loop.with_labels(documents, labels):
        if isinstance(item, BadRecord):
            yield f"# {item.origin}: {item.message}"
            continue
        text = no_surrogates(model_text(item.text).text)
        for start, end in chunking.split(text, tokenizer.count, budget, whole):
            if shown == most:
                return
            try:
                prompt = _prompt(item, text, text[start:end], labels, options)
            except UsageError as error:  # labels of its own that cannot be asked together
                yield f"# {item.origin}: {error.message}"
                break
            shared = tokenizer.count(prompt.prefix) + len(tokenizer.bos)
            own = tokenizer.count(prompt.own)
            counts = f"{shared} shared + {own} own tokens, answer up to {settings.max_answer}"
            part = "" if end - start == len(text) else f", characters {start} to {end}"
            yield f"# {item.origin or item.id}{part}: {counts}"
            yield prompt.text
            yield ""
            shown += 1


def _prompt(
    document: Document, text: str, chunk: str, labels: LabelSet | None, options: loop.Options
) -> Prompt:
    asked = labels
    if document.labels:
        asked = LabelSet(tuple(dict.fromkeys(document.labels))).described(options.descriptions)
    assert asked is not None  # with_labels lets no document through without
    given = options.language
    spoken = detect_language(text) if given == "auto" else as_language(given)
    form = options.form.without(document.text).without(chunk)
    if renaming := options.renaming(asked.names, spoken):
        asked = renaming.ask(asked)
        form = replace(form, examples=tuple(e.renamed(renaming.names) for e in form.examples))
    return rendering.render(asked, chunk, spoken, form)
