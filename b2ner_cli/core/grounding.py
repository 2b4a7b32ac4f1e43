"""Give mentions their place in the text: surfaces in, code-point offsets out.

A surface is looked for as said, then with case, width, spaces, quotes and dashes folded; an
entity's text is always the document's. What the text does not hold comes back as unlocated.
Knows neither models nor chunks; nothing a mention or a text holds makes it raise.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter

from b2ner_cli.core.document import Entity, How, Mention

Span = tuple[int, int]

_PLACE = attrgetter("start", "end", "label")

# Occurrences inside words that are looked at before the search for a whole word is given up:
# only texts of megabytes with a surface of one or two letters come this far.
_PATIENCE = 20_000
# Likewise for occurrences inside longer surfaces, and for those of one surface in another.
_CROWDED, _REPEATS = 1000, 4

# Written without spaces between words, so that a word's edge cannot be seen from its letters.
_CJK = r"\u2e80-\u2fdf\u3001-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff" + (
    r"\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(rf"[{_CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")

# Characters without a width of their own: soft hyphen, joiners, direction marks, variation
# selectors, byte order mark.
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    + (r"\ufeff\U000e0000-\U000e01ef")
)
_DROP = re.compile(f"[{_IGNORABLE}]+")

# What continues an emoji: joiner, variation selectors, skin tones.
_JOINED = frozenset("\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")

# What models write for one another: quotes, dashes, the dot between foreign name parts.
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′‵`´＇ʼ\u0384\u1fef\u1ffd", "'"),
        **dict.fromkeys("“”„‟″‶〝〞〟＂", '"'),
        **dict.fromkeys("‐‑‒–—―−﹘﹣－⁃", "-"),
        **dict.fromkeys("·•・‧∙⋅･", "·"),
    }
)


def locate(
    text: str, mentions: Sequence[Mention], *, all_occurrences: bool = False
) -> tuple[list[Entity], list[Mention]]:
    """Return the mentions found in the text, sorted by start, end, label, and those not found.

    The k-th mention of a surface takes its k-th occurrence: one that cuts no word where there
    is such, one that does not lie inside a longer mention's span where there is such. A mention
    without an occurrence left goes on the first one if it brings a new label; a repeat of label
    and surface is dropped, so that mentions less entities less unlocated counts the repeats.
    With `all_occurrences` each found surface is tagged wherever else it stands, if no entity of
    its label is there already.
    """
    plain = _plain(text, mentions)
    if all_occurrences or None in plain:
        return _searched(text, mentions, plain, all_occurrences)
    entities = [entity for entity in plain if entity is not None]
    entities.sort()  # no two start at one place: the shorter would be a part of the longer
    return entities, []


def _plain(text: str, mentions: Sequence[Mention]) -> list[Entity | None]:
    """The entities of mentions where these first stand as said; None where that may be wrong.

    It is right where the mention cuts no word there and no other surface may hold it: most do,
    and need no search. Only a mention found by folding can have taken such a place.
    """
    crowd = "\0".join([mention.surface for mention in mentions]).casefold()
    entities: list[Entity | None] = []
    for label, said, score in mentions:
        surface = said.strip()
        part = surface.casefold()
        entity = None
        if part and label and crowd.find(part) == crowd.rfind(part):
            start = text.find(surface)
            end = start + len(surface)
            if start >= 0 and not _cuts_word(text, start, end):
                entity = Entity(start, end, label, surface, score)
        entities.append(entity)
    return entities


def _searched(
    text: str,
    mentions: Sequence[Mention],
    plain: Sequence[Entity | None],
    all_occurrences: bool,
) -> tuple[list[Entity], list[Mention]]:
    """What `locate` gives, where some mention is not plain."""
    surfaces = [mention.surface.strip() for mention in mentions]
    search = _Search(text, {surface: surface.casefold() for surface in surfaces})
    entities: list[Entity] = []
    unlocated: list[Mention] = []
    found: list[Mention] = []
    labels_at: dict[Span, list[str]] = {}
    for mention, surface, there in zip(mentions, surfaces, plain, strict=True):
        how: How = "exact"
        span = (there.start, there.end) if there else None
        if span is None or span in labels_at:
            places = search.places(surface) if mention.label else _NOWHERE
            how, first = places.how, places.at(0)
            if first is None:
                unlocated.append(mention)
                continue
            free = search.free(places, labels_at)
            if free is None and (
                mention.label in labels_at.get(first, ()) or _repeats(mention, found)
            ):
                continue
            span = free or first
        labels_at.setdefault(span, []).append(mention.label)
        found.append(mention)
        start, end = span
        entities.append(Entity(start, end, mention.label, text[start:end], mention.score, how))
    if all_occurrences:
        found.sort(key=lambda mention: -len(mention.surface))
        entities.extend(_others(text, entities, found, search))
    entities.sort(key=_PLACE)
    return entities, unlocated


def _repeats(mention: Mention, found: Iterable[Mention]) -> bool:
    return any(m.label == mention.label and m.surface == mention.surface for m in found)


def _others(
    text: str, entities: Sequence[Entity], found: Sequence[Mention], search: _Search
) -> Iterator[Entity]:
    """The other occurrences of every found surface, clear of the entities of their label."""
    covered: dict[str, list[Span]] = {}
    for entity in entities:
        covered.setdefault(entity.label, []).append((entity.start, entity.end))
    covered = {label: _union(spans) for label, spans in covered.items()}
    seen: set[tuple[str, str]] = set()
    for mention in found:
        if (mention.label, mention.surface) in seen:
            continue
        seen.add((mention.label, mention.surface))
        places = search.places(mention.surface.strip())
        spans = covered[mention.label]
        fresh = [span for span in places if not _overlaps(spans, span)]
        covered[mention.label] = sorted(spans + fresh)
        for start, end in fresh:
            yield Entity(start, end, mention.label, text[start:end], mention.score, places.how)


def _union(spans: Iterable[Span]) -> list[Span]:
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start < union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def _overlaps(spans: Sequence[Span], span: Span) -> bool:
    """Whether the span touches one of these disjoint, sorted spans."""
    index = bisect_left(spans, span)
    return (index < len(spans) and spans[index][0] < span[1]) or (
        index > 0 and spans[index - 1][1] > span[0]
    )


# --- where a surface stands -------------------------------------------------------------------


@dataclass(slots=True)
class _Places:
    """The occurrences of one surface, left to right, disjoint, found as they are asked for."""

    surface: str
    how: How
    rest: Iterator[Span]
    spans: list[Span] = field(default_factory=list)

    def at(self, index: int) -> Span | None:
        while len(self.spans) <= index:
            span = next(self.rest, None)
            if span is None:
                return None
            self.spans.append(span)
        return self.spans[index]

    def __iter__(self) -> Iterator[Span]:
        index = 0
        while (span := self.at(index)) is not None:
            yield span
            index += 1


_NOWHERE = _Places("", "exact", iter(()))
_APART = frozenset(["", *" \n.,;:!?()[]\"'"])


class _Search:
    """One text to look in for some surfaces, given with their case folded."""

    def __init__(self, text: str, cased: Mapping[str, str]) -> None:
        self.text = text
        self.cased = cased
        self.folded: _Folded | None = None
        self.known: dict[str, _Places] = {}

    def free(self, places: _Places, taken: Container[Span]) -> Span | None:
        """The first occurrence not taken, outside longer surfaces where there is such."""
        inside: list[Span] = []
        holders: list[tuple[int, str]] | None = None
        for span in places:
            if span in taken:
                continue
            if holders is None:
                holders = self._holders(places.surface)
            if not any(self._stands(other, span[0] - before) for before, other in holders):
                return span
            inside.append(span)
            if len(inside) == _CROWDED:
                break
        return inside[0] if inside else None

    def _holders(self, surface: str) -> list[tuple[int, str]]:
        """The surfaces this one is a part of, and how far into each it stands."""
        part = self.cased[surface]
        return [
            (before, other)
            for other in self.cased.values()
            if len(other) > len(part)
            for before, _ in islice(_exact_spans(other, part), _REPEATS)
        ]

    def _stands(self, cased: str, at: int) -> bool:
        return at >= 0 and self.text[at : at + len(cased)].casefold() == cased

    def places(self, surface: str) -> _Places:
        places = self.known.get(surface)
        if places is None:
            places = self.known[surface] = self._look(surface)
        return places

    def _look(self, surface: str) -> _Places:
        if not surface:
            return _NOWHERE
        exact = _Places(surface, "exact", _choose(self.text, _exact_spans(self.text, surface)))
        if exact.at(0) is not None:
            return exact
        needle = fold(surface).text
        if not needle:
            return _NOWHERE
        if self.folded is None:
            self.folded = fold(self.text)
        return _Places(surface, "folded", _choose(self.text, self.folded.find(self.text, needle)))


def _exact_spans(text: str, surface: str) -> Iterator[Span]:
    start = text.find(surface)
    while start >= 0:
        yield start, start + len(surface)
        start = text.find(surface, start + 1)


def _choose(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    """Drop overlaps, and the occurrences that cut a word where there are others."""
    cutting: list[Span] = []
    chosen = spans
    for span in spans:
        if not _cuts_word(text, *span):
            whole = (other for other in spans if not _cuts_word(text, *other))
            chosen = chain([span], whole)
            break
        cutting.append(span)
        if len(cutting) == _PATIENCE:
            chosen = chain(cutting, spans)
            break
    else:
        chosen = iter(cutting)
    last = 0
    for start, end in chosen:
        if start >= last:
            last = end
            yield start, end


def _cuts_word(text: str, start: int, end: int) -> bool:
    # No need to look closer where words begin and end beside plain spaces and stops.
    if text[start].isalnum() and text[end - 1].isalnum() and text[start - 1 : start] in _APART:
        return text[end : end + 1] not in _APART and _inside_word(text, end)
    return _inside_word(text, start) or _inside_word(text, end)


def _inside_word(text: str, at: int) -> bool:
    """Whether two letters of one word, or a letter and its accent, stand around the offset."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before.isalnum() and after.isalnum():
        return not (_UNSPACED.match(before) or _UNSPACED.match(after))
    if before == "\u200d":
        return True
    return not after.isascii() and (unicodedata.combining(after) > 0 or after in _JOINED)


# --- folding ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Folded:
    """A folded text with the way back.

    Stretch i begins at `folds[i]` here and at `offsets[i]` in the document. A stretch of equal
    length in both is mapped one to one; of any other only the edges are places.
    """

    text: str
    folds: Sequence[int]
    offsets: Sequence[int]

    def find(self, text: str, needle: str) -> Iterator[Span]:
        """Spans of the document's text that fold to the needle."""
        at = self.text.find(needle)
        while at >= 0:
            start = self._offset(bisect_right(self.folds, at) - 1, at)
            end = self._offset(self._ending(at + len(needle)), at + len(needle))
            if start is not None and end is not None and start < end:
                # A stretch may end in spaces that folding dropped.
                trimmed = text[start:end].rstrip()
                if trimmed:
                    yield start, start + len(trimmed)
            at = self.text.find(needle, at + 1)

    def _ending(self, at: int) -> int:
        """The stretch that ends or contains the place: never one that folds to nothing."""
        index = bisect_left(self.folds, at)
        return index if index < len(self.folds) and self.folds[index] == at else index - 1

    def _offset(self, index: int, at: int) -> int | None:
        start, offset = self.folds[index], self.offsets[index]
        if at == start:
            return offset
        if self.folds[index + 1] - start != self.offsets[index + 1] - offset:
            return None
        return offset + at - start


def fold(text: str) -> _Folded:
    """Fold case, width, the spelling of accents, quotes, dashes and spaces, keeping the way back.

    A run of spaces is one space, or nothing beside Chinese and Japanese characters.
    """
    pieces: list[str] = []
    folds, offsets = array("q"), array("q")
    position = 0
    for offset, piece in _fold_pieces(text):
        folds.append(position)
        offsets.append(offset)
        pieces.append(piece)
        position += len(piece)
    folds.append(position)
    offsets.append(len(text))
    return _Folded("".join(pieces), folds, offsets)


def _fold_pieces(text: str) -> Iterator[tuple[int, str]]:
    done = 0
    odd = "".join(char for char in sorted(set(text)) if len(_TABLE[ord(char)]) != 1)
    for match in _stretches(odd).finditer(text):
        start, end = match.span()
        if done < start:
            yield done, text[done:start].translate(_TABLE)
        yield start, _fold_stretch(match.group())
        done = end
    if done < len(text):
        yield done, text[done:].translate(_TABLE)


@lru_cache(maxsize=1)
def _marks() -> str:
    """Combining characters, half-width voicing included, as the inside of a character class."""
    chars = (chr(code) for code in range(0x300, 0x3100))
    marks = (char for char in chars if unicodedata.category(char).startswith("M"))
    return "".join(marks) + "\ufe20-\ufe2f\uff9e\uff9f"


@lru_cache(maxsize=256)
def _stretches(odd: str) -> re.Pattern[str]:
    """What cannot be folded one character to one: `odd` characters, and some that stand together.

    The bound on marks keeps normalisation, quadratic in their number, from being used against us.
    """
    mark = f"[{_marks()}]{{1,30}}"
    choices = [
        rf"[{_CJK}](?:{mark})?\s+",
        rf"\S(?:{mark})?\s+(?=[{_CJK}])",
        rf"\s[\s{_IGNORABLE}]+",
        rf"\S{mark}",
        r"[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?",  # a Korean syllable, letter by letter
        r"''|``",
    ]
    if odd:
        choices.append(f"[{re.escape(odd)}]")
    return re.compile("|".join(choices))


def _fold_stretch(stretch: str) -> str:
    kept = _DROP.sub("", stretch)
    if kept.isspace():
        return " "
    # Upper before lower case: only so do ß and ss, ı and I, ſ and s meet.
    plain = unicodedata.normalize("NFKC", kept.rstrip().translate(_ALIKE))
    cased = plain.translate(_ALIKE).upper().casefold().replace("i\u0307", "i")
    return '"' if cased == "''" else unicodedata.normalize("NFKC", cased)


class _FoldTable(dict[int, str]):
    """For `str.translate`: every character folded by itself, worked out once."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_stretch(chr(code))
        return folded


_TABLE = _FoldTable()
