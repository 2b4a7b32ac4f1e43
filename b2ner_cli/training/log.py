"""What a training run notes as it goes: a line a step, and TensorBoard's events if wanted.

OUT/log.jsonl      {"step", "loss", ...} a line; lines with "f1" where it was measured
OUT/tensorboard/   loss, learning rate, documents a second and F1 by step
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from b2ner_cli.errors import UsageError
from b2ner_cli.training import run_folder

_SHOWN = ("loss", "learning_rate", "f1")


def check_tensorboard() -> None:
    """Refuse at the start what would fail at the first step."""
    if find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard needs the package tensorboard",
            "install it: pip install 'b2ner-cli[tensorboard]'",
        )


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a run in folder `out`; `board` is a SummaryWriter of torch's, or None."""

    out: Path
    board: Any = None

    def add(self, line: Mapping[str, Any]) -> None:
        """Note what is known of a step."""
        run_folder.append(self.out / run_folder.LOG, json.dumps(dict(line)))
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


def open_log(out: Path, step: int, tensorboard: bool) -> Log:
    """The log of a run that has taken `step` steps; TensorBoard forgets those after it."""
    if not tensorboard:
        return Log(out)
    from torch.utils.tensorboard import SummaryWriter

    with run_folder.writing(out):
        return Log(out, SummaryWriter(str(out / "tensorboard"), purge_step=step + 1))
