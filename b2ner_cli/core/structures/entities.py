"""Entities of a document: the mentions of its answers, grounded and put together."""

from __future__ import annotations

from collections.abc import Sequence

from b2ner_cli.core import chunking
from b2ner_cli.core.chunking import Chunk, ChunkMentions
from b2ner_cli.core.document import Entity, Mention
from b2ner_cli.core.grounding import ground


def find(
    text: str, answers: Sequence[ChunkMentions], all_occurrences: bool
) -> tuple[tuple[Entity, ...], list[Mention]]:
    """The entities of a document's text, sorted by place, and the mentions it does not hold."""
    parts: list[tuple[Chunk, list[Entity]]] = []
    ungrounded: list[Mention] = []
    for chunk, chunk_text, mentions, _ in answers:
        found, absent = ground(chunk_text, mentions, all_occurrences=all_occurrences)
        parts.append((chunk, found))
        ungrounded += absent
    if len(parts) == 1 and not parts[0][0].start:
        return tuple(parts[0][1]), ungrounded  # in order, and at their places in the document
    return chunking.merge(parts, text), ungrounded
