"""Documents in, results out, in the formats people keep them in.

    read(["docs.jsonl", "-"])      ->  Document | BadRecord, one at a time
    header, encode = writer("csv")
    with open_output("out.csv", format="csv", header=header) as output:
        output.write(encode(result))

Reading holds one record at a time, whatever the size of the file. A record that cannot be read is
a BadRecord and reading goes on; a file that cannot be read is an InputError. Knows nothing of
models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os import PathLike, fspath
from typing import BinaryIO

from b2ner_cli.core.document import BadRecord, Document, Entity, Result
from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats import conll, input_file
from b2ner_cli.formats.conll import Tokens
from b2ner_cli.formats.fields import Fields
from b2ner_cli.formats.output_file import Output, open_output
from b2ner_cli.formats.registry import FORMATS, WRITERS, by_suffix

__all__ = ["FORMATS", "WRITERS", "Output", "open_output", "output_format", "read", "writer"]


def read(
    inputs: Sequence[str | PathLike[str]],
    *,
    format: str | None = None,
    text_field: str = "text",
    id_field: str = "id",
    labels_field: str | None = None,
    gold_field: str | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Document | BadRecord]:
    """Read documents from files, one after another; ``-`` is standard input.

    Every file is looked at before the first document comes, so that a misspelt name does not show
    up after an hour. `gold_field` ("entities") asks for annotations, which are else not parsed.
    Raises UsageError for an unknown format and InputError for a file that cannot be read.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"no format {format!r}", f"formats to read: {', '.join(FORMATS)}")
    paths = [fspath(path) for path in inputs]
    if paths.count(input_file.STDIN) > 1:
        raise InputError("stdin: named twice", "give - once")
    for path in paths:
        if not input_file.is_stream(path):
            input_file.check(path, format)
    if stdin is None and sys.stdin is not None:
        stdin = sys.stdin.buffer
    return _read(paths, format, Fields(text_field, id_field, labels_field, gold_field), stdin)


def _read(
    paths: list[str], format: str | None, fields: Fields, stdin: BinaryIO | None
) -> Iterator[Document | BadRecord]:
    for path in paths:
        with input_file.opened(path, format, stdin) as (found, lines):
            name = "stdin" if path == input_file.STDIN else path
            yield from FORMATS[found].read(lines, name, fields)


def writer(
    format: str,
    *,
    tokens: Tokens = "auto",
    on_dropped: Callable[[Entity], None] | None = None,
) -> tuple[bytes, Callable[[Result], bytes]]:
    """Give a format's header and the function that spells one result.

    `tokens` is CoNLL's unit; `on_dropped` hears of each entity that tags cannot show.
    """
    chosen = FORMATS.get(format)
    if chosen is None or chosen.encode is None:
        raise UsageError(f"no format {format!r}", f"formats to write: {', '.join(WRITERS)}")
    if chosen.encode is conll.encode:
        return b"", partial(conll.encode, tokens=tokens, on_dropped=on_dropped)
    return chosen.header, chosen.encode


def output_format(path: str | None) -> str:
    """Choose the format by the suffix of the output file: JSON lines unless it says otherwise."""
    found = by_suffix(path or "")
    return found if found in WRITERS else "jsonl"
