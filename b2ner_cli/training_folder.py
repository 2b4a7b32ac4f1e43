"""The folder of a training run before its first step: looked at early, changed late.

    check     is there a run already, can anything be written
    (data, model, adapter and settings are read, and whatever is wrong with them comes out)
    begin     make the folder, or clear the run that --force replaces

A command with a mistake in it leaves the folder as it found it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from b2ner_cli.errors import OutputError, UsageError

PARTS = (
    "adapter",
    "checkpoints",
    "heldout",
    "heldout-constrained",
    "card.md",
    "run.json",
    "log.jsonl",
)
_LEFT_OVER = (".adapter.part",)  # what a killed run may leave beside them


def check(out: Path, resume: bool, force: bool, read: Iterable[Path | None] = ()) -> None:
    """Raise what can be known to be wrong with a run's folder, without touching it.

    `read` are the paths that the run reads: none may lie in what --force would clear.
    """
    try:
        present = [name for name in PARTS if (out / name).exists()]
        there = next(path for path in (out, *out.parents) if path.exists())
        if not there.is_dir():
            raise OutputError(f"cannot write to {out}: {there} is a file", "name another folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write to {out}: no permission in {there}")
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}") from None
    if present and not resume and not force:
        raise OutputError(
            f"{out} holds a run already ({present[0]})",
            "go on with --resume, replace it with --force, or name another folder",
        )
    cleared = [(out / name).resolve() for name in present] if force and not resume else []
    for path in read:
        if path is not None:
            whole = path.resolve()
            if any(part in (whole, *whole.parents) for part in cleared):
                raise UsageError(
                    f"{path} is read by this run, and --force would clear it",
                    "train into another folder, or move it out of this one",
                )


def begin(out: Path, resume: bool, force: bool) -> None:
    """Make the folder; with `force` clear what an earlier run left in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (*PARTS, *_LEFT_OVER) if force and not resume else ():
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}") from None


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Say of a full disk which folder it is, and how to go on."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write to {out}: {(error.strerror or str(error)).lower()}",
            "free some space and go on with --resume",
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a file that is there whole or as it was before."""
    work = path.with_name(f".{path.name}.part")
    with writing(path.parent):
        try:
            work.write_text(text, encoding="utf-8")
            work.replace(path)
        except OSError:
            work.unlink(missing_ok=True)
            raise


def append(path: Path, line: str) -> None:
    """Add a line to a file, which is closed again: a full disk shows here and not later."""
    with writing(path.parent), path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
