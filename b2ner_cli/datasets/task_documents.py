"""What tasks ask of data sets: which of them they can be asked of, and their documents then.

A folder RE_en holds sets of relations, EE_en sets of events, of which four tasks can be asked;
a folder may also be called by one of these tasks alone, such as EET_en.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from b2ner_cli.core.document import Document
from b2ner_cli.core.tasks import ABOUT_EVENTS, TASKS, Task
from b2ner_cli.datasets.b2nerd import DataSet, read_split
from b2ner_cli.errors import DataError
from b2ner_cli.formats import gold
from b2ner_cli.formats.fields import RecordError

KINDS: dict[Task, str] = {
    "NER": "NER", "RE": "RE", "EET": "EE", "EEA": "EE", "newEET": "EE", "newEEA": "EE",
    "Sentiment": "Sentiment",
}  # fmt: skip
OWN: dict[str, Task] = {"EE": "EET", **{task: task for task in TASKS}}


def by_task(
    found: Iterable[DataSet], tasks: Sequence[Task] = (), only: Sequence[str] = ()
) -> dict[str, tuple[DataSet, Task]]:
    """The sets that tasks can be asked of, by the name of task and set, such as RE_en_WetLab.

    Without tasks those of named entities, and of the others those that `only` names or that
    stand alone: by their own task, types and triggers of events for EE.
    """
    sets = {f"{each.task}_{each.name}": each for each in found}
    chosen: dict[str, tuple[DataSet, Task]] = {}
    alone = not any(each.kind == "NER" for each in sets.values())
    for name, each in sets.items():
        own = OWN.get(each.kind)
        wanted = [task for task in tasks if fits(task, each.kind)]
        if not tasks and own and (own == "NER" or alone or name in only):
            wanted = [own]
        for task in wanted:
            chosen["_".join([task, *each.task.split("_")[1:], each.name])] = each, task
    return chosen


def fits(task: Task, kind: str) -> bool:
    """Whether a task can be asked of sets of a kind."""
    return kind in (KINDS[task], task)


def asked_for(name: str, dataset: DataSet, only: Sequence[str]) -> bool:
    """Whether a set is among those named, by its folders or by the task it is asked for."""
    return not only or name in only or f"{dataset.task}_{dataset.name}" in only


def read_task(
    dataset: DataSet,
    split: str,
    task: Task,
    on_problem: Callable[[str], None] | None = None,
    keep: Collection[str] | None = None,
) -> Iterator[Document]:
    """Read what a task asks of a split, gold as mentions; see `read_split`.

    Of a row documents keep the fields named in `keep`, without it all: whoever holds many
    documents names those it needs.
    """

    def refuse(problem: str) -> None:
        raise DataError(problem, "correct the row, or the labels.json beside it")

    for document in read_split(dataset, split, on_problem):
        try:
            asked = list(gold.as_task(document, task, dataset.roles))
        except RecordError as error:
            raise DataError(f"{document.origin}: {error.message}", error.hint) from None
        meta = document.meta
        if keep is not None:
            meta = {name: meta[name] for name in keep if name in meta}
        for each in asked:
            known = set(each.labels or dataset.labels)
            for mention in each.mentions or () if task != "NER" else ():
                if mention.label not in known:
                    problem = f"{each.origin}: {mention.label!r} is not among the labels"
                    (on_problem or refuse)(problem)
            yield each if keep is None else each._replace(meta=meta)


def take(documents: Iterable[Document], rows: Sequence[int]) -> list[Document]:
    """The documents with these numbers, in the order of `rows`, repeats included.

    Reads `documents` once and holds no others.
    """
    wanted = set(rows)
    held = {row: document for row, document in enumerate(documents) if row in wanted}
    return [held[row] for row in rows]


def refuse_empty(
    datasets: Sequence[DataSet], split: str, task: Task, on_problem: Callable[[str], None]
) -> None:
    """Raise DataError if a task has nothing to ask of any of the sets; tell of each such set."""
    what = "documents with events" if task in ABOUT_EVENTS else "documents"
    empty = [
        f"{each.path}: no {what} in its {split} split"
        for each in datasets
        if next(read_task(each, split, task, lambda _: None), None) is None
    ]
    if len(empty) == len(datasets):
        raise DataError(empty[0], "b2ner data stats counts what there is")
    for line in empty:
        on_problem(line)
