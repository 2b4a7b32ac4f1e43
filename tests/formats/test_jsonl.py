"""JSON lines: every way a line can be wrong, and the record that passes through untouched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Document, Entity, Mention, Result
from b2ner_cli.formats import jsonl
from tests.formats.cases import (
    encoded,
    names,
    one,
    orjson_bytes,
    plain,
    results,
    stdin,
    texts,
    unhurried,
)


def test_a_json_line_becomes_a_document(put):
    line = b'{"id": "a", "text": "Moon plays .", "year": 2012}'
    name = put("docs.jsonl", b"\xef\xbb\xbf" + line + b"  \r\n\n" + b'{"text": ""}')
    first, second = formats.read([name])
    assert first == Document(
        "a",
        "Moon plays .",
        meta={"id": "a", "text": "Moon plays .", "year": 2012},
        raw=line,
        origin="docs.jsonl:1",
    )
    assert (second.id, second.text) == ("docs.jsonl:3", "")


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ('"x"', "x"),
        ("7", "7"),
        ("-3", "-3"),
        ("1.50", "1.50"),
        ("true", "true"),
        ("null", "stdin:1"),
        ('""', "stdin:1"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_ids_of_any_scalar_type_become_strings(spelled, expected):
    assert one(b'{"id": %s, "text": "t"}' % spelled.encode()).id == expected


@pytest.mark.parametrize(
    "text",
    ["a\r\nb", "a\x00b", "a\u2028b\u0085c", "{0} {}", "<|im_end|> </s> [INST]", " \t\n", "😀é"],
)
def test_odd_texts_are_ordinary(text):
    data = json.dumps({"text": text}).encode() + b"\n" + orjson_bytes({"text": text}) + b"\n"
    assert [document.text for document in stdin(data)] == [text, text]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (b'{"text": "a" x}', "malformed JSON at column 14", ""),
        (b'{"text": "a"', "malformed JSON", ""),
        (b'{"text": NaN}', "malformed JSON at column 10", ""),
        (b'"text"', "a string, not an object", ""),
        (b"17", "a number, not an object", ""),
        (b'{"body": "a b c", "id": 1}', "no field 'text' (found: body, id)", "--text-field body"),
        (b'{"Text": "a", "x": "b"}', "no field 'text' (found: Text, x)", "--text-field Text"),
        (b'{"a": "b", "c": "d"}', "no field 'text' (found: a, c)", ""),
        (b"{}", "no field 'text' (found none)", ""),
        (b'{"text": null}', "field 'text' is null, not a string", ""),
        (b'{"text": ["a"]}', "field 'text' is a list, not a string", ""),
        (b'{"text": "ab\xff"}', "not UTF-8 at byte offset 12 (0xff)", "iconv"),
        (b'{"text": "ab\xed\xa0\x80"}', "not UTF-8 at byte offset 12", "iconv"),
        (b'{"text": "\\ud83d"}', "lone surrogate at column", "pair"),
        (b'{"text": "a", "id": [1]}', "field 'id' is a list, not an id", ""),
    ],
)
def test_a_bad_line_is_a_bad_record_and_reading_goes_on(line, message, hint):
    bad, good = stdin(line + b'\n{"text": "next"}\n', format="jsonl")
    assert isinstance(bad, BadRecord)
    assert bad.origin == "stdin:1"
    assert message in bad.message
    assert hint in bad.hint
    assert good.text == "next"


def test_many_keys_are_not_all_listed():
    bad = one(json.dumps({f"k{i}": 1 for i in range(20)}).encode())
    assert bad.message.endswith(", and 12 more)")


def test_the_record_passes_through_byte_for_byte():
    line = (
        b'{ "id" :1e3,"n":123456789012345678901234567890, "text":"\\u00e9a", "x":{"entities":1} }'
    )
    out = encoded(one(line), Entity(0, 1, "x", "é", 0.98765), Entity(1, 2, "y", "a"))
    assert out == line[:-1] + (
        '"entities":[{"start":0,"end":1,"label":"x","text":"é","score":0.9877},'
        '{"start":1,"end":2,"label":"y","text":"a"}]}\n'
    ).encode().replace(b'"entities":[{"start":0', b',"entities":[{"start":0', 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'{"entities" : [{"entities": "}"}], "n": 1.0, "text": "\\"{"}',
            b'{"entities_in" : [{"entities": "}"}], "n": 1.0, "text": "\\"{","entities":[]}\n',
        ),
        (
            b'{"text":"a","entities":1,"entities_in":2,"unlocated":[],"problems":{"problems":1}}',
            b'{"text":"a","entities_in_2":1,"entities_in":2,"unlocated_in":[],'
            b'"problems_in":{"problems":1},"entities":[]}\n',
        ),
        (
            b'{"text":"a","\\u0065ntities":"entities"}',
            b'{"text":"a","entities_in":"entities","entities":[]}\n',
        ),
    ],
)
def test_keys_of_ours_move_aside(line, expected):
    assert encoded(one(line)) == expected


def test_what_has_no_place_and_what_went_wrong_are_written_only_when_there():
    out = encoded(
        one(b'{"text":"a"}'), unlocated=(Mention("x", "b\ud800"),), problems=("cut \udfff off",)
    )
    assert json.loads(out) == {
        "text": "a",
        "entities": [],
        "unlocated": [{"label": "x", "text": "b\ufffd"}],
        "problems": ["cut \ufffd off"],
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (Document("i", "t"), {"id": "i", "text": "t"}),
        (Document("i", "t", text_field="body"), {"id": "i", "body": "t"}),
        (Document("i", "t\ud800"), {"id": "i", "text": "t\ufffd"}),
        (
            Document("i", "t", meta={"text": "t", "entities": "e"}),
            {"text": "t", "entities_in": "e"},
        ),
        (Document("i", "t", meta={"n": 1 << 80}), {"id": "i", "text": "t", "n": str(1 << 80)}),
        (Document("i", "", raw=b"{}"), {}),
    ],
)
def test_documents_that_did_not_come_as_json(document, expected):
    assert json.loads(encoded(document)) == expected | {"entities": []}


def test_a_line_tells_whose_it_is():
    first, second = stdin(b'{"id":1,"text":"a","entities":[]}\n{"id":2,"text":"a"}\n')
    line = encoded(first, Entity(0, 1, "x", "a"))
    assert jsonl.continues(line, first)
    assert not jsonl.continues(line, second)


@unhurried
@given(results())
def test_jsonl_comes_back(result):
    document = one(jsonl.encode(result), gold_field="entities")
    assert (document.id, document.text) == (result.document.id, result.document.text)
    assert plain(document.entities) == plain(result.entities)
    again = json.loads(jsonl.encode(Result(document, result.entities)))
    assert again.pop("entities_in") == again["entities"]


values = st.none() | texts | st.floats(allow_nan=False, allow_infinity=False)


@unhurried
@given(st.dictionaries(names, values, max_size=4), texts)
def test_any_object_passes_through(extra, text):
    line = orjson_bytes({**extra, "text": text})
    out = json.loads(jsonl.encode(Result(one(line), ())))
    moved = {f"{k}_in" if k in jsonl.RESERVED["NER"] else k: v for k, v in extra.items()}
    assert out == {**moved, "text": text, "entities": []}
