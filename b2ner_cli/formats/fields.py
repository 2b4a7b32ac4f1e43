"""What the fields of a record mean, whatever file it came from: its text, id, labels and gold.

    {"id": 7, "text": "Moon plays StarCraft II .", "kinds": ["game"],
     "entities": [{"start": 11, "end": 23, "label": "game"}]}

`document` builds a Document from such a mapping or raises `RecordError`, which the readers turn
into a BadRecord. Gold spans come in the spellings of the usual tools: ours, spaCy and Prodigy
(``spans``), triples ``[11, 23, "game"]``, Doccano's ``start_offset``, B2NERD's ``name, type, pos``.
Knows nothing of files or lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from b2ner_cli.core.document import BadRecord, Document, Entity, Mention
from b2ner_cli.labels.label_set import split_names

SHOWN_KEYS = 8
RECODE = "convert the file first: iconv -f ENCODING -t UTF-8"
REJECTED = ("reject", "ignore")  # Prodigy's answers for records that are no gold


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields hold what; `labels` and `gold` are read only where they are named."""

    text: str = "text"
    id: str = "id"
    labels: str | None = None
    gold: str | None = None


class RecordError(ValueError):
    """A record that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def at(self, origin: str) -> BadRecord:
        """The record that could not be used, by its place."""
        return BadRecord(origin, self.message, self.hint)


def decoded(content: bytes) -> str:
    """Decode UTF-8, or raise RecordError that says where it is none."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise RecordError(
            f"not UTF-8 at byte offset {error.start} (0x{byte:02x})", RECODE
        ) from None


def document(record: Mapping[str, Any], raw: bytes, origin: str, fields: Fields) -> Document:
    """Build the document a record holds, or raise RecordError."""
    text = record.get(fields.text)
    if type(text) is not str:
        raise _text_error(record, fields.text)
    name = record.get(fields.id)
    if type(name) is not str:
        name = _spelled_id(name, raw, fields.id)
    entities, mentions, labels = None, None, None
    if fields.labels is not None:
        labels = label_list(record.get(fields.labels), fields.labels)
    if fields.gold is not None:
        entities, mentions = _gold(record, text, fields.gold)
    return Document(
        name or origin, text, entities, mentions, labels, record, raw, fields.text, origin
    )


def _text_error(record: Mapping[str, Any], field: str) -> RecordError:
    if field in record:
        found = json_type(record[field])
        return RecordError(f"field {field!r} is {found}, not a string")
    hint = ""
    if guess := text_field_guess(field, [k for k, v in record.items() if isinstance(v, str)]):
        hint = f"choose it with --text-field {guess}"
    return RecordError(f"no field {field!r} ({found_names(record)})", hint)


def text_field_guess(field: str, names: list[str]) -> str:
    """Name the field that was probably meant, or say nothing."""
    likely = [field, "text", "body", "content", "sentence", "document", "abstract"]
    folded = {name.casefold(): name for name in reversed(names)}
    for word in likely:
        if close := get_close_matches(word, folded, n=1, cutoff=0.75):
            return folded[close[0]]
    return names[0] if len(names) == 1 else ""


def found_names(names: Iterable[str]) -> str:
    """Say which fields there are, for an error message."""
    found = sorted(names)
    more = f", and {len(found) - SHOWN_KEYS} more" if len(found) > SHOWN_KEYS else ""
    return f"found: {', '.join(found[:SHOWN_KEYS])}{more}" if found else "found none"


def json_type(value: object) -> str:
    """Name a parsed JSON value's type as a user would."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _spelled_id(value: object, raw: bytes, field: str) -> str:
    """Spell an id as the file does: integers beyond 64 bits arrive as floats."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        exact = json.loads(raw, parse_int=str, parse_float=str) if raw else {field: value}
        return str(exact[field])
    raise RecordError(f"field {field!r} is {json_type(value)}, not an id")


def label_list(value: object, field: str) -> tuple[str, ...] | None:
    """Read a record's own labels: a list of strings or a comma list; None where it has none."""
    if value is None:
        return None
    if isinstance(value, str):
        value = split_names(value)
    if not isinstance(value, list):
        raise RecordError(f"field {field!r} is {json_type(value)}, not a list of labels")
    for label in value:
        if not isinstance(label, str) or not label.strip():
            raise RecordError(f"field {field!r} holds {label!r}, which is not a label")
    return tuple(value) or None


# Gold -------------------------------------------------------------------------------------------


def _gold(
    record: Mapping[str, Any], text: str, field: str
) -> tuple[tuple[Entity, ...] | None, tuple[Mention, ...] | None]:
    """Read the annotations: those with a place, and all of them in their order."""
    value = record.get(field)
    if value is None and field == "entities":
        field, value = "spans", record.get("spans")
    if isinstance(value, str):  # a CSV cell
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError:
            raise RecordError(f"field {field!r} is not a JSON list of entities") from None
    if value is None or (field == "spans" and record.get("answer") in REJECTED):
        return None, None
    if not isinstance(value, list):
        raise RecordError(f"field {field!r} is {json_type(value)}, not a list of entities")
    entities, mentions = [], []
    for number, item in enumerate(value, 1):
        try:
            entity, mention = annotation(item, text)
        except RecordError as error:
            message = f"{field}, number {number}: {error.message}"
            raise RecordError(message, error.hint) from None
        mentions.append(mention)
        if entity:
            entities.append(entity)
    return tuple(entities), tuple(mentions)


def annotation(item: object, text: str) -> tuple[Entity | None, Mention]:
    """Read one annotated entity in any known spelling; one without offsets is a mention only."""
    start, end, label, surface, score = _parts(item)
    if not isinstance(label, str) or not label:
        raise RecordError(f"the label is {label!r}, not a name")
    if not isinstance(score, int | float):
        score = None
    if start is None and end is None and isinstance(surface, str) and surface:
        return None, Mention(label, surface, score)
    if type(start) is not int or type(end) is not int:
        raise RecordError(f"start and end are {start!r} and {end!r}, not numbers")
    if not 0 <= start < end <= len(text):
        raise RecordError(
            f"[{start}, {end}) is no span of {len(text)} characters",
            _offset_hint(text, start, end, surface),
        )
    found = text[start:end]
    if surface is not None and surface != found:
        raise RecordError(
            f"[{start}, {end}) is {found!r}, not {surface!r}",
            _offset_hint(text, start, end, surface),
        )
    return Entity(start, end, label, found, score, "given"), Mention(label, found, score)


def _parts(item: object) -> tuple[Any, Any, Any, Any, Any]:
    if isinstance(item, list) and len(item) == 3:
        return item[0], item[1], item[2], None, None
    if not isinstance(item, dict):
        raise RecordError(f"{item!r} is neither an object nor [start, end, label]")
    start = item.get("start", item.get("start_offset"))
    end = item.get("end", item.get("end_offset"))
    pos = item.get("pos")
    if start is None and isinstance(pos, list) and len(pos) == 2:
        start, end = pos
    surface = item.get("text", item.get("name"))
    return start, end, item.get("label", item.get("type")), surface, item.get("score")


def _offset_hint(text: str, start: int, end: int, surface: object) -> str:
    """Recognise the two usual ways offsets go wrong."""
    if start == end or text[start : end + 1] == surface:
        return "ends are exclusive here; these look inclusive"
    units = text.encode("utf-16-le", "surrogatepass")[2 * max(start, 0) : 2 * max(end, 0)]
    if units.decode("utf-16-le", "replace") == surface:
        return "offsets count code points; these look like UTF-16 units (Doccano, JavaScript)"
    return "offsets count code points from 0, the end is exclusive"
