"""What the tests of formats share: reading and writing one thing, and any document there is."""

import io
import json

from hypothesis import settings
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import Document, Entity, Result
from b2ner_cli.formats import jsonl

MOON = "Moon plays StarCraft II ."


GAME = Entity(11, 23, "game", "StarCraft II", 0.98765)


def stdin(data: bytes, **options):
    return list(formats.read(["-"], stdin=io.BytesIO(data), **options))


def one(data: bytes, format: str = "jsonl", **options):
    (found,) = stdin(data, format=format, **options)
    return found


def orjson_bytes(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def encoded(document: Document, *entities: Entity, **found) -> bytes:
    return jsonl.encode(Result(document, entities, **found))


unhurried = settings(deadline=None)  # the machine may be busy


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    "ab .,张三\n\r\t\u2028#-\"'{}\\", max_size=40
)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def results(draw, text=texts):
    """A document of any text with any spans in it, as the tagger would hand it over."""
    content = draw(text)
    edges = st.integers(0, max(len(content) - 1, 0))
    pairs = draw(st.lists(st.tuples(edges, edges, names), max_size=4 if content else 0))
    spans = {(min(a, b), max(a, b) + 1, label) for a, b, label in pairs}
    entities = tuple(Entity(s, e, label, content[s:e], 0.5) for s, e, label in sorted(spans))
    return Result(Document(draw(names), content), entities)


def plain(entities):
    return [(e.start, e.end, e.label, e.text) for e in entities]


def put_file(name: str, data: bytes) -> str:
    """Write a file into the working directory."""
    with open(name, "wb") as file:
        file.write(data)
    return name
