"""The output file: written aside, flushed a record at a time, put in place when it is whole.

    tagged.jsonl.part       while the run goes on, and after it was killed
    tagged.jsonl.part.run   what that run was asked to do
    tagged.jsonl            when it is done

A killed run is resumed from its part file: for JSON lines, one complete line stands for one
document. Rows and tags do not show where a document ends, and gzip cannot be cut, so those start
over, which the answer cache makes quick. Standard output, pipes and devices are written directly.
Knows bytes, not results.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from b2ner_cli.errors import OutputError, reason

if sys.platform != "win32":
    import fcntl

STDOUT = "standard output"
BLOCK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Output:
    """An open output, used as a context manager: leaving it without an error completes the file.

    `done` counts the documents that stand in it already, `last` is the last one's line, `complete`
    says that an earlier run finished and there is nothing to do, and `reason` says in words what
    was found.
    """

    def __init__(self, name: str, stream: IO[bytes] | None) -> None:
        self.name = name
        self.done = 0
        self.last = b""
        self.complete = stream is None
        self.reason = ""
        self.part = ""
        self._stream = stream
        self._packed: gzip.GzipFile | None = None
        self._kept = False  # holds something worth resuming

    def write(self, data: bytes) -> None:
        """Write one document's bytes; they are out of our hands when this returns."""
        if not data:
            return
        if self._stream is None:
            raise OutputError(f"{self.name}: complete already")
        self._kept = True
        try:
            if self._packed:
                self._packed.write(data)
            else:
                self._stream.write(data)
                self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _failure(self.name, error, self.part) from error

    def belongs_to(self, settings: Mapping[str, str]) -> None:
        """Note what the run is asked to do, or make sure that a part that goes on was asked that.

        Raises OutputError naming the settings that differ: half of a file under one set of
        labels and half under another would look whole.
        """
        if not self.part:
            return
        notes = f"{self.part}.run"
        try:
            if self.done:
                with open(notes, encoding="utf-8") as stream:
                    before = json.load(stream)
                other = [name for name, value in settings.items() if before.get(name) != value]
                if other:
                    raise OutputError(
                        f"{self.part} was begun with other settings: {', '.join(other)}",
                        "resume with the command it was begun with, or start over with --force",
                    )
            else:
                with open(notes, "w", encoding="utf-8") as stream:
                    json.dump(dict(settings), stream, ensure_ascii=False)
        except (FileNotFoundError, ValueError):
            return  # a part without notes, or with half of them: its records are checked at least
        except OSError as error:
            raise _failure(notes, error, self.part) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is None or self.name == STDOUT:
            return
        try:
            if self.part and kind is None:
                self._finish(self._stream)
            elif self.part and not self._kept:
                os.unlink(self.part)  # nothing in it: the next run need not be told of it
                self._forget()
        except OSError as failure:
            if kind is None:
                raise _failure(self.name, failure, self.part) from failure
        finally:
            self._close(self._stream)

    def _finish(self, stream: IO[bytes]) -> None:
        if self._packed:
            self._packed.close()
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(self.part, self.name)
        self._forget()
        _sync_folder(self.name)

    def _forget(self) -> None:
        with suppress(OSError):
            os.unlink(f"{self.part}.run")

    def _close(self, stream: IO[bytes]) -> None:
        self._stream = None
        # What could not be written was reported by then.
        with suppress(OSError, ValueError):
            if self._packed:
                self._packed.close()
        with suppress(OSError):
            stream.close()


def open_output(
    path: str | None,
    *,
    format: str = "jsonl",
    header: bytes = b"",
    force: bool = False,
    resume: bool = False,
    stdout: BinaryIO | None = None,
) -> Output:
    """Open the output; `resume` continues a part file, `force` overwrites what is there."""
    if path is None or path == "-":
        output = Output(STDOUT, stdout or sys.stdout.buffer)
        output.write(header)
        return output
    try:
        output = _open_file(path, format, force, resume)
    except OSError as error:
        raise _failure(path, error) from error
    if not output.complete and not output.done:
        output.write(header)
        output._kept = False
    return output


def _open_file(path: str, format: str, force: bool, resume: bool) -> Output:
    part = f"{path}.part"
    if os.path.exists(path) and not os.path.isfile(path):
        if os.path.isdir(path):
            raise OutputError(f"{path}: a folder", "name a file in it")
        return Output(path, open(path, "wb"))
    left = os.path.exists(part)
    if resume and not left and os.path.exists(path):
        output = Output(path, None)
        output.reason = f"{path} is complete: nothing to resume; --force tags anew"
        return output
    if not force and not resume:
        _refuse_existing(path, part)
    output = Output(path, _locked(part, new=not left and not force))
    output.part = part
    stream = cast(io.FileIO, output._stream)
    if resume and left and format == "jsonl" and not _is_packed(path):
        output.done, output.last = _recover(stream)
        output._kept = output.done > 0
        output.reason = f"{part} holds {output.done:,} documents"
    else:
        stream.truncate(0)
        if resume and left:
            kind = "gzip" if _is_packed(path) else format
            output.reason = f"{kind} output starts over; answers come from the cache"
    # A stream that could be read too would seek at each flush.
    output._stream = io.BufferedWriter(stream)
    if _is_packed(path):
        output._packed = gzip.GzipFile("", "wb", fileobj=output._stream, mtime=0)
    return output


def _is_packed(path: str) -> bool:
    return path.lower().endswith(".gz")


def _refuse_existing(path: str, part: str) -> None:
    if os.path.exists(part):
        raise OutputError(
            f"{part} is there already: a run was cut short, or is still going on",
            "--resume continues it, --force starts over",
        )
    if os.path.exists(path):
        raise OutputError(f"{path} is there already", "--force overwrites it")


def _locked(part: str, *, new: bool) -> io.FileIO:
    """Open the part file so that no other run writes it, without touching what is in it."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0) | getattr(os, "O_BINARY", 0)
    try:
        stream = io.FileIO(os.open(part, flags, 0o666), "r+")
    except FileExistsError:
        raise _taken(part) from None
    if sys.platform != "win32":
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise _taken(part) from None
        except OSError:
            pass  # a file system without locks
    # The other run may have finished between opening and locking: the file is then not ours.
    if not os.path.exists(part) or not os.path.samestat(os.fstat(stream.fileno()), os.stat(part)):
        stream.close()
        raise _taken(part)
    return stream


def _taken(part: str) -> OutputError:
    return OutputError(
        f"{part}: another run is writing it", "wait for it, or choose another file with -o"
    )


def _recover(stream: io.FileIO) -> tuple[int, bytes]:
    """Cut an incomplete last line off; count the lines, give the last, stand at the end."""
    lines = end = start = at = 0
    while block := stream.read(BLOCK):
        lines += block.count(b"\n")
        if (newline := block.rfind(b"\n")) >= 0:
            before = block.rfind(b"\n", 0, newline)
            start = at + before + 1 if before >= 0 else end
            end = at + newline + 1
        at += len(block)
    stream.truncate(end)
    stream.seek(start)
    last = stream.read()
    stream.seek(end)
    return lines, last


def _sync_folder(path: str) -> None:
    """Make the rename itself last through a power cut, where the system lets us."""
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(folder)
    os.close(folder)


def _failure(name: str, error: OSError, part: str = "") -> OutputError:
    hint = ""
    said = reason(error)
    if error.errno in FULL:
        said = "no space left to write"
        again = "; then run the same command with --resume" if part else ""
        hint = f"free some space{again}"
    elif isinstance(error, FileNotFoundError):
        folder = os.path.dirname(name)
        said, hint = f"there is no folder {folder!r}", f"make it first: mkdir -p {folder}"
    elif isinstance(error, PermissionError):
        hint = "choose another place with -o"
    return OutputError(f"{name}: {said}", hint)
