"""The folder of a training run: looked at early, changed late, its log and texts kept whole.

    check     is there a run already, can anything be written
    (data, model, adapter and settings are read, and whatever is wrong with them comes out)
    begin     make the folder, or clear the run that --force replaces

A command with a mistake in it leaves the folder as it found it. What a run notes as it goes:

OUT/log.jsonl      {"step", "loss", ...} a line; lines with "f1" where it was measured
OUT/tensorboard/   loss, learning rate, documents a second and F1 by step, if wanted
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from b2ner_cli.errors import OutputError, UsageError

LOG = "log.jsonl"
PARTS = (
    "adapter",
    "checkpoints",
    "heldout",
    "heldout-constrained",
    "card.md",
    "run.json",
    LOG,
    "curve.svg",  # of earlier versions
    "tensorboard",
)
_EVAL = re.compile(r"eval-\d+")
_LEFT_OVER = (".adapter.part",)  # what a killed run may leave beside them


def check(out: Path, resume: bool, force: bool, read: Iterable[Path | None] = ()) -> None:
    """Raise what can be known to be wrong with a run's folder, without touching it.

    `read` are the paths that the run reads: none may lie in what --force would clear.
    """
    try:
        present = [name for name in _parts(out) if (out / name).exists()]
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


def begin(out: Path, resume: bool, force: bool, step: int = 0) -> None:
    """Make the folder; with `force` clear what an earlier run left in it.

    With `resume` the log forgets the steps after `step`, which are taken again.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (*_parts(out), *_LEFT_OVER) if force and not resume else ():
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}") from None
    if resume and (out / LOG).exists():
        kept = [line for line in read_log(out) if line["step"] <= step]
        write_text(out / LOG, "".join(json.dumps(line) + "\n" for line in kept))


def _parts(out: Path) -> list[str]:
    """What a run keeps in its folder, the predictions after its epochs included."""
    return [*PARTS, *(path.name for path in out.glob("eval-*") if _EVAL.fullmatch(path.name))]


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log that have a step; not one that a kill or a full disk cut off."""
    found = []
    try:
        with (out / LOG).open(encoding="utf-8", errors="replace") as stream:
            for text in stream:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    found.append(line)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"cannot read {out / LOG}: {error.strerror}") from None
    return found


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


_SHOWN = ("loss", "learning_rate", "f1")


def check_tensorboard() -> None:
    """Refuse at the start what would fail at the first step."""
    if find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard needs the package tensorboard",
            "install it: pip install 'b2ner-cli[tensorboard]'",
        )


@dataclass(frozen=True, slots=True)
class RunLog:
    """The log of a run in folder `out`; `board` is a SummaryWriter of torch's, or None."""

    out: Path
    board: Any = None

    def add(self, line: Mapping[str, Any]) -> None:
        """Note what is known of a step."""
        append(self.out / LOG, json.dumps(dict(line)))
        if self.board is not None:
            for name, value in scalars(line).items():
                self.board.add_scalar(name, value, line["step"])
            self.board.flush()


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard shows of a line."""
    found = {name: float(line[name]) for name in _SHOWN if name in line}
    if line.get("seconds"):
        found["documents_per_second"] = line["documents"] / line["seconds"]
    return found


def open_log(out: Path, step: int, tensorboard: bool) -> RunLog:
    """The log of a run that has taken `step` steps; TensorBoard forgets those after it."""
    if not tensorboard:
        return RunLog(out)
    from torch.utils.tensorboard import SummaryWriter

    with writing(out):
        return RunLog(out, SummaryWriter(str(out / "tensorboard"), purge_step=step + 1))
