"""How much text one prompt should hold, measured when an adapter is trained: documents are joined,
tagged at several chunk sizes, and the size at which most is found goes into run.json.

Documents of dev splits serve, since they were not trained on; of a set without one, its training
documents.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from b2ner_cli.core.document import Document, Result
from b2ner_cli.core.language import Language
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training.selection import Selection

SIZES = (25, 40, 60, 100, 150, 214, 320)
_SETS = 12
_TOGETHER = 8  # documents that are joined
_DOCUMENTS = _SETS * _TOGETHER
_FEWEST = 3  # texts of joined documents: with fewer nothing is said
_NEAR = 0.005  # of F1: as good as the best

Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Joined:
    """Documents put together as one text, with their gold and what they are asked for."""

    text: str
    gold: frozenset[Span]
    labels: LabelSet
    language: Language


def join(documents: Sequence[Document], labels: LabelSet, language: Language) -> Joined:
    """Put documents together, by a blank, Chinese ones by a line end; gold at its new places."""
    text, gold = "", set[Span]()
    for each in documents:
        text += ("\n" if language == "zh" else " ") * bool(text)
        gold |= {(len(text) + e.start, len(text) + e.end, e.label) for e in each.entities or ()}
        text += each.text
    return Joined(text, frozenset(gold), labels, language)


def sample(
    selections: Sequence[Selection], dev: Mapping[str, Sequence[Document]]
) -> Iterator[Joined]:
    """Some documents of some sets, joined; `dev` has those of dev splits by the set's name.

    Where documents bring labels of their own, those of all that are joined are asked for.
    """
    rng = random.Random(0)
    whole = [each for each in selections if each.form.task == "NER"]
    whole = rng.sample(whole, min(_SETS, len(whole)))
    for selection in whole:
        read = dev.get(selection.name) or selection.documents
        known = [each for each in read if each.entities is not None and each.text.strip()]
        known = rng.sample(known, min(_DOCUMENTS // len(whole), len(known)))
        for first in range(0, len(known), _TOGETHER):
            some = known[first : first + _TOGETHER]
            own = dict.fromkeys(name for each in some for name in each.labels or selection.labels)
            yield join(some, LabelSet(tuple(own)), selection.language)


def measure(tagger: Tagger, asked: Sequence[Joined], sizes: Sequence[int]) -> dict[int, float]:
    """F1 at each chunk size: an entity is right at its place with its label."""
    found: dict[int, float] = {}
    for size in sizes:
        right = said = 0
        for language in sorted({each.language for each in asked}):
            options = replace(tagger.options, chunk_tokens=size, language=language)
            texts = [each for each in asked if each.language == language]
            documents = [Document("joined", each.text, labels=each.labels.names) for each in texts]
            results = loop.tag(documents, tagger.engine, None, options)
            for result, each in zip(results, texts, strict=True):
                assert isinstance(result, Result)
                spans = {(e.start, e.end, e.label) for e in result.entities}
                right, said = right + len(spans & each.gold), said + len(spans)
        total = said + sum(len(each.gold) for each in asked)
        found[size] = 2 * right / total if total else 0.0
    return found


def chosen(
    tagger: Tagger, selections: Sequence[Selection], dev: Mapping[str, Sequence[Document]]
) -> dict[str, Any]:
    """What run.json says of the chunk size: the largest that is as good as the best, and the F1 of
    each; nothing where there are too few documents, or nothing is found at any size.
    """
    asked = list(sample(selections, dev))
    longest = tagger.options.sentence_tokens or SIZES[-1]
    sizes = [size for size in SIZES if size < longest] + [longest]
    if len(asked) < _FEWEST:
        return {}
    found = measure(tagger, asked, sizes)
    best = max(found.values())
    if not best:
        return {}
    size = max(size for size, f1 in found.items() if f1 >= best - _NEAR)
    f1s = {str(size): round(f1, 4) for size, f1 in found.items()}
    return {"chunk_tokens": size, "chunk_tokens_f1": f1s}


def first_documents(documents: Iterator[Document]) -> list[Document]:
    """As many of a dev split as `sample` may draw from, no more."""
    return list(islice(documents, 10 * _DOCUMENTS))
