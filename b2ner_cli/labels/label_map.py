"""Label maps: other names to ask a model under, and the way back to the names one has.

    task => research task                          one a line; or
    PER<TAB>person                                 two columns, as TSV; or
    {"task": "research task", "PER": "person"}     a JSON object

Data sets, users and models call the same thing by different names. A map renames labels before
they are asked for and gives the answers their own names again; data sets renamed for good may
drop labels, too. Labels that it does not list keep their names. `read` and `spell` are inverse; so
are `ask` and `back`, for a label set in which no two labels get one name. Knows no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from b2ner_cli.core.document import Document, Entity, Mention
from b2ner_cli.errors import InputError, UsageError, did_you_mean
from b2ner_cli.labels.label_set import LabelSet, fold
from b2ner_cli.labels.reading import read_text

AS_GIVEN = "as given"  # what reports say of labels that nothing renamed
_SEPARATOR = re.compile("([;；])")
_COLON = re.compile("([:：])")
_NAMED = 3

_Annotation = TypeVar("_Annotation", Entity, Mention)


@dataclass(frozen=True, slots=True)
class LabelMap:
    """The new name of each listed label; `source` is the file that says so.

    Those in `dropped` are taken away together with their entities.
    """

    names: Mapping[str, str]
    source: str = "the label map"
    dropped: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for old, new in self.names.items():
            if not old.strip():
                raise UsageError(f"{self.source}: an empty label is renamed {new!r}")
            try:
                LabelSet((new,))
            except UsageError as error:
                message = f"{self.source}: {old!r} is renamed: {error.message}"
                raise UsageError(message, error.hint) from None

    def __or__(self, other: LabelMap) -> LabelMap:
        """The map that does what both do, and what `other` does where both list a label."""
        names = {old: new for old, new in self.names.items() if old not in other.dropped}
        dropped = (self.dropped - other.names.keys()) | other.dropped
        return LabelMap(names | dict(other.names), other.source, dropped)

    def asked(self, label: str) -> str:
        """The name a label is asked under."""
        return self.names.get(label, label)

    def ask(self, labels: LabelSet) -> LabelSet:
        """The set as it is asked, descriptions included.

        Raises UsageError where two labels of the set would get one name.
        """
        taken: dict[str, str] = {}
        for name in labels.names:
            new = self.asked(name)
            if new in taken:
                raise UsageError(
                    f"{self.source}: {taken[new]!r} and {name!r} would both be asked as {new!r}",
                    "give each label of a set a name of its own, or leave one of them out",
                )
            taken[new] = name
        described = {self.asked(name): text for name, text in labels.descriptions.items()}
        return replace(labels, names=tuple(taken), descriptions=described)

    def back(self, labels: Iterable[str]) -> dict[str, str]:
        """From the names that the labels are asked under to their own; {} if none is renamed."""
        given = {self.asked(name): name for name in labels}
        return given if any(new != old for new, old in given.items()) else {}

    def renamed(self, labels: Iterable[str]) -> dict[str, str]:
        """Those of the labels that get another name, each with that name."""
        return {name: new for name in labels if (new := self.asked(name)) != name}

    def relabel(self, labels: Iterable[str]) -> tuple[str, ...]:
        """New names of labels in their order, each once, without those that are dropped."""
        return tuple(dict.fromkeys(self.asked(name) for name in labels if name not in self.dropped))

    def document(self, document: Document) -> Document:
        """A document under the new names; entities that become the same one are kept once."""
        entities, mentions, labels = document.entities, document.mentions, document.labels
        return document._replace(
            entities=entities and tuple(dict.fromkeys(self._annotations(entities))),
            mentions=mentions and tuple(self._annotations(mentions)),
            labels=labels and self.relabel(labels),
        )

    def _annotations(self, each: Iterable[_Annotation]) -> Iterator[_Annotation]:
        kept = (one for one in each if one.label not in self.dropped)
        return (one._replace(label=self.asked(one.label)) for one in kept)

    def unused(self, labels: Iterable[str]) -> str:
        """Say which listed labels are none of these, with near ones; "" if all are."""
        known = set(labels)
        missing = [old for old in self.names if old not in known]
        said = []
        for old in missing[:_NAMED]:
            near = did_you_mean(old, sorted(known - self.names.keys()))
            said.append(f"{old!r} ({near})" if near else f"{old!r}")
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        return f"{self.source}: no such labels here: {', '.join(said)}{more}" if said else ""

    def check_used(self, labels: Iterable[str]) -> str:
        """As `unused`, for labels of which the map must rename at least one."""
        known = list(labels)
        said = self.unused(known)
        if said and not any(old in known for old in self.names):
            listed = ", ".join(dict.fromkeys(known))[:200]
            raise UsageError(said, f"the left side of the map are labels as given: {listed}")
        return said


def describe(label_map: LabelMap | None, labels: Iterable[str]) -> str:
    """Which names labels are asked under, in words for a report."""
    renamed = label_map.renamed(labels) if label_map else {}
    if label_map is None or not renamed:
        return f"label names: {AS_GIVEN}"
    said = ", ".join(f"{old} as {new}" for old, new in renamed.items())
    return f"label names: {label_map.source}: {said}"


def read(path: Path) -> LabelMap:
    """Read a map; blank lines and lines that begin with ``#`` are skipped.

    Raises InputError naming file and line for what cannot be read.
    """
    return parse(read_text(path, "label map"), str(path))


def parse(text: str, source: str) -> LabelMap:
    """Read a map from the text of its file."""
    pairs = _from_json(text, source) if text.lstrip().startswith("{") else _lines(text, source)
    names: dict[str, str] = {}
    for where, old, new in pairs:
        if old in names:
            raise InputError(f"{where}: label {old!r} is renamed twice", "keep one of the lines")
        try:
            LabelMap({old: new}, where)
        except UsageError as error:
            raise InputError(error.message, error.hint) from None
        names[old] = new
    if not names:
        raise InputError(f"label map {source} is empty", "list labels: task => research task")
    return LabelMap(names, source)


def spell(label_map: LabelMap) -> str:
    """The text of a file that holds this map, as lines if no label has a tab or a line break."""
    rows = [f"{old}\t{new}" for old, new in label_map.names.items()]
    text = "".join(f"{row}\n" for row in rows)
    try:
        if parse(text, label_map.source) == label_map:
            return text
    except InputError:
        pass
    return json.dumps(label_map.names, ensure_ascii=False, indent=1) + "\n"


def relabel(answer: str, names: Mapping[str, str]) -> str:
    """Rename the labels of an answer ``label: surface; label: surface``, all else untouched."""
    known = {fold(name): new for name, new in names.items()} | dict(names)
    # Cut at every separator, and keep them: what lies between two is a piece.
    pieces = _SEPARATOR.split(answer)
    return "".join(_relabelled(piece, known) for piece in pieces)


def _relabelled(piece: str, known: Mapping[str, str]) -> str:
    label, *surface = _COLON.split(piece, maxsplit=1)
    said = label.strip()
    new = known.get(said) or known.get(fold(said)) if surface else None
    return "".join([label.replace(said, new), *surface]) if new else piece


def _from_json(text: str, source: str) -> list[tuple[str, str, str]]:
    # A dict would keep the last of two entries for a label, and nobody would hear of it.
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}:{error.lineno}: malformed JSON: {error.msg}") from None
    for old, new in pairs:
        if not isinstance(new, str):
            raise InputError(f"{source}: {old!r} is renamed to {new!r}, which is not a string")
    return [(source, old, new) for old, new in pairs]


def _lines(text: str, source: str) -> list[tuple[str, str, str]]:
    pairs: list[tuple[str, str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{source}:{number}"
        sides = _sides(line)
        if len(sides) != 2 or not all(sides):
            raise InputError(
                f"{where}: {line.strip()!r} does not rename one label",
                "write `task => research task` or two columns with a tab between; `->` will do "
                "where no label has one",
            )
        pairs.append((where, sides[0], sides[1]))
    return pairs


def _sides(line: str) -> list[str]:
    """Cut a line at a tab, else at ``=>``, else at ``->``, which labels may hold, too."""
    mark = next((mark for mark in ("\t", "=>", "->") if mark in line), None)
    return [side.strip() for side in line.split(mark)] if mark else [line.strip()]
