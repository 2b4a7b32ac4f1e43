"""Labels, descriptions and roles as users give them: lists, files, names of the taxonomy.

Knows nothing of prompts; what it reads becomes one `LabelSet`, but for `read_unchecked`, whose
labels are to be reviewed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from b2ner_cli.core.paths import similar_path
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.labels import taxonomy
from b2ner_cli.labels.label_set import LabelSet, split_names


def as_labels(roles: Mapping[str, Sequence[str]], task: Task) -> LabelSet:
    """What a task asks for of types of events with their roles: the types, or all roles."""
    if task not in ABOUT_EVENTS:
        return LabelSet(tuple(roles))
    return LabelSet(tuple(dict.fromkeys(name for names in roles.values() for name in names)))


def parse_labels(values: Iterable[str]) -> tuple[LabelSet, list[str]]:
    """Read `--labels` values into one set, and notes on what was taken as what.

    Each value is a comma list, ``@FILE``, the name of an existing file, or ``taxonomy:`` with
    names of the taxonomy. Repeats between values are dropped with a note. Raises InputError for
    an unreadable file, UsageError for an unusable label.
    """
    names: dict[str, str] = {}
    notes: list[str] = []
    for value in values:
        if value.startswith(taxonomy.PREFIX):
            pairs = [(name, "") for name in taxonomy.named(value)]
        elif path := _file(value):
            pairs = read_label_file(path)
            if not value.startswith("@"):
                notes.append(f"--labels {value}: read as a file (write @{value} to say so)")
        else:
            pairs = [(name, "") for name in split_names(value)]
        for name, description in pairs:
            if name in names:
                notes.append(f"label {name!r} is given twice; once is used")
            names[name] = names.get(name) or description
    return LabelSet(tuple(names), {n: d for n, d in names.items() if d}), notes


def read_unchecked(value: str) -> list[str]:
    """The labels of a value as of `--labels`, or of a JSON list in a file, as they stand there.

    Empty and repeated labels are kept: they are what a review is for. Raises UsageError if there
    is none, InputError for an unreadable file.
    """
    path = _file(value)
    if value.startswith(taxonomy.PREFIX):
        return taxonomy.named(value)
    if path is None:
        names = split_names(value)
    elif path.suffix != ".json":
        names = [name for name, _ in read_label_file(path)]
    else:
        names = _read_json(path, "labels", "give a JSON list of labels")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: not a list of labels", 'give a JSON list: ["person", ...]')
    if not names:
        raise UsageError(f"no labels in {value!r}", 'name them: "person, movie title", or a file')
    return names


def _file(value: str) -> Path | None:
    """The file that a value names, by ``@`` or as it is."""
    if value.startswith("@"):
        return Path(value[1:])
    try:
        return Path(value) if Path(value).is_file() else None
    except (OSError, ValueError):  # too long for a name, or a NUL in it: a list, then
        return None


def read_label_file(path: Path) -> list[tuple[str, str]]:
    """Read (label, description) pairs, one a line; blank lines and ``#`` comments are skipped."""
    pairs = []
    hint = "give labels as a list: --labels 'person, movie title'"
    for line in read_text(path, "label file", hint).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, *description = re.split("[:：]", line, maxsplit=1)
        pairs.append((name.strip(), "".join(description).strip()))
    if not pairs:
        raise InputError(f"label file {path} holds no labels", "write one label a line")
    return pairs


def read_roles(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the roles of each type of event: a JSON object, as a data set's labels.json has it."""
    roles = _read_json(path, "roles")
    lists = roles.values() if isinstance(roles, dict) else ()
    if not lists or not all(
        isinstance(each, list) and each and all(isinstance(name, str) for name in each)
        for each in lists
    ):
        raise InputError(
            f"roles {path}: not an object of lists",
            'for example {"attack": ["attacker", "place"]}',
        )
    return {event: tuple(dict.fromkeys(names)) for event, names in roles.items()}


def read_descriptions(path: Path) -> dict[str, str]:
    """Read descriptions of labels: lines as in a label file, or a JSON object in a .json file."""
    if path.suffix != ".json":
        described: Any = dict(read_label_file(path))
    else:
        described = _read_json(path, "descriptions", "give lines of label: description")
        if not isinstance(described, dict):
            raise InputError(f"descriptions {path}: not an object of labels")
    for name, description in described.items():
        if not isinstance(description, str) or not description.strip():
            raise InputError(
                f"descriptions {path}: label {name!r} has none", "write label: description"
            )
    return {name: description.strip() for name, description in described.items()}


def read_text(path: Path, what: str, hint: str = "") -> str:
    """Read a file of labels. Raises InputError that calls it `what`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{what} {path} is not UTF-8 (byte {error.start})"
        raise InputError(message, "save it as UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        said = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {what} {path}: {said}", similar_path(path) or hint) from None


def _read_json(path: Path, what: str, hint: str = "") -> Any:
    try:
        return json.loads(read_text(path, what, hint))
    except json.JSONDecodeError as error:
        raise InputError(f"{what} {path}: malformed JSON: {error}", hint) from None
