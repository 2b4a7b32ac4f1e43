"""Which documents of which sets are trained on.

Reads data sets; knows nothing of prompts and models.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from b2ner_cli.core.document import Document
from b2ner_cli.core.language import Language, as_language
from b2ner_cli.core.tasks import Task
from b2ner_cli.datasets import b2nerd, task_documents
from b2ner_cli.datasets.balance import Limits, balanced
from b2ner_cli.datasets.task_configs import Part
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import templates
from b2ner_cli.prompts.rendering import ZERO_SHOT, Form

OTHER_NAMES = "other_names"  # key of a row: other names that fit its labels in this very text


@dataclass(frozen=True, slots=True)
class Pick:
    """The documents chosen from one data set, and what was left aside and why."""

    name: str
    language: Language
    labels: tuple[str, ...]
    documents: tuple[Document, ...]
    read: int
    unsayable: int  # mentions that hold ';' and so cannot stand in an answer
    unfit: int = 0  # documents blank or too long, left aside before a task config's strategy
    form: Form = ZERO_SHOT


def choose(
    root: Path, limits: Limits, seed: int, only: Sequence[str] = (), tasks: Sequence[Task] = ()
) -> list[Pick]:
    """Pick training documents from every set under `root` that one of `tasks` can be asked of, or
    from those named in `only`; without tasks, of the sets' own, named entities first.

    A set without a train split gives its dev split, a set with neither gives nothing.
    Raises DataError naming file and row for unusable data.
    """
    found = task_documents.by_task(b2nerd.datasets(root), tasks, only)
    known = {*found, *(f"{d.task}_{d.name}" for d, _ in found.values())}
    for name in only:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1) or sorted(found)
            hint = f"did you mean {', '.join(close)}?" if close else ""
            raise DataError(f"no data set {name} under {root}", hint)
    picks = []
    for key, (dataset, task) in found.items():
        if not task_documents.asked_for(key, dataset, only) or not {"train", "dev"} & set(
            dataset.splits
        ):
            continue
        documents = list(task_documents.read_task(dataset, "train", task))
        chosen = _balanced(documents, limits, random.Random(f"{seed}/{key}"))
        picks.append(_pick(dataset, chosen, len(documents), task=task))
    return _checked(picks, root, tasks)


def draw(root: Path, parts: Sequence[Part], limits: Limits, seed: int, most: int) -> list[Pick]:
    """Pick training documents from the parts of a task config, whose strategies say how many.

    Of `limits` only `max_chars` holds; `most` is the cap of the strategy `random`.
    """
    picks = []
    for part in parts:
        documents = list(task_documents.read_task(part.dataset, "train", part.task))
        fit = [document for document in documents if _fits(document, limits)]
        chosen = part.draw(fit, seed, most)
        unfit = len(documents) - len(fit)
        picks.append(_pick(part.dataset, chosen, len(documents), unfit, part.task))
    return _checked(picks, root)


def renamed(pick: Pick, label_map: LabelMap) -> Pick:
    """A pick whose labels have the names that a map gives them.

    Raises DataError where two labels of a list would get one name.
    """
    for listed in {pick.labels, *(d.labels for d in pick.documents if d.labels)}:
        try:
            label_map.ask(LabelSet(tuple(dict.fromkeys(listed))))
        except UsageError as error:
            raise DataError(f"{pick.name}: {error.message}", error.hint) from None
    documents = tuple(map(label_map.document, pick.documents))
    return replace(pick, labels=tuple(map(label_map.asked, pick.labels)), documents=documents)


def _pick(
    dataset: b2nerd.DataSet,
    chosen: list[Document],
    read: int,
    unfit: int = 0,
    task: Task = "NER",
) -> Pick:
    _check_labels(dataset.labels, str(dataset.path / "labels.json"))
    for document in chosen:
        if document.labels:
            _check_labels(document.labels, document.origin)
    unsayable = sum(";" in m.surface for d in chosen for m in d.mentions or ())
    name, language = f"{dataset.task}_{dataset.name}", as_language(dataset.language)
    form = ZERO_SHOT
    if task != "NER":
        form = Form(task)
        name = "_".join([task, *dataset.task.split("_")[1:], dataset.name])
        templates.template(task, language)  # refused now, not in the middle of a run
    return Pick(name, language, dataset.labels, tuple(chosen), read, unsayable, unfit, form)


def _checked(picks: list[Pick], root: Path, tasks: Sequence[Task] = ()) -> list[Pick]:
    if not any(pick.documents for pick in picks):
        kind = task_documents.KINDS[tasks[0]] if tasks else "NER"
        read = ", ".join(f"{pick.name} of {pick.read} read" for pick in picks)
        raise DataError(
            f"no training documents under {root}" + (f": none in {read}" if read else ""),
            f"expected {kind}_<language>/<set>/train.json with labels.json beside it",
        )
    return picks


def _check_labels(labels: Sequence[str], where: str) -> None:
    """Refuse labels that no prompt can hold now, not in the middle of a training run."""
    try:
        LabelSet(tuple(dict.fromkeys(labels)))
    except UsageError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from None


def _fits(document: Document, limits: Limits) -> bool:
    return bool(document.text.strip()) and len(document.text) <= limits.max_chars


def _balanced(documents: list[Document], limits: Limits, rng: random.Random) -> list[Document]:
    labels = [
        {mention.label for mention in document.mentions or ()} if _fits(document, limits) else None
        for document in documents
    ]
    return [documents[index] for index in balanced(labels, limits, rng)]
