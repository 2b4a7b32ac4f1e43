"""Labels, descriptions and roles as users give them: lists, files, names of the taxonomy.

Knows nothing of prompts; what it reads becomes one `LabelSet`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import InputError
from b2ner_cli.labels.label_set import LabelSet, split_names


def as_labels(roles: Mapping[str, Sequence[str]], task: Task) -> LabelSet:
    """What a task asks for of types of events with their roles: the types, or all roles."""
    if task not in ABOUT_EVENTS:
        return LabelSet(tuple(roles))
    return LabelSet(tuple(dict.fromkeys(name for names in roles.values() for name in names)))


def parse_labels(values: Iterable[str]) -> tuple[LabelSet, list[str]]:
    """Read `--labels` values into one set, and notes on what was taken as what.

    Each value is a comma list, ``@FILE``, the name of an existing file, or ``taxonomy:`` with
    names of the taxonomy. Repeats between
    values are dropped with a note. Raises InputError for an unreadable file, UsageError for an
    unusable label.
    """
    names: dict[str, str] = {}
    notes: list[str] = []
    for value in values:
        if value.startswith("taxonomy:"):
            # Imported here: the taxonomy is written in terms of this module.
            from b2ner_cli.labels.taxonomy import named

            pairs = [(name, "") for name in named(value)]
        elif value.startswith("@"):
            pairs = read_label_file(Path(value[1:]))
        elif _is_file(value):
            notes.append(f"--labels {value}: read as a file (write @{value} to say so)")
            pairs = read_label_file(Path(value))
        else:
            pairs = [(name, "") for name in split_names(value)]
        for name, description in pairs:
            if name in names:
                notes.append(f"label {name!r} is given twice; once is used")
            names[name] = names.get(name) or description
    return LabelSet(tuple(names), {n: d for n, d in names.items() if d}), notes


def read_label_file(path: Path) -> list[tuple[str, str]]:
    """Read (label, description) pairs, one a line; blank lines and ``#`` comments are skipped."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read label file {path}: {error.strerror}",
            _near_file(path) or "give labels as a list: --labels 'person, movie title'",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"label file {path} is not UTF-8 (byte {error.start})", "save it as UTF-8 text"
        ) from None
    pairs = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, *description = re.split("[:：]", line, maxsplit=1)
        pairs.append((name.strip(), "".join(description).strip()))
    if not pairs:
        raise InputError(f"label file {path} holds no labels", "write one label a line")
    return pairs


def read_roles(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the roles of each type of event: a JSON object, as a data set's labels.json has it."""
    try:
        roles = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read roles {path}: {error.strerror}", _near_file(path)) from None
    except ValueError as error:
        raise InputError(f"roles {path}: malformed JSON: {error}") from None
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
        described = dict(read_label_file(path))
    else:
        try:
            described = json.loads(path.read_bytes())
        except OSError as error:
            hint = _near_file(path) or "give lines of label: description"
            raise InputError(f"cannot read descriptions {path}: {error.strerror}", hint) from None
        except ValueError as error:
            raise InputError(f"descriptions {path}: malformed JSON: {error}") from None
        if not isinstance(described, dict):
            raise InputError(f"descriptions {path}: not an object of labels")
    for name, description in described.items():
        if not isinstance(description, str) or not description.strip():
            raise InputError(
                f"descriptions {path}: label {name!r} has none", "write label: description"
            )
    return {name: description.strip() for name, description in described.items()}


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):  # too long for a name, or a NUL in it: a list, then
        return False


def _near_file(path: Path) -> str:
    try:
        siblings = [p.name for p in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else ""
