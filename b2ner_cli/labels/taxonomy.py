"""The universal taxonomy of entity labels: what there is to ask for, and under which names.

    {"label": "person -> writer", "language": "en", "sure": "confirmed",
     "description": "A person who writes books, poems or plays", "mentions": ["Juno Aldous"],
     "data_sets": {"CrossNER_literature": "writer"}}

One such line a label in ``taxonomy.jsonl``. `data_sets` holds what each data set calls it.
A name is lower-case words that spell the definition out; a child has its parent before an arrow,
with spaces in English (``organization -> political party``) and without in Chinese
(``作品名->文字作品``), and there are two levels. Reads no data set and knows no model.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, Literal, get_args

from b2ner_cli.core.language import as_language
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import fold, split_names
from b2ner_cli.labels.synonyms import other_names

Sureness = Literal["confirmed", "given", "probable", "ours"]
SURE: Mapping[Sureness, str] = {
    "confirmed": "confirmed: written by the authors of B2NER or seen in their data",
    "given": "given: stands in the data of --data",
    "probable": "probable: in somebody else's mapping of the authors' data",
    "ours": "ours: in the authors' style, named by this project",
}
PREFIX = "taxonomy:"  # of a --labels value whose names come from here
_FILE = "taxonomy.jsonl"
_ARROW = re.compile(r"\s*->\s*")
_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+|\d+|[\u3400-\u9fff]+")
_HAN = re.compile("[\u3400-\u9fff]")
_WEIGHTS = {"label": 4.0, "other": 3.0, "sets": 1.5, "description": 1.5, "mentions": 0.5}


@dataclass(frozen=True, slots=True)
class TaxonomyLabel:
    """A label of the taxonomy; `sure` says where its name comes from."""

    label: str
    language: str
    sure: Sureness
    description: str = ""
    mentions: tuple[str, ...] = ()
    data_sets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.label.strip() or self.sure not in get_args(Sureness):
            raise ValueError(f"not a label of the taxonomy: {self.label!r}, {self.sure!r}")

    @property
    def parent(self) -> str | None:
        """What stands before the arrow, None for a label without one."""
        before, *after = _ARROW.split(self.label, maxsplit=1)
        return before if after else None

    @property
    def name(self) -> str:
        """How `--labels taxonomy:` calls it."""
        return f"{self.language}/{self.label}"

    @property
    def others(self) -> tuple[str, ...]:
        """Other names for it that `mini` has seen in training."""
        try:
            return other_names(as_language(self.language)).get(self.label, ())
        except UsageError:  # a language without templates
            return ()

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says of it."""
        return {
            "label": self.label,
            "language": self.language,
            "parent": self.parent,
            "sure": self.sure,
            "description": self.description or None,
            "mentions": list(self.mentions),
            "data_sets": dict(self.data_sets),
            "other_names": list(self.others),
        }


@functools.cache
def entries() -> tuple[TaxonomyLabel, ...]:
    """The whole taxonomy, sorted by language and label; read when first asked for."""
    text = resources.files("b2ner_cli.labels").joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(_entry(json.loads(line)) for line in text.splitlines())


def _entry(line: dict[str, Any]) -> TaxonomyLabel:
    return TaxonomyLabel(**line | {"mentions": tuple(line.get("mentions", ()))})


def with_sets(
    known: Sequence[TaxonomyLabel], sets: Iterable[tuple[str, str, Sequence[str]]]
) -> tuple[TaxonomyLabel, ...]:
    """The taxonomy and the labels of data sets: (language, name of the set, its labels)."""
    found = {(entry.language, entry.label): entry for entry in known}
    for language, name, labels in sets:
        for label in labels:
            entry = found.get((language, label)) or TaxonomyLabel(label, language, "given")
            sure: Sureness = "confirmed" if entry.sure == "confirmed" else "given"
            data_sets = {**entry.data_sets, name: label}
            found[language, label] = replace(entry, sure=sure, data_sets=data_sets)
    return tuple(sorted(found.values(), key=lambda e: (e.language, e.label.casefold(), e.label)))


def find(
    name: str, known: Sequence[TaxonomyLabel], language: str | None = None
) -> list[TaxonomyLabel]:
    """The entries of a name, in any case and with any spaces around an arrow.

    ``en/person`` names one language; else all of them count, or only `language`.
    """
    before, slash, after = name.partition("/")
    if slash and before in {entry.language for entry in known}:
        language, name = before, after
    wanted = fold(name)
    found = [e for e in known if fold(e.label) == wanted and language in (None, e.language)]
    return [entry for entry in found if entry.label == name] or found


def one(
    name: str, known: Sequence[TaxonomyLabel], language: str | None = None
) -> list[TaxonomyLabel]:
    """As `find`, but at least one: raises UsageError that names near ones for any other name."""
    if found := find(name, known, language):
        return found
    bare = name.partition("/")[2] or name
    spelled = {fold(entry.label): entry.label for entry in reversed(known)}
    close = [spelled[near] for near in difflib.get_close_matches(fold(bare), spelled, n=3)]
    close += [hit.label for hit, _ in search(bare, known, 3) if hit.label not in close]
    hint = f"did you mean {', '.join(close[:4])}?" if close else "b2ner labels list shows them all"
    raise UsageError(f"the taxonomy has no label {name!r}", hint)


def named(value: str) -> list[str]:
    """The labels that a ``--labels taxonomy:en/person,movie title,zh/人名`` names, as spelled here.

    A name without a language has that of the name before it; the first needs one only where
    languages share a name.
    """
    labels, language = [], None
    for name in (part.removeprefix(PREFIX).strip() for part in split_names(value)):
        if not name:
            continue
        found = one(name, entries(), language)
        if language is None and len({entry.label for entry in found}) > 1:
            raise UsageError(
                f"{name!r} is the name of {len(found)} labels",
                f"say which: {', '.join(PREFIX + entry.name for entry in found)}",
            )
        language = found[0].language
        labels.append(found[0].label)
    if not labels:
        raise UsageError(f"{PREFIX} without a label", f"for example --labels {PREFIX}en/person")
    return labels


# Search -------------------------------------------------------------------------------------------


def search(
    query: str, known: Sequence[TaxonomyLabel], most: int
) -> list[tuple[TaxonomyLabel, float]]:
    """The entries that share words with a query, best first, with how well they match, in 0..1.

    A word counts the more, the fewer entries have it; in a label more than in a description.
    """
    wanted = set(_words(query))
    if not wanted:
        return []
    indexed = [(entry, _weighted(entry)) for entry in known]
    spread = Counter(word for _, words in indexed for word in words)
    value = {word: math.log(1 + len(known) / (1 + spread[word])) for word in wanted}
    most_possible = sum(value.values()) * _WEIGHTS["label"]
    hits = []
    for entry, words in indexed:
        score = sum(value[word] * words.get(word, 0.0) for word in wanted) / most_possible
        if score:
            # Of two that have the words, the one that says nothing else comes first.
            score *= 0.8 + 0.2 / max(1, len(_words(entry.label)))
            names = {entry.label, *entry.others, *entry.data_sets.values()}
            hits.append((entry, 1.0 if query.strip() in names else round(score, 4)))
    hits.sort(key=lambda hit: (-hit[1], hit[0].language, hit[0].label))
    return hits[:most]


def _weighted(entry: TaxonomyLabel) -> dict[str, float]:
    """The words of an entry with the weight of the best place each stands at."""
    places = {
        "mentions": " ".join(entry.mentions),
        "description": entry.description,
        "sets": " ".join(entry.data_sets.values()),
        "other": " ".join(entry.others),
        "label": entry.label,
    }
    return {word: _WEIGHTS[place] for place, text in places.items() for word in _words(text)}


def _words(text: str) -> list[str]:
    """The words of a text without case and plural; Chinese in pairs of characters."""
    words: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if _HAN.match(word):
            words += [word[i : i + 2] for i in range(len(word) - 1)] or [word]
        elif word not in _STOP:
            words.append(singular(word))
    return words


_STOP_WORDS = (
    "a an and any as at for from in is it its kind of on one or other something that the to what "
    "where which who with"
)
_STOP = frozenset(_STOP_WORDS.split())


def singular(word: str) -> str:
    """An English noun without the ending of its plural; what only looks like one stays."""
    if len(word) < 4 or word in _LOOK_PLURAL or word.endswith(("ss", "us", "is")):
        return word
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"),
                            ("shes", "sh"), ("s", "")):  # fmt: skip
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word if word != "people" else "person"


_NO_PLURALS = (
    "news series species physics mathematics politics economics sports genus headquarters "
    "means kubernetes lens"
)
_LOOK_PLURAL = frozenset(_NO_PLURALS.split())
