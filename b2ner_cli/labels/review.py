"""Review a label set against the naming rules of the taxonomy: what is wrong, and what to say.

A model knows a label by its words alone. What reads as two things, what two labels share, and
what nobody else calls so costs entities; each `LabelFinding` names one such trouble. An "error"
cannot be asked at all, a "warning" most likely costs entities, a "note" may. Knows no model.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from b2ner_cli.core.language import detect_language
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.better_names import is_english, meant_by
from b2ner_cli.labels.label_set import LabelSet, fold
from b2ner_cli.labels.taxonomy import TaxonomyLabel, entries, find, singular

Severity = Literal["error", "warning", "note"]
_LONGEST = 6  # words of a label; the longest of the authors' has five
_MOST = 18  # labels of a prompt in training
_CODE = re.compile(r"(?:[BIESLU]-)?[A-Z][A-Z0-9]*(?:[._][A-Z0-9]+)*")
_ACRONYMS = frozenset(("DNA", "RNA", "URL"))  # that are labels of the taxonomy
_SNAKE = re.compile(r"[_/.]|(?<=[a-z])(?=[A-Z])")
_PAIRED = re.compile(r"""["'“”‘’()\[\]{}<>|\\]""")
_NOTHING = frozenset(("none", "null", "na", "n/a", "o", "无", "没有"))

# Words that data sets use for very different things, with what to say instead.
_AMBIGUOUS: Mapping[str, str] = {
    "name": "person, organization, or name of what",
    "title": "movie title, job title, book",
    "type": "type of what, as in vehicle type",
    "time": "time of day, date or period, duration",
    "work": "creative work, occupation",
    "object": "physical object, product",
    "thing": "physical object, product",
    "entity": "person, organization, location",
    "group": "organization -> group or band, political party",
    "character": "character name",
    "rating": "movie age rating, rating value",
    "position": "job title, spatial relation",
    "state": "state of a country: state or province; condition: weather condition",
    "field": "research field",
    "task": "research task",
    "instrument": "musical instrument, laboratory device",
    "party": "organization -> political party, contract party",
    "value": "amount of money, rating value, quantity with unit",
    "product": "product or system, food, brand",
    "subject": "academic discipline, news topic",
    "class": "class name, vehicle type",
    "other": "miscellaneous",
    "others": "miscellaneous",
    "misc": "miscellaneous",
    "名称": "人名、产品名、作品名",
    "名字": "人名、产品名、作品名",
    "类型": "作品类型、场所类型",
    "东西": "产品名、商品名",
    "主体": "组织机构名->公司、人名",
    "客体": "组织机构名->公司、人名",
    "对象": "评价对象、人名",
}  # fmt: skip


_BROADER: Mapping[str, tuple[str, ...]] = {
    "location": ("country", "city", "state", "facility", "river", "road", "geo-political entity",
                 "natural location", "point of interest", "area"),
    "organization": ("company", "business name", "educational institution", "political party",
                     "group", "university"),
    "creative work": ("book", "song", "album", "movie title", "poem", "literary work"),
    "work of art": ("book", "song", "album", "movie title", "poem", "literary work"),
    "product": ("vehicle", "software", "food", "drug", "brand"),
    "chemical": ("drug", "chemical compound", "chemical element"),
    "organism": ("animal", "plant", "species"),
    "date or period": ("date", "year or decade", "time period"),
    "miscellaneous": ("nationality", "event", "award"),
    "地名": ("国家", "城市", "省份", "景点"),
    "组织机构名": ("公司", "公司或机构", "银行名"),
    "作品名": ("书名", "电影名", "歌曲", "专辑"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelFinding:
    """One trouble with a label: `kind` for programs, `message` and `suggestion` for people."""

    label: str
    severity: Severity
    kind: str
    message: str
    suggestion: str = ""

    def as_dict(self) -> dict[str, str | None]:
        """Return what ``--json`` says of it."""
        return asdict(self) | {"suggestion": self.suggestion or None}


def review(labels: Sequence[str]) -> list[LabelFinding]:
    """All that is wrong with a label set, errors first, else in the order of its labels."""
    found: list[LabelFinding] = []
    for label in dict.fromkeys(labels):
        usable = _unusable(label)
        found += [usable] if usable else _of_a_label(label)
    found += _of_the_set(labels)
    order = {severity: rank for rank, severity in enumerate(("error", "warning", "note"))}
    return sorted(found, key=lambda finding: order[finding.severity])


def _of_a_label(label: str) -> list[LabelFinding]:
    named_badly = [f for rule in _SPELLINGS if (f := rule(label))]
    # What those suggest is what a better-known name would be found for.
    better = None if named_badly else _better_known(label)
    return [*named_badly, *(f for f in (better, _ambiguous(label), _odd(label)) if f)]


# One label ----------------------------------------------------------------------------------------


def _unusable(label: str) -> LabelFinding | None:
    try:
        LabelSet((label,))
    except UsageError as error:
        bare = " ".join(re.sub(r"[,;:，；：\s\x00-\x1f]+", " ", label).split())
        return LabelFinding(label, "error", "characters", error.message, bare)
    if label.casefold() in _NOTHING:
        message = "reads as the answer for a text without entities"
        return LabelFinding(label, "error", "nothing", message, "miscellaneous")
    return None


def _code(label: str) -> LabelFinding | None:
    if not _CODE.fullmatch(label) or label in _ACRONYMS:
        return None
    bare = re.sub(r"^[BIESLU]-", "", label)
    instead = " or ".join(_source_names().get(bare, ())[:4])
    if bare.casefold() in _AMBIGUOUS:
        instead = _AMBIGUOUS[bare.casefold()]
    elif not instead and find(bare, entries()):
        instead = bare.casefold()
    said = "an upper-case code of an annotation scheme: models know words"
    return LabelFinding(label, "warning", "code", said, instead)


def _spelling(label: str) -> LabelFinding | None:
    """Title case, snake_case and camelCase; what is left is lower-case words."""
    if _CODE.fullmatch(label):
        return None
    if label in _known():
        if label == label.lower() or label.lower() not in _known():
            return None
        said = "capitals, as in German: in English labels are lower-case words"
        return LabelFinding(label, "note", "spelling", said, label.lower())
    bare = " ".join(_SNAKE.sub(" ", label.replace("->", "\0")).replace("\0", "->").split())
    words = " ".join(w if w.isupper() else w.lower() for w in bare.split(" "))
    foreign = not all(is_english(word.lower()) for word in bare.split(" "))
    if words == label or (bare == label and (foreign or detect_language(label) == "zh")):
        return None
    what = "words joined by signs" if bare != label else "capitals"
    return LabelFinding(label, "warning", "spelling", f"{what}: labels are lower-case words", words)


def _arrow(label: str) -> LabelFinding | None:
    parts = [part.strip() for part in label.split("->")]
    if len(parts) == 1:
        return None
    if not all(parts):
        said, instead = "an arrow with nothing on one side", next(filter(None, parts), "")
        return LabelFinding(label, "error", "arrow", said, instead)
    joint = "->" if detect_language(label) == "zh" else " -> "
    if len(parts) > 2:
        said = f"{len(parts)} levels: the taxonomy has two"
        return LabelFinding(label, "warning", "arrow", said, joint.join((parts[0], parts[-1])))
    if joint.join(parts) != label:
        said = f"in {'Chinese' if joint == '->' else 'English'} the arrow is written {joint!r}"
        return LabelFinding(label, "note", "arrow", said, joint.join(parts))
    return None


def _plural(label: str) -> LabelFinding | None:
    if label in _known() or not label.isascii() or _CODE.fullmatch(label):
        return None
    *before, last = _SNAKE.sub(" ", label).lower().split(" ")
    one = singular(last)
    if one == last or not is_english(one):
        return None
    singular_label = " ".join((*before, one))
    return LabelFinding(
        label, "warning", "plural", "a plural: labels name one thing", singular_label
    )


def _ambiguous(label: str) -> LabelFinding | None:
    instead = _AMBIGUOUS.get(label.casefold())
    if _CODE.fullmatch(label):
        return None
    if instead:
        severity: Severity = "note" if label in _known() else "warning"
        return LabelFinding(label, severity, "ambiguous", "can mean different things", instead)
    meant = _like(label, _source_names().get(label, ()))
    if len(meant) > 1 and label not in _known():
        said = f"data sets call {len(meant)} different things so"
        return LabelFinding(label, "warning", "ambiguous", said, " or ".join(meant[:4]))
    return None


def _better_known(label: str) -> LabelFinding | None:
    if label in _known() or _CODE.fullmatch(label) or label.casefold() in _AMBIGUOUS:
        return None
    known = _like(label, _other_names().get(fold(label), ()))
    if len(known) == 1:
        return LabelFinding(label, "note", "better known", "has a better-known name", known[0])
    if known:
        said = f"may be any of {len(known)} labels"
        return LabelFinding(label, "note", "better known", said, " or ".join(known[:4]))
    if meant := meant_by(fold(label)):
        return LabelFinding(label, "note", "better known", "a spelling of", meant)
    return None


def _residual(label: str) -> LabelFinding | None:
    if "其他" not in label:
        return None
    said = "the authors write the rest as 其它"
    return LabelFinding(label, "note", "better known", said, label.replace("其他", "其它"))


def _odd(label: str) -> LabelFinding | None:
    if signs := sorted(set(_PAIRED.findall(label.replace("->", "")))):
        bare = " ".join(_PAIRED.sub(" ", label.replace("->", "→")).replace("→", "->").split())
        said = f"holds {' '.join(signs)}, which answers seldom repeat"
        return LabelFinding(label, "warning", "signs", said, bare)
    if len(label.split()) > _LONGEST + label.count("->"):
        said = f"{len(label.split())} words: say it in a few, and the rest as a description"
        return LabelFinding(label, "note", "long", said, "label: description, in a label file")
    if re.match(r"(a|an|the)\s(?!->)", label, re.IGNORECASE):
        return LabelFinding(label, "note", "article", "an article", label.split(maxsplit=1)[1])
    if label[-1].isdigit():
        return LabelFinding(label, "note", "digit", "ends in a digit: what is it that is numbered?")
    return None


_SPELLINGS: tuple[Callable[[str], LabelFinding | None], ...] = (
    _code, _spelling, _arrow, _plural, _residual,
)  # fmt: skip


# The set ------------------------------------------------------------------------------------------


def _of_the_set(labels: Sequence[str]) -> Iterator[LabelFinding]:
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            yield LabelFinding(label, "error", "twice", "is listed twice", "leave one out")
        seen.add(label)
    distinct = [label for label in dict.fromkeys(labels) if label.strip()]
    told: set[str] = set()
    for one, other in itertools.combinations(distinct, 2):
        # Once a label has been said to be too much, what else it is too close to is noise.
        if not {one, other} & told and (finding := _pair(one, other)):
            told |= {finding.label} if finding.severity != "note" else set()
            yield finding
    if len(distinct) > _MOST:
        said = f"{len(distinct)} labels: models were trained on {_MOST} at once at most"
        yield LabelFinding("", "note", "many", said, "ask for what the documents can hold")
    spoken = {detect_language(label): label for label in distinct}
    if len(spoken) > 1:
        said = f"two languages, as in {' and '.join(map(repr, spoken.values()))}"
        yield LabelFinding("", "note", "languages", said, "name labels in the documents' language")


def _pair(one: str, other: str) -> LabelFinding | None:
    """What is wrong with two labels side by side."""
    if fold(one) == fold(other):
        said = f"differs from {one!r} in case or spaces only"
        return LabelFinding(other, "error", "twice", said, "leave one out")
    if _bare(one) == _bare(other) or _one_letter_apart(one, other):
        said = f"too close to {one!r}: answers will mix them up"
        return LabelFinding(
            other, "warning", "close", said, "leave one out, or say what tells them apart"
        )
    meanings = _meanings(one) & _meanings(other)
    if meanings and not (one in _known() and other in _known()):
        said = f"means the same as {one!r}: both are {sorted(meanings)[0]!r}"
        return LabelFinding(other, "warning", "overlap", said, "leave one out")
    for parent, child in ((one, other), (other, one)):
        if fold(child).startswith(f"{fold(parent)} ->"):
            said = f"{parent!r} holds it, too: the model must choose"
            rest = "其它" if detect_language(parent) == "zh" else "other"
            joint = "->" if rest == "其它" else " -> "
            return LabelFinding(
                child, "note", "overlap", said, f"{parent}{joint}{rest} for the rest"
            )
        if child in _BROADER.get(parent, ()):
            said = f"{parent!r} holds it, too, by itself"
            return LabelFinding(child, "note", "overlap", said, "sure, if the model is to choose")
        if set(re.split(" or ", fold(child))) < set(re.split(" or ", fold(parent))):
            said = f"{parent!r} holds it, too: the model must choose"
            return LabelFinding(child, "warning", "overlap", said, "leave one out")
    return None


def _bare(label: str) -> tuple[str, ...]:
    """The words of a label in any order, without what says only that it is a name."""
    words = [singular(w) for w in re.split(r"[\s_\-/>]+", fold(label)) if w]
    kept = [w for w in words if w not in ("name", "of", "the", "a", "an", "mention")]
    return tuple(
        sorted(word.removesuffix("名称").removesuffix("名") or word for word in kept or words)
    )


def _one_letter_apart(one: str, other: str) -> bool:
    """Whether a slip of one letter makes one label of the other; short ones always are."""
    if min(len(one), len(other)) < 5 or abs(len(one) - len(other)) > 1 or not one.isascii():
        return False
    matched = difflib.SequenceMatcher(None, fold(one), fold(other), autojunk=False)
    same = sum(block.size for block in matched.get_matching_blocks())
    return max(len(one), len(other)) - same <= 1


@functools.cache
def _meanings(label: str) -> frozenset[str]:
    """The labels of the taxonomy that a label stands for; itself if it stands there."""
    if found := find(label, entries()):
        return frozenset(entry.label for entry in found)
    if _CODE.fullmatch(label):
        return frozenset(_source_names().get(re.sub(r"^[BIESLU]-", "", label), ()))
    named_so = {*_other_names().get(fold(label), ()), *_source_names().get(label, ())}
    # A word that may be several things is complained of as such.
    certain = len(named_so) == 1 and label.casefold() not in _AMBIGUOUS
    return frozenset(named_so if certain else ())


def _like(label: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that are in the label's language, as far as that can be told."""
    languages = {name: {e.language for e in find(name, entries())} for name in names}
    if any("en" in each for each in languages.values()) or is_english(fold(label)):
        return tuple(name for name in names if "en" in languages[name])
    if detect_language(label) == "zh":
        return tuple(name for name in names if "zh" in languages[name])
    # German nouns begin with a capital, and words that do not are no German.
    alike = (name for name in names if name[:1].isupper() == label[:1].isupper())
    return tuple(name for name in alike if "zh" not in languages[name])


# What the taxonomy knows --------------------------------------------------------------------------


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(entry.label for entry in entries())


@functools.cache
def _source_names() -> Mapping[str, tuple[str, ...]]:
    """What data sets call by a name: labels of the taxonomy, those of most sets first."""
    return _inverted((name, entry) for entry in entries() for name in entry.data_sets.values())


@functools.cache
def _other_names() -> Mapping[str, tuple[str, ...]]:
    return _inverted((fold(name), entry) for entry in entries() for name in entry.others)


def _inverted(pairs: Iterator[tuple[str, TaxonomyLabel]]) -> Mapping[str, tuple[str, ...]]:
    labels: dict[str, dict[str, TaxonomyLabel]] = defaultdict(dict)
    for name, entry in pairs:
        labels[name].setdefault(entry.label, entry)
    return {
        name: tuple(sorted(found, key=lambda label: -len(found[label].data_sets)))
        for name, found in labels.items()
    }
