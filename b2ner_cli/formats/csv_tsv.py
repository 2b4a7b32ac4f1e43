"""Tables: documents in as CSV or TSV rows under a header, entities out as CSV rows.

    in   id,text                              out   id,start,end,label,text,score
         7,Moon plays StarCraft II .                7,0,4,player,Moon,0.98

Cells are taken as they stand, line breaks in quoted cells included. A spreadsheet would run a
cell that begins like a formula, so such a cell is written with an apostrophe before it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.core.text import no_surrogates
from b2ner_cli.errors import InputError
from b2ner_cli.formats.fields import (
    RECODE,
    Fields,
    RecordError,
    document,
    found_names,
    text_field_guess,
)

HEADER = b"id,start,end,label,text,score\n"
LARGEST_CELL = 1 << 30
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read(lines: Iterable[bytes], name: str, fields: Fields) -> Iterator[Document | BadRecord]:
    """Read a document a row; a record's place is its first line in the file."""
    csv.field_size_limit(LARGEST_CELL)
    # Bytes that are not UTF-8 become surrogates here and are reported with their row.
    decoded = (line.decode("utf-8", "surrogateescape") for line in lines)
    first = next(decoded, "")
    # strict: a quote that is never closed is an error, not a cell of ten gigabytes
    rows = csv.reader(chain([first], decoded), delimiter=_delimiter(name, first), strict=True)
    columns = _columns(rows, name, fields)
    while True:
        origin = f"{name}:{rows.line_num + 1}"
        try:
            row = next(rows)
            if not row:
                continue
            found: Document | BadRecord = document(
                _record(columns, row, fields.text), b"", origin, fields
            )
        except StopIteration:
            return
        except csv.Error as error:
            found = BadRecord(origin, f"malformed row: {error}", "look for a stray quote")
        except RecordError as error:
            found = error.at(origin)
        yield found


def _delimiter(name: str, header: str) -> str:
    """Take the tab for a .tsv file, else what the header line has most of."""
    if name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    return max(",;\t", key=header.count)


def _columns(rows: Iterator[list[str]], name: str, fields: Fields) -> list[str]:
    """Read the header; a repeated name gets a number, so that no cell is lost."""
    try:
        header = next(row for row in rows if row)
        "".join(header).encode()
    except StopIteration:
        raise InputError(f"{name}: empty: a table begins with a header line") from None
    except (csv.Error, UnicodeEncodeError):
        raise InputError(f"{name}: the first line is not the header of a table") from None
    columns: list[str] = []
    for column in header:
        unique, count = column, 2
        while unique in columns:
            unique, count = f"{column}_{count}", count + 1
        columns.append(unique)
    # An id column is optional unless it was asked for by name.
    options = [(fields.text, "--text-field"), (fields.labels, "--labels-field")]
    if fields.id != Fields().id:
        options.append((fields.id, "--id-field"))
    for field, option in options:
        if field is not None and field not in columns:
            guess = text_field_guess(field, columns) if option == "--text-field" else ""
            raise InputError(
                f"{name}: no column {field!r} ({found_names(columns)})",
                f"choose it with {option} {guess or 'NAME'}",
            )
    return columns


def _record(columns: list[str], row: list[str], text_field: str) -> dict[str, str]:
    if not columns.index(text_field) < len(row) <= len(columns):
        raise RecordError(
            f"{len(row)} cells under a header of {len(columns)}",
            "a cell that holds the delimiter or a line break needs quotes around it",
        )
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        raise RecordError("not UTF-8", RECODE) from None
    # Programs leave out empty cells at the end of a row.
    return dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=True))


def encode(result: Result) -> bytes:
    """Spell a result as one row an entity; a document without entities has none."""
    name = _cell(result.document.id)
    rows = _Rows()
    csv.writer(rows).writerows(
        (name, start, end, _cell(label), _cell(text), "" if score is None else round(score, 4))
        for start, end, label, text, score, _ in result.entities
    )
    # Rows end in \r\n for the writer alone: some Pythons quote only what their rows end in.
    return no_surrogates("".join(row[:-2] + "\n" for row in rows)).encode("utf-8")


class _Rows(list[str]):
    """What the writer of the library writes to."""

    write = list.append


def _cell(text: str) -> str:
    return "'" + text if text.startswith(FORMULA) else text
