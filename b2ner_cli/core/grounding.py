"""Give mentions their place in the text: surfaces in, code-point offsets out.

A surface is looked for as said, then with case, width, spaces, quotes and dashes folded; an
entity's text is always the document's. What the text does not hold comes back ungrounded.
Knows neither models nor chunks; nothing a mention or a text holds makes it raise.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import attrgetter

from b2ner_cli.core.document import Entity, How, Mention
from b2ner_cli.core.folding import CJK, FoldedText, fold

Offsets = tuple[int, int]

_PLACE = attrgetter("start", "end", "label")

# Occurrences inside words that are looked at before the search for a whole word is given up:
# only texts of megabytes with a surface of one or two letters come this far.
_PATIENCE = 20_000
# Likewise for occurrences inside longer surfaces, and for those of one surface in another.
_CROWDED, _REPEATS = 1000, 4

# Written without spaces between words, so that a word's edge cannot be seen from its letters.
_UNSPACED = re.compile(rf"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")

# What continues an emoji: joiner, variation selectors, skin tones.
_JOINED = frozenset("\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")


def ground(text: str, mentions: Sequence[Mention]) -> tuple[list[Entity], list[Mention]]:
    """Return the mentions found in the text, sorted by start, end, label, and those not found.

    The k-th mention of a surface takes its k-th occurrence: one that cuts no word where there
    is such, one that does not lie inside a longer mention's span where there is such. A mention
    without an occurrence left goes on the first one if it brings a new label; a repeat of label
    and surface is dropped, so that mentions less entities less ungrounded counts the repeats.
    """
    plain = _plain(text, mentions)
    if None in plain:
        return _searched(text, mentions, plain)
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
) -> tuple[list[Entity], list[Mention]]:
    """What `ground` gives, where some mention is not plain."""
    surfaces = [mention.surface.strip() for mention in mentions]
    search = _Search(text, {surface: surface.casefold() for surface in surfaces})
    entities: list[Entity] = []
    ungrounded: list[Mention] = []
    found: list[Mention] = []
    labels_at: dict[Offsets, list[str]] = {}
    for mention, surface, there in zip(mentions, surfaces, plain, strict=True):
        how: How = "exact"
        span = (there.start, there.end) if there else None
        if span is None or span in labels_at:
            places = search.places(surface) if mention.label else _NOWHERE
            how, first = places.how, places.at(0)
            if first is None:
                ungrounded.append(mention)
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
    entities.sort(key=_PLACE)
    return entities, ungrounded


def everywhere(
    text: str, entities: Sequence[Entity], grounded: Iterable[Mention]
) -> tuple[Entity, ...]:
    """The entities that mentions were grounded as, and every other place of those surfaces.

    A place is left out if an entity of the mention's label is there already, the longest first.
    """
    found = sorted(grounded, key=lambda mention: -len(mention.surface))
    surfaces = [mention.surface.strip() for mention in found]
    search = _Search(text, {surface: surface.casefold() for surface in surfaces})
    return tuple(sorted((*entities, *_others(text, entities, found, search)), key=_PLACE))


def _repeats(mention: Mention, found: Iterable[Mention]) -> bool:
    return any(m.label == mention.label and m.surface == mention.surface for m in found)


def _others(
    text: str, entities: Sequence[Entity], found: Sequence[Mention], search: _Search
) -> Iterator[Entity]:
    """The other occurrences of every found surface, clear of the entities of their label."""
    covered: dict[str, list[Offsets]] = {}
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


def _union(spans: Iterable[Offsets]) -> list[Offsets]:
    union: list[Offsets] = []
    for start, end in sorted(spans):
        if union and start < union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def _overlaps(spans: Sequence[Offsets], span: Offsets) -> bool:
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
    rest: Iterator[Offsets]
    spans: list[Offsets] = field(default_factory=list)

    def at(self, index: int) -> Offsets | None:
        """The occurrence of that number, None where there are fewer."""
        while len(self.spans) <= index:
            span = next(self.rest, None)
            if span is None:
                return None
            self.spans.append(span)
        return self.spans[index]

    def __iter__(self) -> Iterator[Offsets]:
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
        self.folded: FoldedText | None = None
        self.known: dict[str, _Places] = {}

    def free(self, places: _Places, taken: Container[Offsets]) -> Offsets | None:
        """The first occurrence not taken, outside longer surfaces where there is such."""
        inside: list[Offsets] = []
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
        """Where a surface stands, looked for once."""
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


def _exact_spans(text: str, surface: str) -> Iterator[Offsets]:
    start = text.find(surface)
    while start >= 0:
        yield start, start + len(surface)
        start = text.find(surface, start + 1)


def _choose(text: str, spans: Iterator[Offsets]) -> Iterator[Offsets]:
    """Drop overlaps, and the occurrences that cut a word where there are others."""
    cutting: list[Offsets] = []
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
