"""Which documents of which sets are trained on.

Reads data sets; knows nothing of prompts and models.
"""

from __future__ import annotations

import difflib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.language import Language, as_language, detect_language
from b2ner_cli.core.tasks import Task
from b2ner_cli.datasets import b2nerd, splits, task_documents
from b2ner_cli.datasets.balance import Limits, balanced
from b2ner_cli.datasets.task_configs import Part
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import templates
from b2ner_cli.prompts.rendering import ZERO_SHOT, Form

log = logging.getLogger("b2ner")

OTHER_NAMES = "other_names"  # key of a row: other names that fit its labels in this very text
DESCRIPTIONS = "descriptions"  # key of a row: what its labels mean in this very text


@dataclass(frozen=True, slots=True)
class Selection:
    """The documents chosen from one data set, and what was left aside and why.

    Of a row they hold no more than training needs: no fields of its own but
    `other_names` and `descriptions`.
    """

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
) -> list[Selection]:
    """Choose training documents from every set under `root` that one of `tasks` can be asked of, or
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
    selections = []
    for key, (dataset, task) in found.items():
        splits = {"train", "dev"} & set(dataset.splits)
        if splits and task_documents.asked_for(key, dataset, only):
            documents = _read(dataset, task)
            chosen = _balanced(documents, limits, random.Random(f"{seed}/{key}"))
            selections.append(_selection(dataset, task, chosen, len(documents)))
    return _checked(selections, root, tasks)


def from_file(path: Path, limits: Limits, seed: int, language: str = "auto") -> list[Selection]:
    """Choose training documents from a file that is one data set: a selection a language.

    A document is asked for its own labels where it names some, else for those of a labels.json
    beside the file or for all that the file has. `language` "auto" goes by each text's script.
    Raises DataError naming file and row for unusable data, UsageError for an unknown format.
    """
    if splits.by_suffix(path) is None:
        known = ", ".join(splits.SUFFIXES)
        raise UsageError(f"{path}: of which format?", f"use a suffix of {known}")
    (split,) = splits.find_splits(splits.DataSource(path))
    documents = [_checked_row(item) for item in split.documents(_refuse)]
    labels = split.dataset.labels or tuple(
        dict.fromkeys(mention.label for d in documents for mention in d.mentions or ())
    )
    if not labels:
        raise DataError(f"{path}: no entities to learn in its {len(documents)} documents")
    found: dict[Language, list[Document]] = {}
    for document in documents:
        spoken = detect_language(document.text) if language == "auto" else as_language(language)
        found.setdefault(spoken, []).append(document)
    selections = []
    for spoken, read in found.items():
        dataset = replace(split.dataset, task=f"NER_{spoken}", language=spoken, labels=labels)
        chosen = _balanced(read, limits, random.Random(f"{seed}/{dataset.key}"))
        if passed := sum(not _fits(document, limits) for document in read):
            told = "%s: %d of %d documents are blank or longer than max_chars=%d and left out"
            log.warning(told, path, passed, len(read), limits.max_chars)
        selections.append(_selection(dataset, "NER", chosen, len(read)))
    return _checked(selections, path)


def _checked_row(item: Document | BadRecord) -> Document:
    """A row as training needs it. Raises DataError for one that cannot be trusted."""
    if isinstance(item, BadRecord):
        raise DataError(f"{item.origin}: {item.message}", item.hint)
    for mention in item.mentions or ():
        if item.labels and mention.label not in item.labels:
            raise DataError(
                f"{item.origin}: {mention.label!r} is not among the labels of this document",
                "add it to its 'labels', or leave 'labels' out",
            )
    kept = {OTHER_NAMES: item.meta[OTHER_NAMES]} if OTHER_NAMES in item.meta else {}
    return item._replace(meta=kept, raw=b"")


def _refuse(problem: str) -> None:
    raise DataError(problem, "correct the row, or the labels.json beside it")


def draw(
    root: Path, parts: Sequence[Part], limits: Limits, seed: int, most: int
) -> list[Selection]:
    """Choose training documents from the parts of a task config, whose strategies say how many.

    Of `limits` only `max_chars` holds; `most` is the cap of the strategy `random`.
    """
    selections = []
    for part in parts:
        documents = _read(part.dataset, part.task)
        fit = [document for document in documents if _fits(document, limits)]
        chosen = part.draw(fit, seed, most)
        made = _selection(part.dataset, part.task, chosen, len(documents))
        selections.append(replace(made, unfit=len(documents) - len(fit)))
    return _checked(selections, root)


def renamed(selection: Selection, label_map: LabelMap) -> Selection:
    """A selection whose labels have the names that a map gives them.

    Raises DataError where two labels of a list would get one name.
    """
    for listed in {selection.labels, *(d.labels for d in selection.documents if d.labels)}:
        try:
            label_map.ask(LabelSet(tuple(dict.fromkeys(listed))))
        except UsageError as error:
            raise DataError(f"{selection.name}: {error.message}", error.hint) from None
    return replace(
        selection,
        labels=tuple(map(label_map.asked, selection.labels)),
        documents=tuple(map(label_map.document, selection.documents)),
    )


def _read(dataset: b2nerd.DataSet, task: Task) -> list[Document]:
    return list(task_documents.read_task(dataset, "train", task, keep=(OTHER_NAMES, DESCRIPTIONS)))


def _selection(dataset: b2nerd.DataSet, task: Task, chosen: list[Document], read: int) -> Selection:
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
    return Selection(name, language, dataset.labels, tuple(chosen), read, unsayable, form=form)


def _checked(
    selections: list[Selection], root: Path, tasks: Sequence[Task] = ()
) -> list[Selection]:
    if not any(each.documents for each in selections):
        kind = task_documents.KINDS[tasks[0]] if tasks else "NER"
        read = ", ".join(f"{each.name} of {each.read} read" for each in selections)
        raise DataError(
            f"no training documents under {root}" + (f": none in {read}" if read else ""),
            f"expected {kind}_<language>/<set>/train.json with labels.json beside it",
        )
    return selections


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
