"""What the options say is asked for: labels, task, examples and descriptions, read and checked."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from b2ner_cli.cli import console
from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.core.document import BadRecord, Document
    from b2ner_cli.labels.label_set import LabelSet
    from b2ner_cli.prompts.rendering import Form
    from b2ner_cli.tagging.planning import Options

Roles = Mapping[str, tuple[str, ...]]
_MOST_DOUBTS = 4  # lines about the labels of a run
_OF_DOCUMENTS = 3  # about those that its documents bring along


def labels(
    values: list[str] | None, field: str | None, task: str | None
) -> tuple[LabelSet | None, Roles]:
    """The labels given, and the roles of types of events where a .json file of them is."""
    from b2ner_cli.core.tasks import as_task
    from b2ner_cli.labels.reading import as_labels, parse_labels, read_roles

    if values and task and values[0].endswith(".json"):
        roles = read_roles(Path(values[0].removeprefix("@")))
        return as_labels(roles, as_task(task)), roles
    if values:
        found, notes = parse_labels(values)
        for line in notes:
            console.note(line)
        return found, {}
    if not field:
        raise UsageError("no labels given", 'say what to look for: --labels "person, location"')
    return None, {}


def say_names(labels: Sequence[str], options: Options, *, doubting: bool) -> bool:
    """Say which labels are asked under better names, and which others most likely cost entities;
    give whether any is.

    Without `doubting` not the latter: an adapter of the user's own knows the labels it learned.
    """
    improved = _improved(labels, options)
    for said in improved:
        console.note(said)
    lines = _doubts(labels, options) if doubting else []
    for line in lines[:_MOST_DOUBTS]:
        console.note(line)
    if len(lines) > _MOST_DOUBTS:
        console.note(f"and {len(lines) - _MOST_DOUBTS} more: b2ner labels check shows them all")
    if lines and not options.improve_labels:
        console.note("--improve-labels asks under better names and answers under yours")
    return bool(improved)


def with_doubts(
    documents: Iterable[Document | BadRecord], options: Options
) -> Iterator[Document | BadRecord]:
    """The documents; of the labels that they bring along the first better names and doubts are told
    on the way.
    """
    told: set[str] = set()
    before: tuple[str, ...] = ()
    for document in documents:
        names = getattr(document, "labels", None) or ()
        if names != before and len(told) < _OF_DOCUMENTS:
            before = names
            for line in (*_improved(names, options), *_doubts(names, options)):
                if line not in told and len(told) < _OF_DOCUMENTS:
                    told.add(line)
                    console.note(line)
        yield document


def _improved(labels: Sequence[str], options: Options) -> list[str]:
    """The line that says which labels are asked under better names; none where none is."""
    from b2ner_cli.labels.better_names import describe

    said = options.improve_labels and describe(labels, options.language, options.label_map)
    return [said] if said else []


def _doubts(labels: Sequence[str], options: Options) -> list[str]:
    from b2ner_cli.labels.better_names import doubts

    if options.form.task != "NER":
        return []
    return list(doubts(labels, options.renaming(labels, "en")))


def form(
    task: str | None, examples: Path | None, descriptions: Path | None
) -> tuple[Form, dict[str, str]]:
    """The form of prompts that is asked for, and the descriptions of labels in them."""
    from b2ner_cli.core.tasks import as_task
    from b2ner_cli.labels.reading import read_descriptions
    from b2ner_cli.prompts.examples import read_examples
    from b2ner_cli.prompts.rendering import ZERO_SHOT, Form

    known = read_descriptions(descriptions) if descriptions else {}
    asked = as_task(task or "ner")
    if asked == "NER" and not examples:
        return ZERO_SHOT, known
    return Form(asked, read_examples(examples, asked) if examples else ()), known


def described(found: LabelSet, descriptions: Mapping[str, str], form: Form) -> LabelSet:
    """The labels with their descriptions; UsageError where no prompt of that form has any."""
    from b2ner_cli.prompts.rendering import check

    if unused := [name for name in descriptions if name not in found.names]:
        console.note(f"no label {unused[0]!r} is asked for: its description is not used")
    found = found.described(descriptions)
    check(found, form)
    return found


def min_scores(said: str, labels: LabelSet | None) -> tuple[float, dict[str, float]]:
    """What --min-score says: a score for all labels, 0 unless given, and those of some.

    A part with a comma in it stands in double quotes, as in CSV. Raises UsageError for what is no
    score, and for a label that is not among those asked for.
    """
    least, by_label = 0.0, {}
    parts = chain.from_iterable(csv.reader(said.splitlines(), skipinitialspace=True))
    for part in filter(None, map(str.strip, parts)):
        name, equals, number = (piece.strip() for piece in part.rpartition("="))
        try:
            score = float(number)
        except ValueError:
            hint = 'give a number, or numbers by label: "person=0.8, product=0.95"'
            raise UsageError(f"--min-score {part}: no score", hint) from None
        if not 0 <= score <= 1:
            raise UsageError(f"--min-score {part}: a score is between 0 and 1")
        if not equals:
            least = score
            continue
        if labels and name not in labels.names:
            raise UsageError(
                f"--min-score {part}: no label {name!r} is asked for",
                f"labels: {', '.join(labels.names)}",
            )
        by_label[name] = score
    return least, by_label


def spelled_min_scores(by_label: Mapping[str, float]) -> str:
    """What --min-score is told to say these; `min_scores` reads it back."""
    return ", ".join(_cell(f"{label}={score:g}") for label, score in by_label.items())


def _cell(part: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([part])
    return out.getvalue()
