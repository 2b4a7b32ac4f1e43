"""Entities of a document: the mentions of its answers, grounded and put together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from b2ner_cli.core import chunking, grounding
from b2ner_cli.core.chunking import ChunkMentions
from b2ner_cli.core.document import Entity, Mention


def find(
    text: str, answers: Sequence[ChunkMentions], all_occurrences: bool
) -> tuple[tuple[Entity, ...], list[Mention]]:
    """The entities of a document's text, sorted by place, and the mentions it does not hold."""
    ground = partial(grounding.ground, all_occurrences=all_occurrences)
    parts, ungrounded = chunking.ground_each(answers, ground)
    if len(parts) == 1 and not parts[0][0].start:
        return tuple(parts[0][1]), ungrounded  # in order, and at their places in the document
    return chunking.merge(parts, text), ungrounded
