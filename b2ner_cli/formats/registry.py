"""The formats of documents: how each is read and written, and how a file of it is known.

    FORMATS["csv"]                         read, encode, header, suffixes
    by_suffix("docs.tsv.gz") -> "csv"      by_content(b"Moon\\tB-x") -> "conll"

A format more is a file with a `read` or an `encode` in it, and a line here. Knows no files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.formats import conll, csv_tsv, jsonl, plain
from b2ner_cli.formats.fields import Fields

Read = Callable[[Iterable[bytes], str, Fields], Iterator[Document | BadRecord]]


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is read, from lines of bytes, and how one result is written, if it can be.

    `header` comes before the first result. A file is of the format by its suffix, else where
    `looks_so` is true of its first line that is not blank.
    """

    read: Read
    encode: Callable[[Result], bytes] | None = None
    header: bytes = b""
    suffixes: tuple[str, ...] = ()
    looks_so: Callable[[bytes], object] = lambda line: False


FORMATS = {
    "jsonl": Format(jsonl.read, jsonl.encode, suffixes=(".jsonl", ".ndjson"),
                    looks_so=lambda line: line.startswith(b"{")),
    "csv": Format(csv_tsv.read, csv_tsv.encode, csv_tsv.HEADER, (".csv", ".tsv")),
    "txt": Format(plain.read_file, suffixes=(".txt",)),
    "lines": Format(plain.read_lines),
    "conll": Format(conll.read, conll.encode, suffixes=(".conll", ".bio"),
                    looks_so=conll.TAGGED.match),
}  # fmt: skip
SUFFIXES = {suffix: name for name, each in FORMATS.items() for suffix in each.suffixes}
WRITERS = tuple(name for name, each in FORMATS.items() if each.encode)


def by_suffix(path: str) -> str | None:
    """The format that a file is in by its name, packed or not; None if its suffix says nothing."""
    return SUFFIXES.get(os.path.splitext(path.lower().removesuffix(".gz"))[1])


def by_content(first: bytes) -> str | None:
    """The format that a file is in by its first line that is not blank; None for plain text."""
    return next((name for name, each in FORMATS.items() if each.looks_so(first)), None)
