"""JSON lines: one object a line, in and out; the object passes through byte for byte.

    in   {"id": 7, "text": "Moon plays StarCraft II ."}
    out  {"id": 7, "text": "Moon plays StarCraft II .","entities":[{"start":0,"end":4,"label":
         "player","text":"Moon","score":0.98}]}

Lines end at ``\\n`` and nowhere else. Writing appends to the record's own bytes, so the spelling
of its numbers, its key order and its escapes stay; only a key of ours that is there already
moves aside (``entities`` to ``entities_in``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from b2ner_cli.core.document import BadRecord, Document, Result
from b2ner_cli.core.tasks import TASKS, Task
from b2ner_cli.core.text import no_surrogates
from b2ner_cli.formats import result_json
from b2ner_cli.formats.fields import Fields, RecordError, decoded, document, json_type

RESERVED = {
    task: (result_json.key(task), "unlocated", "problems") for task in TASKS
}  # keys of ours
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]:]', re.DOTALL)


def read(lines: Iterable[bytes], name: str, fields: Fields) -> Iterator[Document | BadRecord]:
    """Read documents; blank lines count in line numbers but are no records."""
    loads = orjson.loads
    for number, line in enumerate(lines, 1):
        raw = line.strip()
        if not raw:
            continue
        origin = f"{name}:{number}"
        try:
            record = loads(raw)
            if type(record) is not dict:
                raise RecordError(f"{json_type(record)}, not an object")
            read: Document | BadRecord = document(record, raw, origin, fields)
        except orjson.JSONDecodeError as error:
            read = _malformed(line, error).at(origin)
        except RecordError as error:
            read = error.at(origin)
        yield read


def _malformed(line: bytes, error: orjson.JSONDecodeError) -> RecordError:
    try:
        decoded(line)
    except RecordError as not_utf8:
        return not_utf8
    if "surrogate" in error.msg:
        return RecordError(
            f"lone surrogate at column {error.colno}: {error.msg}",
            "half of a \\ud800-\\udfff pair is missing; the text was cut or wrongly encoded",
        )
    return RecordError(f"malformed JSON at column {error.colno}: {error.msg}")


def encode(result: Result) -> bytes:
    """Spell a result as one JSON line: the record as it came, then what was found."""
    record, task = result.document, result.task
    ours = RESERVED[task]
    if record.raw and record.meta.keys().isdisjoint(ours):
        head = record.raw
    elif record.raw:
        head = _rename_keys(record.raw, _moved(record.meta, ours))
    else:
        head = _rebuilt(record, ours)
    if task == "NER":
        tail = b',"entities":' + _dumps([result_json.entity(entity) for entity in result.entities])
    else:
        tail = b',"%b":' % ours[0].encode() + _dumps(result_json.spelled(result))
    if result.unlocated:
        missing = [{"label": m.label, "text": m.surface} for m in result.unlocated]
        tail += b',"unlocated":' + _dumps(missing)
    if result.problems:
        tail += b',"problems":' + _dumps(list(result.problems))
    if not record.meta and record.raw:  # an empty object takes no comma
        tail = tail[1:]
    return head[:-1] + tail + b"}\n"


def continues(line: bytes, document: Document, task: Task = "NER") -> bool:
    """Tell whether an output line was written for this document: resuming checks its input."""
    head = encode(Result(document, (), task=task))
    ours = f'"{RESERVED[task][0]}":'.encode()
    return line.startswith(head[: head.rindex(ours) + len(ours)])


def _rebuilt(document: Document, ours: tuple[str, ...]) -> bytes:
    """Make the record of a document that did not come as JSON: its columns, or id and text."""
    record: dict[str, Any] = {}
    if document.text_field not in document.meta:
        record = {"id": document.id, document.text_field: document.text}
    moved = _moved(document.meta, ours)
    record |= {moved.get(key, key): value for key, value in document.meta.items()}
    return _dumps(record)


def _moved(record: Mapping[str, Any], ours: tuple[str, ...]) -> dict[str, str]:
    """Give each key of ours that the record has a free name."""
    moved: dict[str, str] = {}
    for key in ours:
        if key in record:
            name, count = f"{key}_in", 2
            while name in record:
                name, count = f"{key}_in_{count}", count + 1
            moved[key] = name
    return moved


def _rename_keys(raw: bytes, names: Mapping[str, str]) -> bytes:
    """Rename top-level keys of an object in its own bytes; every other byte stays."""
    pieces, copied, depth = [], 0, 0
    key: re.Match[bytes] | None = None
    for token in TOKEN.finditer(raw):
        kind = token[0]
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and kind == b":" and key:
            if name := names.get(orjson.loads(key[0])):
                pieces += [raw[copied : key.start()], orjson.dumps(name)]
                copied = key.end()
        elif depth == 1:
            key = token
    return b"".join(pieces) + raw[copied:]


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_clean(value), default=str, option=orjson.OPT_NON_STR_KEYS)


def _clean(value: Any) -> Any:
    """Make any value one that JSON can hold: a model or a caller may hand over anything."""
    if isinstance(value, str):
        return no_surrogates(value)
    if isinstance(value, int) and value.bit_length() > 63:
        return str(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return value
