"""Label sets: what a user asks for, checked once, in the order it will stand in the prompt.

    "person, movie title, 公司"                     a comma list
    "@labels.txt", one line each:                   a file, descriptions optional
        person: a named human being
        organization -> company
    "organization->company"                         a child of the taxonomy is an ordinary label
    "taxonomy:en/person,movie title"                names of the shipped taxonomy, as it spells them

Knows nothing of models; a set too long for one prompt is cut into groups, never truncated.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from b2ner_cli.errors import InputError, UsageError

Language = Literal["en", "zh", "de", "nl", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

# The three separators of prompt and answer, their full-width twins, and line breaks: a label
# that holds one could not be read back from an answer.
_FORBIDDEN = re.compile(r"[,;:，；：\r\n\x00-\x08\x0b\x0c\x0e-\x1f]")

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0010ffff]+")


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Distinct labels in prompt order, with descriptions for some, all or none of them."""

    names: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("no labels given", 'name them: --labels "person, movie title"')
        if len(set(self.names)) != len(self.names):
            twice = next(n for i, n in enumerate(self.names) if n in self.names[:i])
            raise UsageError(f"label {twice!r} is listed twice")
        for name in self.names:
            if not name or name != name.strip():
                raise UsageError(f"label {name!r} is empty or has spaces around it")
            if bad := _FORBIDDEN.search(name):
                raise UsageError(
                    f"label {name!r} holds {bad.group()!r}, which separates labels and entities "
                    "in the model's language",
                    'use a word or "->" instead, e.g. "organization->company"',
                )
        for name in self.descriptions:
            if name not in self.names:
                raise UsageError(f"description for {name!r}, which is not in the label set")

    def described(self, descriptions: Mapping[str, str]) -> LabelSet:
        """The set with these descriptions, of those that are its own labels', before its own."""
        known = {n: d for n, d in descriptions.items() if n in self.names}
        return replace(self, descriptions={**self.descriptions, **known})

    def subset(self, names: Sequence[str]) -> LabelSet:
        """The set reduced to `names`, in their order, with their descriptions."""
        kept = {n: self.descriptions[n] for n in names if n in self.descriptions}
        return replace(self, names=tuple(names), descriptions=kept)


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
            from b2ner_cli.taxonomy import named

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


def split_names(text: str) -> list[str]:
    """Split a comma list (``,`` or ``，``), dropping spaces around names and empty names."""
    return [name for part in re.split("[,，]", text) if (name := part.strip())]


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


def detect_language(text: str) -> Language:
    """zh where Han characters are at least a third of the letters, else en."""
    rest = _HAN.sub("", text)
    han = len(text) - len(rest)
    # Which of the rest are letters matters only where it comes down to them.
    if not han or han * 3 >= len(text):
        return "zh" if han else "en"
    return "zh" if han * 3 >= han + sum(map(str.isalpha, rest)) else "en"


def as_language(name: str) -> Language:
    """Check a language code against the templates there are."""
    for language in LANGUAGES:
        if language == name:
            return language
    raise UsageError(f"no template for language {name!r}", f"choose from {' '.join(LANGUAGES)}")


def group_labels(labels: LabelSet, fits: Callable[[LabelSet], bool]) -> list[LabelSet]:
    """Cut a set into as few consecutive groups as `fits` allows; most sets are one group.

    Raises UsageError when a single label does not fit.
    """
    if fits(labels):
        return [labels]
    if len(labels.names) == 1:
        name = labels.names[0]
        raise UsageError(
            f"label {name[:60] + '...' * (len(name) > 60)!r} with its description does not fit the "
            "model's context",
            "shorten it, give a smaller --max-answer, or take a model with a longer context",
        )
    half = len(labels.names) // 2
    first, second = labels.subset(labels.names[:half]), labels.subset(labels.names[half:])
    return group_labels(first, fits) + group_labels(second, fits)


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
