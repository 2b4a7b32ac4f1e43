"""Everything a person reads on stderr: errors, notes, progress, summaries, tables.

Nothing here writes to stdout but `print_table` and `print_page`, for commands whose data is a
table or a page. User text is never read as markup.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from b2ner_cli.core.document import BadRecord, Result
from b2ner_cli.errors import NOTICE, B2nerError

_FOUND = {"NER": "entities", "RE": "relations", "Sentiment": "sentiments"}
_EVERY = 30.0  # seconds between progress lines where nobody watches


def stderr() -> Console:
    """A console on the present stderr, which tests and pipes may have replaced."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def set_up_logging(quiet: bool, verbose: int) -> None:
    """Show the package's log on stderr: notices and warnings, with -v choices too, -vv all."""
    level = logging.ERROR if quiet else (NOTICE, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    log = logging.getLogger("b2ner")
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.addHandler(_StderrHandler())
    log.setLevel(level)
    log.propagate = False


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
    """Print a line that is neither data nor trouble."""
    stderr().print(Text(message, style="dim"))


def warn(message: str) -> None:
    """Print a warning, unless it is empty or warnings are not wanted."""
    if message:
        logging.getLogger("b2ner").warning("%s", message)


def detail(message: str) -> None:
    """Print what only -v asks for."""
    logging.getLogger("b2ner").info("%s", message)


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


class Watch:
    """Progress of a tagging run, and its summary: a live line on a terminal, else one now and then.

    Used as a context manager around the loop; `quiet` shows nothing at all.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.documents = self.failed = self.entities = 0
        self.task = "NER"
        self.unlocated = self.prompts = self.cached = self.dropped = 0
        self.problems = 0
        self._began = time.monotonic()
        self._shown = self._began
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        console = stderr()
        if console.is_terminal and not self.quiet:
            self._bar = Progress(TextColumn("{task.description}"), console=console, transient=True)
            self._bar.add_task("starting")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def result(self, result: Result) -> None:
        """Count a result."""
        self.documents += 1
        self.entities += len(result.entities) + len(result.relations) + len(result.events)
        self.task = result.task
        self.unlocated += len(result.unlocated)
        self.problems += len(result.problems)
        self.prompts += result.usage.prompts
        self.cached += result.usage.cached
        self._show()

    def bad_record(self, record: BadRecord) -> None:
        """Count and print a record that could not be read."""
        self.failed += 1
        show_bad_record(record)

    def summary(self) -> str:
        """What the run came to, in one line."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        said = self.entities + self.unlocated
        parts = [
            f"tagged {self.documents:,} documents ({self.failed:,} failed)",
            f"{self.entities:,} {_FOUND.get(self.task, 'events')}",
            f"{100 * self.unlocated / said if said else 0:.1f}% unlocated",
            f"{self.documents / seconds:,.1f} docs/s",
            f"{100 * self.cached / self.prompts if self.prompts else 0:.0f}% from cache",
        ]
        if self.problems:
            parts.append(f"{self.problems:,} problems")
        if self.dropped:
            parts.append(f"{self.dropped:,} entities that tags cannot show not written")
        return ", ".join(parts)

    def _show(self) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if self._bar:
            if now - self._shown > 0.2:
                self._shown = now
                self._bar.update(self._bar.task_ids[0], description=self.summary())
        elif now - self._shown > _EVERY:
            self._shown = now
            note(self.summary())


class Steps:
    """Progress of a training run: a bar on a terminal, else a line now and then."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._shown = 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        console = stderr()
        if console.is_terminal and not self.quiet:
            self._bar = Progress(
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._bar.add_task("starting", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, step: int, steps: int, message: str) -> None:
        """Show where the run stands."""
        if self._bar:
            self._bar.update(
                self._bar.task_ids[0], completed=step, total=steps, description=message
            )
        elif not self.quiet and (time.monotonic() - self._shown > _EVERY or step == steps):
            self._shown = time.monotonic()
            note(f"step {step:,} of {steps:,}: {message}")
