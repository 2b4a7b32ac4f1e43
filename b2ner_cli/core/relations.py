"""Relations: what ``relation: head, tail`` says, and where both stand in the text.

    author: Emma, Jane Austen   -> Relation("author", Span(0, 4, "Emma"), Span(18, 29, ...))

A relation is said as a mention whose surface is ``head, tail``. One entity of many relations has
one place: the first that its surface has by itself. Strings only, no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from b2ner_cli.core import grounding
from b2ner_cli.core.chunking import Chunk
from b2ner_cli.core.document import Mention, Relation, Span

_COMMA = re.compile("[,，]")


def surface(head: str, tail: str) -> str:
    """Head and tail as an answer says them."""
    return f"{head}, {tail}"


def split(said: str, text: str) -> tuple[str, str] | None:
    """Head and tail of a surface, cut at the comma that leaves two parts of the text.

    Where there is none the first comma counts; None without one between two words.
    """
    cuts = [(said[: m.start()].strip(), said[m.end() :].strip()) for m in _COMMA.finditer(said)]
    cuts = [(head, tail) for head, tail in cuts if head and tail]
    for head, tail in cuts:
        if head in text and tail in text:
            return head, tail
    return cuts[0] if cuts else None


def locate(text: str, mentions: Sequence[Mention]) -> tuple[list[Relation], list[Mention]]:
    """The relations whose head and tail the text holds, in the order said, and the others."""
    pairs = [split(mention.surface, text) for mention in mentions]
    surfaces = dict.fromkeys(part for pair in pairs if pair for part in pair)
    # Each surface once, under itself as label: so its place can be told by its name.
    entities, _ = grounding.locate(text, [Mention(each, each) for each in surfaces])
    places = {entity.label: Span(entity.start, entity.end, entity.text) for entity in entities}
    relations: list[Relation] = []
    unlocated: list[Mention] = []
    for mention, pair in zip(mentions, pairs, strict=True):
        if pair and pair[0] in places and pair[1] in places:
            relations.append(
                Relation(mention.label, places[pair[0]], places[pair[1]], mention.score)
            )
        else:
            unlocated.append(mention)
    return relations, unlocated


def is_lost(text: str, said: str) -> bool:
    """Whether the text does not hold head or tail of a surface."""
    return bool(locate(text, [Mention("relation", said)])[1])


def merge(parts: Iterable[tuple[Chunk, Sequence[Relation]]]) -> tuple[Relation, ...]:
    """Move relations from their chunks to the document, sorted by place; of equals the surest."""
    best: dict[tuple[Span, Span, str], Relation] = {}
    for chunk, relations in parts:
        for label, head, tail, score in relations:
            moved = Relation(label, shift(head, chunk), shift(tail, chunk), score)
            key = (moved.head, moved.tail, label)
            known = best.get(key)
            if known is None or (known.score or 0.0) < (score or 0.0):
                best[key] = moved
    return tuple(best[key] for key in sorted(best))


def shift(span: Span, chunk: Chunk) -> Span:
    """A span of a chunk as one of the document."""
    return Span(span.start + chunk.start, span.end + chunk.start, span.text)
