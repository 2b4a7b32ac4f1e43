"""Better names for labels as people write them, only where one is sure; all others stay.

    PER -> person   B-ORG -> organization   movie_title, MovieTitle, Movie Titles -> movie title
    persn -> person   songs -> song   "city" in quotes -> city

A label that may be an ordinary word, in whatever language, is left alone: a word that merely looks
like a known one is none of this module's business. Knows no model.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from b2ner_cli.core.language import Language, as_language
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import fold
from b2ner_cli.labels.taxonomy import entries, singular

SOURCE = "--improve-labels"  # what reports call the names
_SCHEME = re.compile(r"[BIESLU]-(?=[A-Z])")  # the position in a tag of an annotation scheme
_CAPITALS = re.compile(r"[A-Z]+(?:[_ ][A-Z]+)*")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ACRONYM = re.compile(r"\b[A-Z]{2,}\b.*[a-z]|[a-z].*\b[A-Z]{2,}\b")  # beside other words
_QUOTED = re.compile(r"""(["'“‘„«`])(.+)(["'”’“»`])""")
_WORD = re.compile("[a-z]+")
_NOTHING = frozenset(("none", "null", "n/a", "O", "无", "没有"))
_LEAST = 5  # letters of a word that another may be a slip of; 6 where it is the whole label

_PERSON: Mapping[Language, str] = {
    "en": "person", "zh": "人名", "de": "Person", "nl": "persoon", "es": "persona",
}  # fmt: skip
_ORGANIZATION: Mapping[Language, str] = {
    "en": "organization", "zh": "组织机构名", "de": "Organisation", "nl": "organisatie",
    "es": "organización",
}  # fmt: skip
_LOCATION: Mapping[Language, str] = {
    "en": "location", "zh": "地名", "de": "Ort", "nl": "locatie", "es": "lugar",
}  # fmt: skip
_DATE: Mapping[Language, str] = {
    "en": "date", "zh": "日期", "de": "Datum", "nl": "datum", "es": "fecha",
}  # fmt: skip
# What annotation schemes write; in languages without a name of their own here in English.
_CODES: Mapping[str, Mapping[Language, str]] = {
    "PER": _PERSON, "PERS": _PERSON, "PERSON": _PERSON,
    "ORG": _ORGANIZATION, "ORGANIZATION": _ORGANIZATION, "ORGANISATION": _ORGANIZATION,
    "LOC": _LOCATION, "LOCATION": _LOCATION, "DATE": _DATE,
    "GPE": {"en": "geo-political entity", "zh": "地缘政治实体"},
    "FAC": {"en": "facility"}, "MISC": {"en": "miscellaneous", "zh": "其它"},
    "NORP": {"en": "nationality or religious or political group"},
    "VEH": {"en": "vehicle"}, "WEA": {"en": "weapon"}, "CARDINAL": {"en": "cardinal number"},
    "ORDINAL": {"en": "ordinal number"}, "PERCENT": {"en": "percentage"},
    "QUANTITY": {"en": "quantity with unit"}, "EVE": {"en": "event"}, "PROD": {"en": "product"},
}  # fmt: skip

# Words of some language, or a slip that is one, too, that differ by a slip from one of the
# taxonomy's; found among the words that the embedded model has tokens for.
_SLIP_WORDS = (
    "aard actin adress alam alum aonde arist ator autor band brad caracter cass celular clas "
    "clor cope county deine developper dink diretor efect effet emil evet feld figue filed fist "
    "frist frst funcion gene gener generaal gere gerne grop grup hors horus hose hous interet "
    "interets interst jornal jurnal langage mans materiaal meas medial meia membres mens mesure "
    "metod mooney move musc naturl numer objet oder ogran oner oran ordre orgaan pace pant "
    "parametr pary patent payer personnal persoon phoen pice pint plat poit pone pont prie "
    "principe proces produt rado rage raio regent roos rote roue sampe sampel sart satte sean "
    "seed seres sill simpel skil sort sorts sped spot spots standaard stat steaming strat "
    "suport systeem tile ting trasport truk tuck vale variabel vene vist"
)
_WORDS = frozenset(_SLIP_WORDS.split())


@dataclass(frozen=True, slots=True)
class BetterName:
    """What a label is better asked as, and what is wrong with it, in words behind its name."""

    label: str
    name: str
    trouble: str

    def __str__(self) -> str:
        return f"`{self.label}` {self.trouble} `{self.name}`"


@functools.lru_cache(10_000)
def better(label: str, language: Language = "en") -> BetterName | None:
    """The better name of a label for a prompt in that language; None where none is sure."""
    if label in _known():
        return None
    quoted = _QUOTED.fullmatch(label)
    bare = quoted[2].strip() if quoted else label
    if name := _of_code(bare, language):
        capitals = bare.replace("_", " ").lower() == name
        said = "is better in plain words:" if capitals else "is a code, models know"
        return BetterName(label, name, said)
    words = _words(bare)
    name = meant_by(words) or _one(words)
    if not name or name == label or (name == bare.lower() and _ACRONYM.search(bare)):
        return None
    if quoted:
        said = "is better without quotes:"
    elif words != bare:
        said = "is better in plain words:"
    else:
        said = "is better in the singular:" if singular(words) == name else "is close to"
    return BetterName(label, name, said)


def improving(labels: Iterable[str], language: Language, given: LabelMap | None = None) -> LabelMap:
    """The map of labels to their better names; those that `given` lists get the names it has.

    A better name that another label of the set is asked under is left to that one.
    """
    given = given or LabelMap({})
    own = {label: fold(given.asked(label)) for label in labels}
    names: dict[str, str] = {}
    taken = Counter(own.values())
    for label, spelled in own.items():
        found = None if label in given.names else better(label, language)
        wanted = fold(found.name) if found else ""
        if found and taken[wanted] == (wanted == spelled):
            names[label] = found.name
            taken[wanted] += wanted != spelled
    return LabelMap({**names, **given.names}, SOURCE)


def by_language(
    labels: Iterable[str], language: str, given: LabelMap | None = None
) -> dict[Language, dict[str, str]]:
    """What labels are better asked as, by the languages prompts may have; "auto" is by script."""
    listed = list(labels)
    spoken: tuple[Language, ...] = ("en", "zh") if language == "auto" else (as_language(language),)
    kept = given.names if given else {}
    found = {each: improving(listed, each, given).renamed(listed) for each in spoken}
    return {
        each: {label: name for label, name in names.items() if label not in kept}
        for each, names in found.items()
    }


def describe(labels: Sequence[str], language: str, given: LabelMap | None = None) -> str:
    """Which labels are asked under better names, in words; empty where none is."""
    first, *others = by_language(labels, language, given).values()
    said = []
    for label, name in first.items():
        chinese = next((n[label] for n in others if n.get(label, name) != name), "")
        said.append(f"{label} as {name}" + (f" (in Chinese {chinese})" if chinese else ""))
    return f"{SOURCE}: {', '.join(said)}" if said else ""


def doubts(labels: Iterable[str], given: LabelMap | None = None) -> Iterator[str]:
    """A line for each label that most likely costs entities as it is written.

    Labels that `given` lists are asked under other names, and raise none.
    """
    asked: dict[str, str] = {}
    renamed = given.names if given else {}
    for label in labels:
        if label in renamed:
            continue
        if label in _NOTHING or label.casefold() in _NOTHING:
            yield f"`{label}` reads as the answer for a text without entities"
        elif fold(label) in asked:
            yield f"`{label}` differs from `{asked[fold(label)]}` in case or spaces only"
        elif found := better(label):
            yield str(found)
        asked.setdefault(fold(label), label)


def meant_by(words: str) -> str:
    """The one English label that words are a slip of: a letter left out, doubled, or swapped.

    "" if there is none. Slips at an end are none: there, words of other languages differ (persona,
    producto, organisme).
    """
    found = () if words in _known() else _slips().get(words, ())
    return next(iter(found)) if len(found) == 1 else ""


def is_english(word: str) -> bool:
    """Whether a lower-case word is one of English labels, in the singular or plural."""
    return singular(word) in _english_words()


def _of_code(label: str, language: Language) -> str:
    """The words for a name in capitals, "" for one that is no code we know."""
    if _SCHEME.match(label) and label not in _CODES:
        return _of_code(label[2:], language)
    if not _CAPITALS.fullmatch(label):
        return ""
    if names := _CODES.get(label):
        return names.get(language, names["en"])
    words = label.replace("_", " ").lower()
    parts = [part for part in words.split(" ") if len(part) > 3 or len(words) > len(part) > 1]
    return words if words in _english() or any(map(is_english, parts)) else ""


def _words(label: str) -> str:
    """A label's words apart, in lower case where they are English beyond doubt."""
    if label.isupper():
        return label
    apart = " ".join(_CAMEL.sub(" ", label).replace("_", " ").split())
    lower = apart.lower()
    parts = lower.split()
    english = len(parts) > 1 and all(map(is_english, parts))
    if (lower in _english() and len(parts) > 1) or english:
        return lower
    return " ".join(label.replace("_", " ").split()) if "_" in label else label


def _one(words: str) -> str:
    """The singular of English words that are known in the singular."""
    one = " ".join((*words.split(" ")[:-1], singular(words.split(" ")[-1])))
    return one if one in _english() and words not in _known() else words


# What is known ------------------------------------------------------------------------------------


@functools.cache
def _known() -> frozenset[str]:
    """Every name of the taxonomy, in all languages, as it is spelled there."""
    return frozenset(name for entry in entries() for name in (entry.label, *_plain(entry.others)))


def _plain(names: Iterable[str]) -> Iterator[str]:
    # Training had names in capitals, too, and models know the words better all the same.
    return (name for name in names if not _CAPITALS.fullmatch(name) or name in ("OS", "UI"))


@functools.cache
def _english() -> frozenset[str]:
    return frozenset(
        name for e in entries() if e.language == "en" for name in (e.label, *_plain(e.others))
    )


@functools.cache
def _english_words() -> frozenset[str]:
    """The words of English labels, in the singular."""
    labels = (entry.label for entry in entries() if entry.language == "en")
    return frozenset(singular(w) for label in labels for w in _WORD.findall(label.lower()))


@functools.cache
def _slips() -> Mapping[str, set[str]]:
    """English labels by all that they become with one slip."""
    found: dict[str, set[str]] = defaultdict(set)
    for label in {entry.label for entry in entries() if entry.language == "en"}:
        parts = label.split(" ")
        least = _LEAST if len(parts) > 1 else _LEAST + 1
        for at, word in enumerate(parts):
            if len(word) >= least and _WORD.fullmatch(word):
                for slip in slips_of(word) - _WORDS:
                    found[" ".join((*parts[:at], slip, *parts[at + 1 :]))].add(label)
    return found


def slips_of(word: str) -> set[str]:
    """What a word becomes with one slip: it begins as before, and does not end one letter off."""
    inner = range(1, len(word) - 1)
    left_out = {word[:i] + word[i + 1 :] for i in inner}
    swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner}
    doubled = {word[:i] + word[i - 1 :] for i in range(1, len(word))}
    return (left_out | swapped | doubled) - {word}
