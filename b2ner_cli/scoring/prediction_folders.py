"""Where a run keeps its predictions: in its folder, or in folders of its steps.

A run is a prediction file, a folder with one, or a folder of ``eval-N`` or ``checkpoint-N``
folders with one each; a folder may also hold runs. What could be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats.predictions import FILE_NAME

_ENDS = ("heldout", "heldout-constrained")
_STEP = re.compile(r"(eval|checkpoint)-(\d+)")


@dataclass(frozen=True, slots=True)
class Run:
    """One run, say of one seed: its predictions by step, under ``""`` where it has no steps."""

    name: str
    steps: Mapping[str, Path]
    note: str = ""  # what in its folder is left out

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"run {self.name!r} without predictions")


def find_runs(paths: Iterable[Path]) -> tuple[Run, ...]:
    """The runs at these paths, in their order; runs in one folder by name."""
    runs = [run for path in paths for run in _runs(path)]
    if len({run.name for run in runs}) < len(runs):  # then names of folders do not tell them apart
        runs = [Run(str(_home(run)), run.steps, run.note) for run in runs]
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{twice[0]} is named twice", "Name each run once.")
    for run in runs[1:]:
        if set(run.steps) != set(runs[0].steps):
            raise InputError(
                f"runs of different layouts: {_layout(runs[0])}, but {_layout(run)}",
                "Averages over runs need the same steps of each; name the folders of one step.",
            )
    return tuple(runs)


def step_number(step: str) -> int:
    """The N of a step's folder."""
    return int(step.rpartition("-")[2])


def _home(run: Run) -> Path:
    (step, path), *_ = run.steps.items()
    return path.parent if step else path


def _layout(run: Run) -> str:
    steps = ", ".join(step for step in run.steps if step)
    return f"{run.name} has {steps}" if steps else f"{run.name} has predictions and no steps"


def _runs(path: Path) -> list[Run]:
    if not path.is_dir():
        return [Run(path.stem, {"": path})]
    run = _run(path)
    below = [each for each in sorted(path.iterdir()) if each.is_dir() and not _is_step(each)]
    if run and "" not in run.steps:  # what a training run predicts at its end, beside its steps
        ends = [each.name for each in below if each.name in _ENDS]
        below = [each for each in below if each.name not in _ENDS]
        run = _leaving_out(run, path, ends)
    inside = [found for each in below if (found := _run(each))]
    if run and inside:
        raise InputError(
            f"{path}: a mixed layout, predictions of its own and runs in it, as {inside[0].name}",
            "Name the runs, or the files of predictions, one by one.",
        )
    if run:
        return [run]
    if inside:
        return inside
    empty = [each.name for each in sorted(path.iterdir()) if _is_step(each)]
    held = f"; {', '.join(empty)} hold none either" if empty else ""
    raise InputError(
        f"{path}: no {FILE_NAME} in this directory{held}",
        "Name a folder that `b2ner predict` or an evaluation wrote, or the predictions' file.",
    )


def _run(folder: Path) -> Run | None:
    own = folder / FILE_NAME
    steps = {each.name: each for each in folder.iterdir() if _is_step(each)}
    filled = {name: path for name, path in steps.items() if (path / FILE_NAME).is_file()}
    name = folder.resolve().name
    if not filled:
        return Run(name, {"": folder}) if own.is_file() else None
    if len({step.partition("-")[0] for step in filled}) > 1:
        raise InputError(
            f"{folder}: a mixed layout, predictions in eval-N and in checkpoint-N folders",
            "Name the folders to score one by one.",
        )
    left_out = [each for each in sorted(steps) if each not in filled]
    if own.is_file():
        left_out.append(FILE_NAME)
    note = f"{folder}: steps are scored; left out: {', '.join(left_out)}" if left_out else ""
    return Run(name, {step: filled[step] for step in sorted(filled, key=step_number)}, note)


def _leaving_out(run: Run, folder: Path, names: Sequence[str]) -> Run:
    if not names:
        return run
    note = run.note or f"{folder}: steps are scored; left out: "
    return replace(run, note=f"{note}{', ' if run.note else ''}{', '.join(names)}")


def _is_step(path: Path) -> bool:
    return path.is_dir() and _STEP.fullmatch(path.name) is not None
