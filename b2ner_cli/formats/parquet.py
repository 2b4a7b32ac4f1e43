"""Parquet: a document a row, in and out; needs pyarrow, which the extra `parquet` brings.

    id: string   text: string   entities: list<struct<start, end, label, text>>
    labels: list<string>        the document's own, null where it has none
    unlocated: list<struct<label, text>>

Rows are read and written in batches, so a file may be larger than memory. Read are the columns
of any record that `fields` knows: `spans` as well as `entities`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.errors import InputError, OutputError, UsageError, reason
from b2ner_cli.formats.fields import Fields, RecordError, document

ROWS = 1024  # of a batch


def read(path: Path) -> Iterator[Document | BadRecord]:
    """Read annotated documents; a record's place is its row, from 0."""
    arrow = _pyarrow()
    try:
        table = arrow.parquet.ParquetFile(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}", "is it whole?") from error
    number = 0
    with table:
        try:
            for batch in table.iter_batches(batch_size=ROWS):
                for record in batch.to_pylist():
                    yield _document(record, f"{path}:{number}")
                    number += 1
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: damaged behind row {number - 1}: {error}") from error


def _document(record: Mapping[str, Any], origin: str) -> Document | BadRecord:
    fields = Fields(labels="labels", gold="entities")
    try:
        return document(record, b"", origin, fields)
    except RecordError as error:
        return error.at(origin)


def write(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write records with these columns, other keys left out; the file appears when it is whole."""
    arrow = _pyarrow()
    span = [("start", arrow.int64()), ("end", arrow.int64())]
    words = [("label", arrow.string()), ("text", arrow.string())]
    schema = arrow.schema(
        [
            ("id", arrow.string()),
            ("text", arrow.string()),
            ("entities", arrow.list_(arrow.struct([*span, *words]))),
            ("labels", arrow.list_(arrow.string())),
            ("unlocated", arrow.list_(arrow.struct(words))),
        ]
    )
    part = path.with_name(path.name + ".part")
    left = iter(records)
    try:
        with arrow.parquet.ParquetWriter(part, schema) as writer:
            while batch := list(islice(left, ROWS)):
                writer.write_batch(arrow.RecordBatch.from_pylist(batch, schema))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path}: {reason(error)}") from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed", "pip install 'b2ner-cli[parquet]'"
        ) from None
    return pyarrow
