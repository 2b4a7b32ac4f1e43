"""Everything a person reads on stderr: errors, notes, progress, summaries, tables.

Nothing here writes to stdout but `print_table` and `print_page`, for commands whose data is a
table or a page. User text is never read as markup.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from b2ner_cli.core.document import BadRecord, Result
from b2ner_cli.core.text import counted
from b2ner_cli.errors import NOTICE, B2nerError

_FOUND = {"NER": "entity", "RE": "relation", "Sentiment": "sentiment"}
_OFTEN, _SELDOM = 0.2, 30.0  # seconds between two states of a line on a terminal, and two lines

_log = logging.getLogger("b2ner")


def stderr() -> Console:
    """A console on the present stderr, which tests and pipes may have replaced."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def set_up_logging(quiet: bool, verbose: int) -> None:
    """Show the package's log on stderr: notices and warnings, with -v choices too, -vv all."""
    level = logging.ERROR if quiet else (NOTICE, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    for handler in list(_log.handlers):
        _log.removeHandler(handler)
    _log.addHandler(_StderrHandler())
    _log.setLevel(level)
    _log.propagate = False


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        name = "Warning: " if record.levelno >= logging.WARNING else ""
        stderr().print(Text(name + record.getMessage(), style=style))


def show_error(error: B2nerError) -> None:
    """Print an error and its hint."""
    _complain(error.message, error.hint)


def show_bad_record(record: BadRecord) -> None:
    """Print a record that could not be read."""
    _complain(f"{record.origin}: {record.message}", record.hint)


def _complain(message: str, hint: str) -> None:
    console = stderr()
    console.print(Text.assemble(("Error: ", "bold red"), message))
    if hint:
        console.print(Text.assemble(("Hint:  ", "bold"), hint))


def note(message: str) -> None:
    """Print a line that is neither data nor trouble, unless all is to be quiet."""
    _log.log(NOTICE, "%s", message)


def finding(message: str) -> None:
    """Print a line that says why the exit code is 1, however quiet all is to be."""
    stderr().print(Text(message, style="dim"))


def warn(message: str) -> None:
    """Print a warning, unless it is empty or warnings are not wanted."""
    if message:
        _log.warning("%s", message)


def detail(message: str) -> None:
    """Print what only -v asks for."""
    _log.info("%s", message)


def columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of text columns, each as wide as its widest cell; the last may be of any length."""
    listed = [tuple(row) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*listed, strict=True)]
    for row in listed:
        sized = zip(row, widths, strict=True)
        yield "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in sized).rstrip()


def print_table(rows: Sequence[Sequence[str]], to_stderr: bool = False) -> None:
    """Print a table, first row the header; numbers stand right."""
    console = Console(stderr=to_stderr, markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(
            file=sys.stderr if to_stderr else sys.stdout, markup=False, highlight=False, width=160
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_page(text: str) -> None:
    """Print a page of Markdown: laid out in a pager on a terminal, as it is everywhere else."""
    console = Console(highlight=False)
    if not console.is_terminal:
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown  # takes its time

    os.environ.setdefault("LESS", "-FRX")  # as git has it: colours, and no pager for a short page
    with console.pager(styles=True):
        console.print(Markdown(text, hyperlinks=False))


class _Live:
    """Progress as a line that changes on a terminal, else as one now and then; none when quiet.

    A context manager around the work.
    """

    columns: tuple[ProgressColumn, ...] = (TextColumn("{task.description}"),)
    transient = True  # the line goes when the work is done

    def __init__(self) -> None:
        self._shown = -math.inf
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        console = stderr()
        if console.is_terminal and _log.isEnabledFor(NOTICE):
            self._bar = Progress(*self.columns, console=console, transient=self.transient)
            self._bar.add_task("starting", total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def _is_due(self) -> bool:
        """Whether the last state shown is old enough; notes that another is shown now."""
        now = time.monotonic()
        due = now - self._shown > (_OFTEN if self._bar else _SELDOM)
        self._shown = now if due else self._shown
        return due


class Watch(_Live):
    """Progress of a tagging run, and its summary."""

    def __init__(self) -> None:
        super().__init__()
        self.documents = self.failed = self.entities = 0
        self.task = "NER"
        self.unlocated = self.prompts = self.cached = self.dropped = 0
        self.problems = 0
        self._began = self._last = self._shown = time.monotonic()

    def result(self, result: Result) -> None:
        """Count a result."""
        self._last = time.monotonic()
        self.documents += 1
        self.entities += len(result.entities) + len(result.relations) + len(result.events)
        self.task = result.task
        self.unlocated += len(result.unlocated)
        self.problems += len(result.problems)
        self.prompts += result.usage.prompts
        self.cached += result.usage.cached
        if self._is_due():
            if self._bar:
                self._bar.update(self._bar.task_ids[0], description=self.summary())
            else:
                note(self.summary())

    def bad_record(self, record: BadRecord) -> None:
        """Count and print a record that could not be read."""
        self.failed += 1
        show_bad_record(record)

    def summary(self) -> str:
        """What the run came to, in one line; its time is that until the last result."""
        seconds = max(self._last - self._began, 1e-9)
        said = self.entities + self.unlocated
        parts = [
            f"tagged {counted(self.documents, 'document')} ({self.failed:,} failed)",
            counted(self.entities, _FOUND.get(self.task, "event")),
            f"{100 * self.unlocated / said if said else 0:.1f}% unlocated",
            f"{self.documents / seconds:,.1f} docs/s",
            f"{100 * self.cached / self.prompts if self.prompts else 0:.0f}% from cache",
        ]
        if self.problems:
            parts.append(counted(self.problems, "problem"))
        if self.dropped:
            lost = counted(self.dropped, "entity")
            parts.append(f"{lost} that tags cannot show not written")
        return ", ".join(parts)


class Steps(_Live):
    """Progress of a training run."""

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    transient = False

    def show(self, step: int, steps: int, message: str) -> None:
        """Show where the run stands."""
        if self._bar:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=step, total=steps, description=message)
        elif self._is_due() or step == steps:
            note(f"step {step:,} of {steps:,}: {message}")
