"""A JSON array, element by element: a file of gigabytes is read in the memory of one element.

    [{"a": 1},            Element(b'{"a": 1}', line 1, column 2)
     {"b": [2,}, 3]       Element(b'{"b": [2,}', line 2, column 2), for its reader to refuse

Finds where elements end and parses none of them. Where an element's end cannot be found, it is
given up at the next line that begins like it, as rows are most often written one a line; where
there is no such line, or the array itself is broken, an `ArrayError` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, NamedTuple

CHUNK = 1 << 18
LONGEST = 1 << 24  # bytes of an element; what is longer lacks a quote or a bracket
DEEPEST = 12  # brackets within brackets
PAIRED = 4  # of these levels, those where a bracket ends only its own kind: each doubles the regex
BOM = b"\xef\xbb\xbf"

_STRING = rb'"(?:[^"\\]++|\\.)*+"'


def _brackets(depth: int) -> bytes:
    """Match an object or a list, with objects and lists in it down to `depth`.

    Nothing is tried twice (all repeats are possessive), so the time is linear in what is read. The
    last alternative never matches: it has Pythons before 3.11.5 go back to where the others began,
    which they forget where one fails halfway (CPython issue 106052).
    """
    more = rb"|" + _brackets(depth - 1) if depth else rb""
    inside = rb'(?:[^"{}\[\]]++|' + _STRING + more + rb"|(?!))*+"
    if depth <= DEEPEST - PAIRED:
        return rb"[{\[]" + inside + rb"[}\]]"
    return rb"(?:\{" + inside + rb"\}|\[" + inside + rb"\])"


ELEMENT = re.compile(_brackets(DEEPEST) + rb"|" + _STRING + rb'|[^\s,"{}\[\]]++', re.DOTALL)
SPACE = re.compile(rb"\s*")


class Element(NamedTuple):
    """The bytes of one element and where they begin; `ended` is False where it was given up."""

    raw: bytes
    line: int
    column: int
    ended: bool = True


class ArrayError(ValueError):
    """What stands at a line is no part of an array."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class _Window:
    """The part of a stream that is looked at, and where in the file it begins."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.data = b""
        self.at = 0  # of what is left to read in data
        self.line = 1
        self.column = 1
        self.done = False

    def more(self) -> bool:
        """Take in more of the stream; False at its end. Doubles, so that looking again is cheap."""
        if self.done:
            return False
        left = self.data[self.at :]
        new = self.stream.read(max(CHUNK, len(left)))
        self.done = not new
        self.data, self.at = left + new, 0
        return not self.done

    def pass_to(self, end: int) -> None:
        """Go on behind what was read."""
        lines = self.data.count(b"\n", self.at, end)
        if lines:
            self.line += lines
            self.column = end - self.data.rfind(b"\n", self.at, end)
        else:
            self.column += end - self.at
        self.at = end

    def next_byte(self) -> bytes:
        """Pass white space; give the byte behind it, or nothing at the end."""
        while True:
            found = SPACE.match(self.data, self.at)
            self.pass_to(found.end() if found else self.at)
            if self.at < len(self.data) or not self.more():
                return self.data[self.at : self.at + 1]


def elements(stream: IO[bytes]) -> Iterator[Element]:
    """Read an array's elements. Raises ArrayError where it is none, or is cut off."""
    window = _Window(stream)
    while len(window.data) < len(BOM) and window.more():
        pass
    if window.data.startswith(BOM):
        window.at = len(BOM)
    first = window.next_byte()
    if first != b"[":
        raise ArrayError(window.line, _kind(first) + ", not a list of rows")
    window.pass_to(window.at + 1)
    if window.next_byte() == b"]":
        window.pass_to(window.at + 1)
    else:
        yield from _elements(window)
    if window.next_byte():
        raise ArrayError(window.line, "the file goes on behind the end of the list")


def _elements(window: _Window) -> Iterator[Element]:
    """Read elements up to and including the closing bracket."""
    while True:
        begins = window.next_byte()
        if begins in (b"", b",", b"]"):
            what = "the file ends" if not begins else f"{begins.decode()!r} stands"
            raise ArrayError(window.line, f"{what} where a row should be: cut off, or edited")
        line, column = window.line, window.column
        end = _end(window)
        if end is None:
            yield Element(window.data[window.at : window.at + 200], line, column, ended=False)
            _next_line(window, column)
            continue
        raw = window.data[window.at : end]
        window.pass_to(end)
        yield Element(raw, line, column)
        follows = window.next_byte()
        if follows not in (b",", b"]"):
            what = f"{follows.decode('latin-1')!r} stands" if follows else "the file ends"
            raise ArrayError(window.line, f"{what} behind a row, where ',' or ']' should be")
        window.pass_to(window.at + 1)
        if follows == b"]":
            return


def _end(window: _Window) -> int | None:
    """Find where the element that begins here ends, None if it does not."""
    while True:
        found = ELEMENT.match(window.data, window.at)
        # A number may go on behind what is in the window.
        if found and (found.end() < len(window.data) or window.done):
            return found.end()
        if len(window.data) - window.at > LONGEST or not window.more():
            return found.end() if found else None


def _next_line(window: _Window, column: int) -> None:
    """Go to the next line that begins with a brace where a broken element began."""
    # Only where elements begin their lines is such a line the next element's.
    begins = re.compile(rb"\n[ \t]{%d}(?=\{)" % (column - 1))
    while not (found := begins.search(window.data, window.at)):
        window.pass_to(max(window.at, len(window.data) - column))
        if not window.more():
            raise ArrayError(window.line, "the file ends within a row: cut off, or a lost bracket")
    window.pass_to(found.end())


def _kind(first: bytes) -> str:
    names = {b"": "empty", b"{": "an object", b'"': "a string"}
    return names.get(first, "not JSON" if first not in b"-0123456789tfn" else "a single value")
