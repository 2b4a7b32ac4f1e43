"""Open what documents come from: files and standard input, gzipped or not, of a known format.

    docs.jsonl.gz   jsonl, by its suffix        -   jsonl if the first thing in it is a brace,
    notes.md        txt, by a look inside           else one document a line

Yields lines of bytes, ended by ``\\n`` and nothing else, without a byte order mark. What is plainly
no text of the format asked for is refused here, with what would help; single bad records are the
readers' matter.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import BinaryIO, cast

from b2ner_cli.core.paths import similar_path
from b2ner_cli.errors import InputError, reason
from b2ner_cli.formats.registry import by_content, by_suffix

STDIN = "-"
BUFFER = 1 << 16
BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"

UNPACK = "unpack it first and pipe it in: {} FILE | b2ner ... -"
EXPORT = "export it as .jsonl, .csv or .txt first"
RECODE = "convert it first: iconv -f {} -t UTF-8 FILE"
NOT_TEXT = (  # how a file begins, what it then is, what helps
    (b"\x89PNG", "a PNG image", "b2ner reads text"),
    (b"\xff\xd8\xff", "a JPEG image", "b2ner reads text"),
    (b"GIF8", "a GIF image", "b2ner reads text"),
    (b"%PDF-", "a PDF file", "take its text out first: pdftotext FILE - | b2ner ... -"),
    (b"PK\x03\x04", "a zip archive (or an office file)", "unpack it, or export it as text"),
    (b"PAR1", "a Parquet file", EXPORT),
    (b"ARROW1", "an Arrow file", EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", EXPORT),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK.format("zstdcat")),
    (b"\xfd7zXZ\x00", "compressed with xz", UNPACK.format("xzcat")),
    (b"BZh91AY&SY", "compressed with bzip2", UNPACK.format("bzcat")),
    (b"\xff\xfe\x00\x00", "UTF-32 text", RECODE.format("UTF-32")),
    (b"\xff\xfe", "UTF-16 text", RECODE.format("UTF-16")),
    (b"\xfe\xff", "UTF-16 text", RECODE.format("UTF-16")),
)


def check(path: str, format: str | None) -> None:
    """Refuse a path that cannot be read, before anything else is; pipes are left unread."""
    if path == STDIN:
        return
    with opened(path, format, None):
        pass


def is_stream(path: str) -> bool:
    """Tell whether a path is a pipe or a device, which can be read only once."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def opened(
    path: str, format: str | None, stdin: BinaryIO | None
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Open one input; gives its format, found out if not given, and its lines."""
    name = "stdin" if path == STDIN else path
    try:
        with ExitStack() as stack:
            stream = _peekable(stdin) if path == STDIN else stack.enter_context(_open(path))
            if stream.peek(2)[:2] == GZIP:
                unpacked = stack.enter_context(gzip.GzipFile(fileobj=stream))
                stream = io.BufferedReader(cast(io.RawIOBase, unpacked), BUFFER)
            elif path.lower().endswith(".gz"):
                raise InputError(f"{name}: not a gzip file", "leave out the .gz, or gzip it")
            _refuse_binary(name, stream.peek(2))
            yield _known(path, name, format, iter(stream))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{name}: broken gzip data: {error}", f"the file is cut off or damaged: gzip -t {name}"
        ) from error
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        said = "no such file" if missing else reason(error)
        raise InputError(f"{name}: {said}", _hint(path, error)) from error


def _open(path: str) -> io.BufferedReader:
    try:
        return io.BufferedReader(io.FileIO(path), BUFFER)
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{path!r}: {error}") from error


def _peekable(stdin: BinaryIO | None) -> io.BufferedReader:
    if stdin is None:
        raise InputError("stdin: standard input is closed")
    if hasattr(stdin, "peek"):
        return cast(io.BufferedReader, stdin)
    return io.BufferedReader(cast(io.RawIOBase, stdin))


def _hint(path: str, error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return f"name the files in it, as in {os.path.join(path, '*.txt')}"
    if isinstance(error, FileNotFoundError):
        folder = os.path.dirname(path)
        if not os.path.isdir(folder or "."):
            return f"there is no folder {folder!r}"
        return similar_path(path)
    return ""


def _refuse_binary(name: str, head: bytes) -> None:
    for magic, what, hint in NOT_TEXT:
        if head.startswith(magic):
            raise InputError(f"{name}: {what}, not text", hint.replace("FILE", name))
    zeros = head.count(0)
    # A NUL or two is text that somebody mangled; many are something else.
    if zeros and (zeros > max(16, len(head) // 20) or not _is_utf8(head)):
        raise InputError(f"{name}: binary data, not text", "b2ner reads UTF-8 text")


def _is_utf8(head: bytes) -> bool:
    try:
        head[:-3].decode("utf-8")  # the last character may be cut in two
    except UnicodeDecodeError as error:
        return error.end >= len(head) - 3
    return True


def _known(
    path: str, name: str, format: str | None, lines: Iterator[bytes]
) -> tuple[str, Iterator[bytes]]:
    """Settle the format: by the suffix, else by the first line that is not blank."""
    seen = [next(lines, b"").removeprefix(BOM)]
    format = format or by_suffix(path)
    if format in (None, "jsonl"):
        while not seen[-1].strip() and (line := next(lines, b"")):
            seen.append(line)
        first = seen[-1].strip()
        if format is None and path.lower().removesuffix(".gz").endswith(".json"):
            format = "jsonl" if first[:1] == b"[" else None
        format = format or by_content(first) or "txt"
        if format != "jsonl" and (path == STDIN or is_stream(path)):
            format = "lines"
        elif format == "jsonl":
            _refuse_document_json(name, first)
    return format, chain(filter(None, seen), lines)


def _refuse_document_json(name: str, first: bytes) -> None:
    """Refuse JSON that is one value over many lines."""
    source = "" if name == "stdin" else f" {name}"
    if first[:1] == b"[":
        raise InputError(
            f"{name}: a JSON array, not JSON lines",
            f"make a line of each element: jq -c '.[]'{source}",
        )
    if first == b"{":
        raise InputError(
            f"{name}: JSON over several lines, not JSON lines",
            f"make a line of each record: jq -c .{source}",
        )
