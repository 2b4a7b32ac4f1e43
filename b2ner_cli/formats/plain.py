"""Plain text, in only: a file is a document (txt), or a line is (lines).

    Moon plays StarCraft II .\\n     lines: documents talk.txt:1 and talk.txt:2, the second empty
    \\n                              txt: one document, talk.txt, of 27 characters

Bytes are decoded as UTF-8 and nothing else happens to them: newlines stay as they are, so that
offsets are those of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.formats.fields import Fields, RecordError, decoded


def read_file(lines: Iterable[bytes], name: str, fields: Fields) -> Iterator[Document | BadRecord]:
    """Read the whole file as one document; its id is its name."""
    yield _document(b"".join(lines), name, fields)


def read_lines(lines: Iterable[bytes], name: str, fields: Fields) -> Iterator[Document | BadRecord]:
    """Read a document a line, empty ones too: ids are line numbers, and nothing is lost."""
    for number, line in enumerate(lines, 1):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        yield _document(text, f"{name}:{number}", fields)


def _document(content: bytes, origin: str, fields: Fields) -> Document | BadRecord:
    try:
        return Document(origin, decoded(content), text_field=fields.text, origin=origin)
    except RecordError as error:
        return error.at(origin)
