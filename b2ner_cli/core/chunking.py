"""Cut a document into chunks of whole sentences, and put their entities together again.

Chunks are spans of the document's text, in order; between them lies nothing but white space.
They overlap only where a sentence that is too long was cut. Knows tokens only by counting: the
caller says how many a string has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from b2ner_cli.core.document import Entity, Event, Mention, Relation
from b2ner_cli.core.sentences import TextSpan, sentences
from b2ner_cli.errors import UsageError

# Characters a token holds: as guessed before anything was counted, and at most. The upper bound
# keeps the pieces that are counted small, however long the document is.
_TYPICAL, _MOST = 4.0, 16
# How full a part of a sentence is meant to be: what is left absorbs the error of the guess.
_FILL = 0.95
# Share of a chunk that is said again in the next one where a sentence had to be cut, so that an
# entity at the cut stands whole in one of them.
_OVERLAP = 0.2

_INK = re.compile(r"\S")
_WORD = re.compile(r"\s|[，、：]")


class Chunk(NamedTuple):
    """A part of a document, given by its place in the text."""

    start: int
    end: int


class ChunkMentions(NamedTuple):
    """What one answer says of a chunk with that text.

    `event` is the number of the document's event whose arguments they are, where that was asked.
    """

    chunk: Chunk
    text: str
    mentions: Sequence[Mention]
    event: int = 0


_Found = TypeVar("_Found", Entity, Relation, Event)


def split(
    text: str, count: Callable[[str], int], budget: int, most: int | None = None
) -> list[Chunk]:
    """Return the chunks of a text: whole sentences, as many as `budget` tokens hold by `count`.

    A text that fits is one chunk, untouched; a text of white space has none. A sentence over the
    budget is a chunk by itself up to `most` tokens (the budget, unless given) and is cut between
    words beyond, else between characters. A single character is a chunk whatever it counts.
    """
    if budget < 1:
        raise UsageError(
            f"no text fits a budget of {budget} tokens a chunk",
            "The instruction, the labels and the answer take the whole context: give fewer or "
            "shorter labels, a smaller --max-answer, or a model with a longer context.",
        )
    if not text or text.isspace():
        return []
    # A token is at least a byte; the one to spare is for tokenizers that put a space in front.
    if len(text) < budget and (text.isascii() or len(text.encode(errors="surrogatepass")) < budget):
        return [Chunk(0, len(text))]
    if len(text) <= budget * _MOST and count(text) <= budget:
        return [Chunk(0, len(text))]
    return list(_pack(text, count, budget, max(budget, most or 0)))


def ground_each(
    answers: Sequence[ChunkMentions],
    ground: Callable[[str, Sequence[Mention]], tuple[list[_Found], list[Mention]]],
) -> tuple[list[tuple[Chunk, list[_Found]]], list[Mention]]:
    """Ground the mentions of each answer in its chunk: what was found there, and what was not."""
    parts: list[tuple[Chunk, list[_Found]]] = []
    ungrounded: list[Mention] = []
    for chunk, text, mentions, _ in answers:
        found, absent = ground(text, mentions)
        parts.append((chunk, found))
        ungrounded += absent
    return parts, ungrounded


def merge(parts: Sequence[tuple[Chunk, Sequence[Entity]]], text: str) -> tuple[Entity, ...]:
    """Move entities from their chunks to the document, sorted by start, end, label.

    A chunk may come more than once, with other entities (one answer a group of labels). Of
    entities with the same span and label the one with the highest score stays; where chunks
    overlap, what one of them cut off gives way to what the other holds whole.
    """
    moved: list[Entity] = []
    for chunk, entities in parts:
        for entity in entities:
            start, end = entity.start + chunk.start, entity.end + chunk.start
            moved.append(entity._replace(start=start, end=end, text=text[start:end]))
    merged = surest(((each.start, each.end, each.label), each) for each in moved)
    chunks = sorted({chunk for chunk, _ in parts})
    cuts = {place for a, b in pairwise(chunks) if b.start < a.end for place in (a.end, b.start)}
    return tuple(e for e in merged if not _is_cut_off(e, merged, cuts)) if cuts else merged


def _is_cut_off(entity: Entity, others: Iterable[Entity], cuts: Collection[int]) -> bool:
    """Whether an entity ends at a cut and is part of another with its label."""
    return (entity.start in cuts or entity.end in cuts) and any(
        other.label == entity.label
        and other.start <= entity.start
        and entity.end <= other.end
        and (other.start, other.end) != (entity.start, entity.end)
        for other in others
    )


def surest(keyed: Iterable[tuple[tuple[Any, ...], _Found]]) -> tuple[_Found, ...]:
    """One item a key, that with the highest score, else the first; in the order of the keys."""
    best: dict[tuple[Any, ...], _Found] = {}
    for key, item in keyed:
        known = best.get(key)
        if known is None or _score(known) < _score(item):
            best[key] = item
    return tuple(best[key] for key in sorted(best))


def _score(item: _Found) -> float:
    return -1.0 if item.score is None else item.score


def _pack(text: str, count: Callable[[str], int], budget: int, most: int) -> Iterator[Chunk]:
    """Put sentences together while they fit; those that are too long are cut."""
    start = end = tokens = 0
    for sentence in sentences(text):
        length = sentence.end - sentence.start
        own = most + 1
        if length <= most * _MOST:
            own = max(1, count(text[sentence.start : sentence.end]))
        between = text[end : sentence.start]
        joined = tokens + len(between.encode()) + own  # a token is a byte at least
        # A paragraph's end is the better edge in the second half.
        apart = tokens > budget // 2 and between.count("\n") > 1
        if tokens and joined <= budget and not apart:
            end, tokens = sentence.end, joined
            continue
        if tokens:
            yield Chunk(start, end)
        start, end, tokens = *sentence, own
        if own > most:
            yield from _parts(text, sentence, count, most)
            tokens = 0
    if tokens:
        yield Chunk(start, end)


def _parts(
    text: str, sentence: TextSpan, count: Callable[[str], int], budget: int
) -> Iterator[Chunk]:
    """Cut a sentence between words, else between characters; each part begins in the one before."""
    (start, stop), rate = sentence, _TYPICAL
    while True:
        end, tokens = _fit(text, start, stop, count, budget, rate)
        rate = (end - start) / max(tokens, 1)
        yield Chunk(start, end)
        if end == stop:
            return
        overlap = int((end - start) * _OVERLAP)
        start = _skip_space(text, _word_start(text, max(end - overlap, start + 1), end))


def _fit(
    text: str, start: int, stop: int, count: Callable[[str], int], budget: int, rate: float
) -> tuple[int, int]:
    """Where the part that begins at `start` ends, and how many tokens it has.

    Guesses the width from the characters that a token held before, and narrows until it fits.
    """
    fill = 1 if stop - start <= rate * budget else _FILL
    width = max(1, min(int(rate * budget * fill), budget * _MOST))
    while True:
        end = stop if start + width >= stop else _cut(text, start, start + width)
        tokens = count(text[start:end])
        if tokens <= budget or end - start == 1:
            return end, tokens
        # Never wider than this cut, or a far boundary would be found again.
        width = max(1, min(int((end - start) * min(budget / tokens, 0.95) * 0.95), end - start - 1))


def _cut(text: str, start: int, limit: int) -> int:
    """The last place in (start, limit] where a word ends, else one between characters."""
    end = _last_word(text, start, limit) or _character_end(text, start, limit)
    return max(start + len(text[start:end].rstrip()), start + 1)


def _last_word(text: str, start: int, limit: int) -> int:
    if text[limit].isspace():
        return limit
    end = 0
    for match in _WORD.finditer(text, start + 1, limit):
        end = match.end()
    return end


def _word_start(text: str, start: int, end: int) -> int:
    """Where the first word begins at or after `start`, `end` if none does."""
    match = _WORD.search(text, start - 1, end)
    return min(match.end(), end) if match else end


def _skip_space(text: str, at: int) -> int:
    match = _INK.search(text, at)
    return match.start() if match else len(text)


def _character_end(text: str, start: int, limit: int) -> int:
    """The last place that parts no line ending and no sequence of combining characters."""
    for end in range(limit, max(start, limit - 32), -1):
        before, after = text[end - 1], text[end]
        joined = (
            unicodedata.category(after)[0] == "M"
            or after in "\u200d\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
            or before == "\u200d"
        )
        if not joined:
            return end
    return limit
