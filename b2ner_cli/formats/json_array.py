"""A JSON array, element by element: a file of gigabytes is read in the memory of one element.

    [{"a": 1},            Element('{"a": 1}', line 1, column 2)
     {"b": [2,}, 3]       Element('{"b": [2,}, 3]', line 2, column 2, "malformed JSON at ...")

Finds where elements end; what they hold is their reader's matter. A broken element is given up at
the next line that begins like it, as rows are most often written one a line; where there is no
such line, or the array itself is broken, an `ArrayError` says so. In, not out.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, NamedTuple

CHUNK = 1 << 18
LONGEST = 1 << 24  # characters of an element; what is longer lacks a quote or a bracket
DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # finds ends; numbers stay as spelled
SPACE = re.compile(r"[ \t\r\n]*")


class Element(NamedTuple):
    """An element and where it begins; `problem` says why it does not end, where it does not."""

    raw: str
    line: int
    column: int
    problem: str = ""


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
        # Bytes that are not UTF-8 become surrogates, which the reader of the element refuses.
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text = ""
        self.at = 0  # of what is left to read in text
        self.line = self.column = 1
        self.done = False

    def more(self) -> bool:
        """Take in more of the stream; False at its end. Doubles, so that looking again is cheap."""
        if self.done:
            return False
        left = self.text[self.at :]
        new = self.stream.read(max(CHUNK, len(left)))
        self.done = not new
        self.text, self.at = left + self.decoder.decode(new, final=self.done), 0
        return not self.done

    def pass_to(self, end: int) -> None:
        """Go on behind what was read."""
        lines = self.text.count("\n", self.at, end)
        if lines:
            self.line += lines
            self.column = end - self.text.rfind("\n", self.at, end)
        else:
            self.column += end - self.at
        self.at = end

    def next_char(self) -> str:
        """Pass white space; give the character behind it, or nothing at the end."""
        while True:
            found = SPACE.match(self.text, self.at)
            self.pass_to(found.end() if found else self.at)
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]


def elements(stream: IO[bytes]) -> Iterator[Element]:
    """Read an array's elements. Raises ArrayError where it is none, or is cut off."""
    window = _Window(stream)
    first = window.next_char()
    if first != "[":
        raise ArrayError(window.line, _kind(first) + ", not a list of rows")
    window.pass_to(window.at + 1)
    if window.next_char() == "]":
        window.pass_to(window.at + 1)
    else:
        yield from _elements(window)
    if window.next_char():
        raise ArrayError(window.line, "the file goes on behind the end of the list")


def _elements(window: _Window) -> Iterator[Element]:
    """Read elements up to and including the closing bracket."""
    while True:
        begins = window.next_char()
        if begins in ("", ",", "]"):
            what = f"{begins!r} stands" if begins else "the file ends"
            raise ArrayError(window.line, f"{what} where a row should be: cut off, or edited")
        element, end = _element(window)
        yield element
        if end is None:
            _next_row(window, element.column)
            if window.next_char() != "]":
                continue
        else:
            window.pass_to(end)
        follows = window.next_char()
        if follows not in (",", "]"):
            what = f"{follows!r} stands" if follows else "the file ends"
            raise ArrayError(window.line, f"{what} behind a row, where ',' or ']' should be")
        window.pass_to(window.at + 1)
        if follows == "]":
            return


def _element(window: _Window) -> tuple[Element, int | None]:
    """Read the element that begins here, and where it ends; None if it does not."""
    line, column = window.line, window.column
    while True:
        try:
            end = DECODER.raw_decode(window.text, window.at)[1]
            # A number may go on behind what is in the window.
            if end < len(window.text) or not window.more():
                return Element(window.text[window.at : end], line, column), end
        except (json.JSONDecodeError, RecursionError) as error:
            problem = _problem(error, window)
            if problem is None and not window.done and len(window.text) - window.at <= LONGEST:
                window.more()
                continue
            problem = problem or f"malformed JSON: the row that begins on line {line} does not end"
            return Element(window.text[window.at :][:200], line, column, problem), None


def _problem(error: json.JSONDecodeError | RecursionError, window: _Window) -> str | None:
    """Say what is wrong with an element, but None if more of it might set it right."""
    if isinstance(error, RecursionError):
        return f"malformed JSON at line {window.line}, column {window.column}: too deep"
    at_the_end = 0 if window.done else len("-Infinity")  # a word or an escape may be cut in two
    if error.msg.startswith("Unterminated") or error.pos >= len(window.text) - at_the_end:
        return None
    line = window.text.count("\n", window.at, error.pos)
    column = error.colno if line else window.column + error.pos - window.at
    return f"malformed JSON at line {window.line + line}, column {column}: {error.msg.lower()}"


def _next_row(window: _Window, column: int) -> None:
    """Go to the next line that begins where a broken element began, or that ends the array."""
    # Only where elements begin their lines is such a line the next element's.
    begins = re.compile(rf"\n(?:[ \t]{{{column - 1}}}(?=[^\s}}\]])|[ \t]{{0,{column - 1}}}(?=\]))")
    while not (found := begins.search(window.text, window.at)):
        window.pass_to(max(window.at, len(window.text) - column))
        if not window.more():
            raise ArrayError(window.line, "the file ends within a row: cut off, or a lost bracket")
    window.pass_to(found.end())


def _kind(first: str) -> str:
    names = {"": "empty", "{": "an object", '"': "a string"}
    return names.get(first, "a single value" if first in "-0123456789tfn" else "not JSON")
