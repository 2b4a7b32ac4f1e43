"""Fold a text so that spellings of one thing become the same string, keeping the way back.

Case, width, the spelling of accents, quotes, dashes and spaces do not tell folded texts apart;
`FoldedText.find` gives places in the text as it was. Knows no mentions.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

# Written without spaces between words, as the inside of a character class.
CJK = r"\u2e80-\u2fdf\u3001-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff" + (
    r"\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)

# Characters without a width of their own: soft hyphen, joiners, direction marks, variation
# selectors, byte order mark.
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    + (r"\ufeff\U000e0000-\U000e01ef")
)
_DROP = re.compile(f"[{_IGNORABLE}]+")

# What models write for one another: quotes, dashes, the dot between foreign name parts.
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′‵`´＇ʼ\u0384\u1fef\u1ffd", "'"),
        **dict.fromkeys("“”„‟″‶〝〞〟＂", '"'),
        **dict.fromkeys("‐‑‒–—―−﹘﹣－⁃", "-"),
        **dict.fromkeys("·•・‧∙⋅･", "·"),
    }
)


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A folded text with the way back.

    Stretch i begins at `folds[i]` here and at `offsets[i]` in the document. A stretch of equal
    length in both is mapped one to one; of any other only the edges are places.
    """

    text: str
    folds: Sequence[int]
    offsets: Sequence[int]

    def find(self, text: str, needle: str) -> Iterator[tuple[int, int]]:
        """Spans of the document's text that fold to the needle."""
        at = self.text.find(needle)
        while at >= 0:
            start = self._offset(bisect_right(self.folds, at) - 1, at)
            end = self._offset(self._ending(at + len(needle)), at + len(needle))
            if start is not None and end is not None and start < end:
                # A stretch may end in spaces that folding dropped.
                trimmed = text[start:end].rstrip()
                if trimmed:
                    yield start, start + len(trimmed)
            at = self.text.find(needle, at + 1)

    def _ending(self, at: int) -> int:
        """The stretch that ends or contains the place: never one that folds to nothing."""
        index = bisect_left(self.folds, at)
        return index if index < len(self.folds) and self.folds[index] == at else index - 1

    def _offset(self, index: int, at: int) -> int | None:
        start, offset = self.folds[index], self.offsets[index]
        if at == start:
            return offset
        if self.folds[index + 1] - start != self.offsets[index + 1] - offset:
            return None
        return offset + at - start


def fold(text: str) -> FoldedText:
    """Fold case, width, the spelling of accents, quotes, dashes and spaces, keeping the way back.

    A run of spaces is one space, or nothing beside Chinese and Japanese characters.
    """
    pieces: list[str] = []
    folds, offsets = array("q"), array("q")
    position = 0
    for offset, piece in _fold_pieces(text):
        folds.append(position)
        offsets.append(offset)
        pieces.append(piece)
        position += len(piece)
    folds.append(position)
    offsets.append(len(text))
    return FoldedText("".join(pieces), folds, offsets)


def _fold_pieces(text: str) -> Iterator[tuple[int, str]]:
    done = 0
    odd = "".join(char for char in sorted(set(text)) if len(_TABLE[ord(char)]) != 1)
    for match in _stretches(odd).finditer(text):
        start, end = match.span()
        if done < start:
            yield done, text[done:start].translate(_TABLE)
        yield start, _fold_stretch(match.group())
        done = end
    if done < len(text):
        yield done, text[done:].translate(_TABLE)


@lru_cache(maxsize=1)
def _marks() -> str:
    """Combining characters, half-width voicing included, as the inside of a character class."""
    chars = (chr(code) for code in range(0x300, 0x3100))
    marks = (char for char in chars if unicodedata.category(char).startswith("M"))
    return "".join(marks) + "\ufe20-\ufe2f\uff9e\uff9f"


@lru_cache(maxsize=256)
def _stretches(odd: str) -> re.Pattern[str]:
    """What cannot be folded one character to one: `odd` characters, and some that stand together.

    The bound on marks keeps normalisation, quadratic in their number, from being used against us.
    """
    mark = f"[{_marks()}]{{1,30}}"
    choices = [
        rf"[{CJK}](?:{mark})?\s+",
        rf"\S(?:{mark})?\s+(?=[{CJK}])",
        rf"\s[\s{_IGNORABLE}]+",
        rf"\S{mark}",
        r"[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?",  # a Korean syllable, letter by letter
        r"''|``",
    ]
    if odd:
        choices.append(f"[{re.escape(odd)}]")
    return re.compile("|".join(choices))


def _fold_stretch(stretch: str) -> str:
    kept = _DROP.sub("", stretch)
    if kept.isspace():
        return " "
    # Upper before lower case: only so do ß and ss, ı and I, ſ and s meet.
    plain = unicodedata.normalize("NFKC", kept.rstrip().translate(_ALIKE))
    cased = plain.translate(_ALIKE).upper().casefold().replace("i\u0307", "i")
    return '"' if cased == "''" else unicodedata.normalize("NFKC", cased)


class _FoldTable(dict[int, str]):
    """For `str.translate`: every character folded by itself, worked out once."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_stretch(chr(code))
        return folded


_TABLE = _FoldTable()
