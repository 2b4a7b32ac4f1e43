"""Entities of a document: the mentions of its answers, grounded and put together."""

from __future__ import annotations

from collections.abc import Sequence

from b2ner_cli.core import chunking
from b2ner_cli.core.chunking import Chunk, ChunkMentions
from b2ner_cli.core.document import Entity, Mention
from b2ner_cli.core.grounding import everywhere, ground


def find(
    text: str, answers: Sequence[ChunkMentions], all_occurrences: bool
) -> tuple[tuple[Entity, ...], list[Mention]]:
    """The entities of a document's text, sorted by place, and the mentions it does not hold."""
    parts: list[tuple[Chunk, list[Entity]]] = []
    ungrounded: list[Mention] = []
    for chunk, chunk_text, mentions, _ in answers:
        found, absent = ground(chunk_text, mentions)
        parts.append((chunk, found))
        ungrounded += absent
    if len(parts) == 1 and not parts[0][0].start:
        entities = tuple(parts[0][1])  # in order, and at their places in the document
    else:
        entities = chunking.merge(parts, text)
    if all_occurrences:  # in the whole document, whatever the chunk that named it
        lost = set(map(id, ungrounded))
        grounded = (m for answer in answers for m in answer.mentions if id(m) not in lost)
        entities = everywhere(text, entities, grounded)
    return entities, ungrounded
