"""Relations: what ``relation: head, tail`` says, and where both stand in the text.

    author: Emma, Jane Austen   -> Relation("author", Span(0, 4, "Emma"), Span(18, 29, ...))

A relation is said as a mention whose surface is ``head, tail``. One entity of many relations has
one place: the first that its surface has by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from b2ner_cli.core import chunking, grounding
from b2ner_cli.core.chunking import Chunk, ChunkMentions
from b2ner_cli.core.document import Mention, Relation, Span

_COMMA = re.compile("[,，]")


def surface(head: str, tail: str) -> str:
    """Head and tail as an answer says them."""
    return f"{head}, {tail}"


def split(surface: str, text: str) -> tuple[str, str] | None:
    """Head and tail of a surface, cut at the comma that leaves two parts of the text.

    Where there is none the first comma counts; None without one between two words.
    """
    cuts = [
        (surface[: comma.start()].strip(), surface[comma.end() :].strip())
        for comma in _COMMA.finditer(surface)
    ]
    cuts = [(head, tail) for head, tail in cuts if head and tail]
    for head, tail in cuts:
        if head in text and tail in text:
            return head, tail
    return cuts[0] if cuts else None


def find(answers: Sequence[ChunkMentions]) -> tuple[tuple[Relation, ...], list[Mention]]:
    """The relations of a document, and the mentions whose head or tail it does not hold."""
    parts, ungrounded = chunking.ground_each(answers, ground)
    return merge(parts), ungrounded


def ground(text: str, mentions: Sequence[Mention]) -> tuple[list[Relation], list[Mention]]:
    """The relations whose head and tail the text holds, in the order said, and the others."""
    pairs = [split(mention.surface, text) for mention in mentions]
    surfaces = dict.fromkeys(part for pair in pairs if pair for part in pair)
    # Each surface once, under itself as label: so its place can be told by its name.
    entities, _ = grounding.ground(text, [Mention(each, each) for each in surfaces])
    places = {entity.label: Span(entity.start, entity.end, entity.text) for entity in entities}
    relations: list[Relation] = []
    ungrounded: list[Mention] = []
    for mention, pair in zip(mentions, pairs, strict=True):
        if pair and pair[0] in places and pair[1] in places:
            head, tail = places[pair[0]], places[pair[1]]
            relations.append(Relation(mention.label, head, tail, mention.score))
        else:
            ungrounded.append(mention)
    return relations, ungrounded


def is_lost(text: str, surface: str) -> bool:
    """Whether the text does not hold head or tail of a surface."""
    return bool(ground(text, [Mention("relation", surface)])[1])


def merge(parts: Iterable[tuple[Chunk, Sequence[Relation]]]) -> tuple[Relation, ...]:
    """Move relations from their chunks to the document, sorted by place; of equals the surest."""
    moved = (
        relation._replace(head=shift(relation.head, chunk), tail=shift(relation.tail, chunk))
        for chunk, relations in parts
        for relation in relations
    )
    return chunking.surest(((each.head, each.tail, each.label), each) for each in moved)


def shift(span: Span, chunk: Chunk) -> Span:
    """A span of a chunk as one of the document."""
    return span._replace(start=span.start + chunk.start, end=span.end + chunk.start)
