"""The text as the model reads it, and the way back to the places of the file.

    "AT&amp;T\\r\\n" is read as "AT&T\\n"; what is found at [0, 4) stands at [0, 8) of the document

A model is not to be led astray by how a text was stored: line ends are "\\n", marks that nobody
sees are left out, HTML's names of characters stand for them, and a semicolon within a word, which
would end an answer's part, is a comma. Knows nothing of tokens and labels.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from html.entities import html5

# Joiners, variation selectors and the tags of flags are part of what is seen and stay.
_UNSEEN = (
    "\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\ufeff\ufff9-\ufffb"
)
_SUSPECT = re.compile(rf"[\r&;{_UNSEEN}]")
_NAME = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
_REWRITTEN = re.compile(rf"\r\n?|[{_UNSEEN}]+|{_NAME}|(?<=\S);(?=\S)")


@dataclass(frozen=True, slots=True)
class ModelText:
    """A document's text as the model reads it.

    Stretch i begins at `starts[i]` here and at `firsts[i]` in the document. It is as long there,
    or, where it was written otherwise, it ends at `lasts[i]`, which is else -1.
    """

    text: str
    starts: Sequence[int] = ()
    firsts: Sequence[int] = ()
    lasts: Sequence[int] = ()

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The span of the document that a span of this text, not an empty one, stands for."""
        if not self.starts:
            return start, end
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, end - 1) - 1
        begin = self.firsts[first]
        if self.lasts[first] < 0:
            begin += start - self.starts[first]
        stop = self.lasts[last]
        if stop < 0:
            stop = self.firsts[last] + end - self.starts[last]
        return begin, stop

    def position(self, place: int) -> int:
        """Where a place of the document stands in this text."""
        if not self.firsts:
            return place
        at = max(bisect_right(self.firsts, place) - 1, 0)
        beyond = max(place - self.firsts[at], 0) if self.lasts[at] < 0 else 0
        return self.starts[at] + beyond


def model_text(text: str) -> ModelText:
    """A text as the model reads it; itself if nothing in it has to be written otherwise."""
    if not _SUSPECT.search(text):
        return ModelText(text)
    written: list[str] = []
    starts: list[int] = []
    firsts: list[int] = []
    lasts: list[int] = []
    length = last = 0

    def stretch(piece: str, first: int, stop: int) -> None:
        nonlocal length
        if piece:
            written.append(piece)
            starts.append(length)
            firsts.append(first)
            lasts.append(stop)
            length += len(piece)

    for match in _REWRITTEN.finditer(text):
        piece = match.group()
        if (read := _read(piece)) != piece:
            stretch(text[last : match.start()], last, -1)
            stretch(read, *match.span())
            last = match.end()
    stretch(text[last:], last, -1)
    return ModelText("".join(written), starts, firsts, lasts)


def _read(piece: str) -> str:
    """What the model reads in the place of a piece; the piece itself where it means nothing."""
    if piece[0] == "\r":
        return "\n"
    if piece == ";":
        return ","
    if piece[0] != "&":
        return ""
    character = html.unescape(piece) if piece[1] == "#" else html5.get(piece[1:], piece)
    if character.isspace():
        return " "
    return character if character.isprintable() and character != ";" else piece
