"""Other ways to say a training document and its labels, so that a model learns to read both.

A data set asks the same labels of every document, under the same names: a model can learn the
set by heart and need not read the label list. Renamed labels, subsets of them, other surfaces
and other casing take that away. Facts only: a renamed label is a synonym, a replaced surface
stays annotated as it was.
"""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from b2ner_cli.core.document import Mention
from b2ner_cli.core.language import Language
from b2ner_cli.labels.synonyms import other_names

_SHORTEST = 3  # characters of a surface that is replaced: shorter ones stand inside other words


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often what is varied, each a share in [0, 1].

    `subset` of the label lists are a random part of the set's labels, `rename` of the labels
    take another name, `noise` of the texts are changed by `disturb`.
    """

    subset: float = 0.0
    rename: float = 0.0
    noise: float = 0.0


def rename(
    labels: Sequence[str],
    language: Language,
    share: float,
    rng: random.Random,
    own: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, str]:
    """Map each label to the name it is asked under: itself or, for `share` of them, another.

    `own` are other names that came with the text. No two labels of the list get the same name.
    """
    table = {**other_names(language), **own}
    asked = {label: label for label in labels}
    for label in labels:
        if share and label in table and rng.random() < share:
            name = rng.choice(table[label])
            if name not in asked and name not in asked.values():
                asked[label] = name
    return asked


def some(listed: Sequence[str], gold: Sequence[str], most: int, rng: random.Random) -> list[str]:
    """A random part of a label list, of any size up to `most`; 3 of 4 times with a gold label."""
    chosen = rng.sample(list(listed), rng.randint(1, min(most, len(listed))))
    if gold and not set(gold) & set(chosen) and rng.random() < 0.75:
        chosen[0] = rng.choice(list(gold))
    return chosen


def disturb(
    text: str,
    mentions: Sequence[Mention],
    surfaces: Mapping[str, Sequence[str]],
    rng: random.Random,
) -> tuple[str, tuple[Mention, ...]]:
    """Change a text along with its mentions; what cannot be changed safely stays as it is.

    One of: all in lower case, all in upper case, one mention replaced by another surface of its
    label (`surfaces` lists them), one replaced by an invented string.
    """
    how = rng.choice(("lower", "upper", "swap", "swap", "invent", "invent"))
    if how in ("lower", "upper"):
        change = str.lower if how == "lower" else str.upper
        changed = change(text)
        if len(changed) != len(text):
            return text, tuple(mentions)
        return changed, tuple(m._replace(surface=change(m.surface)) for m in mentions)
    if not mentions:
        return text, ()
    chosen = rng.choice(list(mentions))
    if how == "swap" and surfaces.get(chosen.label):
        new = rng.choice(surfaces[chosen.label])
    else:
        new = _invented(rng)
    if not _replaceable(text, chosen.surface, new, mentions):
        return text, tuple(mentions)
    changed = text.replace(chosen.surface, new)
    said = tuple(m._replace(surface=new) if m.surface == chosen.surface else m for m in mentions)
    if any(mention.surface not in changed for mention in said):  # one that overlapped it
        return text, tuple(mentions)
    return changed, said


def _replaceable(text: str, old: str, new: str, mentions: Sequence[Mention]) -> bool:
    """Whether every occurrence of `old` is a mention by itself, and `new` is news to the text."""
    if len(old) < _SHORTEST or old not in text or ";" in new or new in text:
        return False
    if any(m.surface != old and (old in m.surface or m.surface in old) for m in mentions):
        return False
    if text.count(old) != sum(mention.surface == old for mention in mentions):
        return False
    edges = itertools.pairwise(text.split(old))
    return not any(
        _joins(before[-1:], old[0]) or _joins(old[-1], after[:1]) for before, after in edges
    )


def _joins(one: str, other: str) -> bool:
    """Whether two characters side by side are of one word; Chinese writes words together."""
    return one.isalnum() and other.isalnum() and max(one, other) < "\u2e80"


def _invented(rng: random.Random) -> str:
    """A string no model has seen: a made-up name, a code, a number, a path or an address."""

    def run(alphabet: str, least: int, most: int) -> str:
        return "".join(rng.choices(alphabet, k=rng.randint(least, most)))

    lower, digits = string.ascii_lowercase, string.digits
    name = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4)))
    return rng.choice(
        (
            name.capitalize(),
            f"{name.capitalize()} {''.join(rng.choices(_SYLLABLES, k=2)).capitalize()}",
            f"{name.capitalize()}{run(digits, 1, 4)}",
            f"{run(string.ascii_uppercase, 2, 4)}-{run(digits, 2, 6)}",
            run(digits + "abcdef", 8, 24),
            f"{name}.{run(lower, 2, 3)}",
            f"{name}/{run(lower + digits, 3, 8)}",
            f"{run(lower, 3, 7)}@{name}.{run(lower, 2, 3)}",
            f"{run(digits, 1, 3)}.{run(digits, 1, 3)}.{run(digits, 1, 2)}",
        )
    )


_SYLLABLES = (
    "ba", "cor", "den", "el", "fi", "gra", "hol", "in", "jo", "kar", "lu", "mon", "ne", "or",
    "pra", "qui", "ras", "sel", "ta", "ul", "ver", "wen", "xi", "yor", "zan",
)  # fmt: skip
