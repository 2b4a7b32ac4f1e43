"""The tasks a model can be asked, by the names that the B2NER data gives them."""

from __future__ import annotations

from typing import Literal, get_args

from b2ner_cli.errors import UsageError

Task = Literal["NER", "RE", "EET", "EEA", "newEET", "newEEA", "Sentiment"]


TASKS: tuple[Task, ...] = get_args(Task)


ABOUT_EVENTS: tuple[Task, ...] = ("EEA", "newEEA")  # ask for the arguments of one event


LABELS_ONLY: tuple[Task, ...] = ("newEET", "Sentiment")  # answers name no part of the text


def as_task(name: str) -> Task:
    """Read a task's name, in any case."""
    for task in TASKS:
        if task.casefold() == name.casefold():
            return task
    known = " ".join(task.lower() for task in TASKS)
    raise UsageError(f"no task {name!r}", f"choose from {known}")
