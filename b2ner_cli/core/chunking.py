"""Cut a document into chunks that fit a token budget, and put their entities together again.

Chunks are spans of the document's text, in order, without overlap; between them lies nothing
but white space. Knows tokens only by counting: the caller says how many a string has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from b2ner_cli.core.document import Entity, Event, Mention, Relation
from b2ner_cli.errors import UsageError

# Characters a token holds: as guessed before anything was counted, and at most. The upper bound
# keeps the pieces that are counted small, however long the document is.
_TYPICAL, _MOST = 4.0, 16
# How full a chunk is meant to be: what is left absorbs the error of the guess, and the recount.
_FILL = 0.95

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(
    # 1) Full-width marks end a sentence wherever they stand.
    r"[。！？；｡．]+[”’」』）》)\"']*"
    # 2) Others only before white space and no small letter; a full stop not after an initial or
    #    a short capitalised word, which may be "J." or "Prof.".
    r"|(?:[!?…]|(?<![A-Z])(?<!\b[A-Z][a-z])(?<!\b[A-Z][a-z]{2})(?<!\b[A-Z][a-z]{3})\.)"
    r"[”’»)\]\"']*(?=\s(?!\s{0,8}[a-z]))"
)
_LINE = re.compile(r"\n")
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


def split(text: str, count: Callable[[str], int], budget: int) -> list[Chunk]:
    """Return the chunks of a text, each of at most `budget` tokens by `count`.

    A text that fits is one chunk, untouched; a text of white space has none. Others are cut
    where paragraphs end, else sentences, else lines, else words, else between characters, and
    lose the white space at the cuts. A single character is a chunk whatever it counts.
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
    rate = _TYPICAL
    if len(text) <= budget * _MOST:
        tokens = count(text)
        if tokens <= budget:
            return [Chunk(0, len(text))]
        rate = len(text) / tokens
    return list(_pack(text, count, budget, rate))


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


def merge(parts: Iterable[tuple[Chunk, Sequence[Entity]]], text: str) -> tuple[Entity, ...]:
    """Move entities from their chunks to the document, sorted by start, end, label.

    A chunk may come more than once, with other entities (one answer a group of labels). Of
    entities with the same span and label the one with the highest score stays.
    """
    moved: list[Entity] = []
    for chunk, entities in parts:
        for entity in entities:
            start, end = entity.start + chunk.start, entity.end + chunk.start
            moved.append(entity._replace(start=start, end=end, text=text[start:end]))
    return surest(((each.start, each.end, each.label), each) for each in moved)


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


def _pack(text: str, count: Callable[[str], int], budget: int, rate: float) -> Iterator[Chunk]:
    """Cut greedily, guessing each chunk's length from the characters a token held before."""
    start = _skip_space(text, 0)
    while start < len(text):
        end, tokens = _fit(text, start, count, budget, rate)
        if tokens:
            rate = (end - start) / tokens
        yield Chunk(start, end)
        start = _skip_space(text, end)


def _fit(
    text: str, start: int, count: Callable[[str], int], budget: int, rate: float
) -> tuple[int, int]:
    """Return where the chunk that begins at `start` ends, and how many tokens it has."""
    widest = budget * _MOST
    fits_by_guess = len(text) - start <= rate * budget
    width = _within(len(text) - start if fits_by_guess else rate * budget * _FILL, widest)
    best, tried = (0, 0), -1
    while True:
        end = _cut(text, start, start + width)
        if end <= best[0]:
            return best
        tokens = count(text[start:end])
        if tokens > budget and end - start > 1:
            if best[0]:
                return best
            tried = width
            # Never wider than this cut, or a far boundary would be found again.
            width = _within((end - start) * min(budget / tokens, 0.95) * 0.95, end - start - 1)
            continue
        best = (end, tokens)
        wanted = _within((end - start) / max(tokens, 1) * budget * _FILL, widest)
        # Once more, wider, if the guess was too low by far and the text goes on.
        if tried >= 0 or wanted < width * 1.2 or start + width >= len(text):
            return best
        tried, width = width, wanted


def _within(width: float, widest: int) -> int:
    return max(1, min(int(width), widest))


def _skip_space(text: str, at: int) -> int:
    match = _INK.search(text, at)
    return match.start() if match else len(text)


def _cut(text: str, start: int, limit: int) -> int:
    """The best place to end a chunk in (start, limit], without the white space before it.

    A paragraph's end in the first half is passed over for a sentence's end in the second; any
    sentence's end is better than a cut through a sentence.
    """
    if limit >= len(text):
        limit = len(text)
        end = limit
    else:
        paragraph = _last(_BLANK_LINE, text, start, limit)
        end = (
            (paragraph if paragraph - start > (limit - start) // 2 else 0)
            or _last(_SENTENCE, text, start, limit)
            or paragraph
            or _last(_LINE, text, start, limit)
            or _word_end(text, start, limit)
            or _character_end(text, start, limit)
        )
    return max(start + len(text[start:end].rstrip()), start + 1)


def _last(boundary: re.Pattern[str], text: str, start: int, limit: int) -> int:
    """Where the last boundary in the window ends, 0 without one."""
    end = 0
    for match in boundary.finditer(text, start, limit):
        end = match.end()
    return end


def _word_end(text: str, start: int, limit: int) -> int:
    if text[limit].isspace():
        return limit
    return _last(_WORD, text, start + 1, limit)


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
