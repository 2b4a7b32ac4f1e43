"""Where a text may be cut without parting what belongs together: sentences, and lines of lists.

Knows words of the languages there are prompts in, nothing of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import sentencex

from b2ner_cli.core.language import Language, detect_language
from b2ner_cli.core.text import no_surrogates

# The commonest function words that tell these languages apart; the order decides a tie.
_FUNCTION_WORDS: dict[Language, str] = {
    "en": " the of and to in is that for it was with on as at by from ",
    "de": " der die und das den von mit ist im dem nicht ein eine auf zu für ",
    "es": " el la los las del y que en un una por con para su se es ",
    "nl": " de het een van en dat niet te op zijn voor met aan er bij ook is in ",
}
_LOOKED_AT = 2_000  # characters of a text by which its language is told
_WRAPPED = 40  # characters: a paragraph of shorter lines was not wrapped, its lines are items

_ENDS = re.compile(r"[.!?…。！？｡．]")  # a block that holds none within is one sentence
_ORDINAL = re.compile(r"\b\d{1,4}\.\s*$")  # German writes a date's day so

_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(r"\w+")


class TextSpan(NamedTuple):
    """A part of a text, half-open, in code points."""

    start: int
    end: int


def language_of_sentences(text: str) -> Language:
    """The language whose rules say where sentences end."""
    head = text[:_LOOKED_AT]
    if not head.isascii() and detect_language(head) == "zh":
        return "zh"
    words = [f" {word} " for word in _WORD.findall(head.lower())]

    def known(language: Language) -> int:
        return sum(word in _FUNCTION_WORDS[language] for word in words)

    return max(_FUNCTION_WORDS, key=known)


def sentences(text: str) -> Iterator[TextSpan]:
    """The sentences and items of a text, in order, without the white space around them.

    A line's end parts sentences unless the line was wrapped, which it was if the word after it
    would not have fitted.
    """
    language = language_of_sentences(text)
    for block in _blocks(text):
        if not _ENDS.search(text, block.start, block.end - 1):
            yield block
            continue
        start = block.start
        for end in _ends(no_surrogates(text[block.start : block.end]), language):
            inner = text[start : block.start + end]
            if inner and not inner.isspace():
                start += len(inner) - len(inner.lstrip())
                yield TextSpan(start, start + len(inner.strip()))
            start = block.start + end


def _ends(block: str, language: Language) -> Iterator[int]:
    """Where sentences end, but for ends that what follows shows to be none."""
    for found in sentencex.get_sentence_boundaries(language, block):
        start, end = found["start_index"], found["end_index"]
        ordinal = language == "de" and _ORDINAL.search(block, start, end)
        if end < len(block) and (block[end].islower() or ordinal):
            continue
        yield end


def _blocks(text: str) -> Iterator[TextSpan]:
    """The runs of lines that were wrapped out of one, and every other line by itself."""
    for paragraph in _paragraphs(text):
        width = max(line.end - line.start for line in paragraph)
        start = paragraph[0].start
        for line, after in pairwise(paragraph):
            word = _first_word(text, after)
            fitted = line.end - line.start + 1 + word < width
            if width < _WRAPPED or (fitted and not text[after.start].islower()):
                yield TextSpan(start, line.end)
                start = after.start
        yield TextSpan(start, paragraph[-1].end)


def _paragraphs(text: str) -> Iterator[list[TextSpan]]:
    """Lines between blank ones, without the white space around them."""
    lines: list[TextSpan] = []
    last = 0
    for match in _LINE.finditer(text):
        start, end = match.span()
        if lines and text.count("\n", last, start) > 1:
            yield lines
            lines = []
        last = end
        ink = match.group().strip()
        if ink:
            start += len(match.group()) - len(match.group().lstrip())
            lines.append(TextSpan(start, start + len(ink)))
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _first_word(text: str, line: TextSpan) -> int:
    """Characters of a line's first word."""
    space = text.find(" ", line.start, line.end)
    return (space if space >= 0 else line.end) - line.start
