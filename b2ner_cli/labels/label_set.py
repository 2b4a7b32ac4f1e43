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

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from b2ner_cli.core.text import SURROGATE
from b2ner_cli.errors import UsageError

# The three separators of prompt and answer, their full-width twins, and line breaks: a label
# that holds one could not be read back from an answer.
_FORBIDDEN = re.compile(r"[,;:，；：\r\n\x00-\x08\x0b\x0c\x0e-\x1f]")


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
            if SURROGATE.search(name):
                raise UsageError(f"label {name!r} is not UTF-8", "set LC_ALL to a UTF-8 locale")
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


def split_names(text: str) -> list[str]:
    """Split a comma list (``,`` or ``，``), dropping spaces around names and empty names."""
    return [name for part in re.split("[,，]", text) if (name := part.strip())]


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


def fold(label: str) -> str:
    """What spellings of a label that answers do not tell apart have in common."""
    return " ".join(label.replace("->", " -> ").split()).casefold()
