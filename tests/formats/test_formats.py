"""Reading and writing documents: every format, every way a record can be wrong, round trips."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Document, Entity, Mention, Result
from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats import conll, csv_tsv, jsonl
from b2ner_cli.formats.fields import Fields

MOON = "Moon plays StarCraft II ."
GAME = Entity(11, 23, "game", "StarCraft II", 0.98765)


def stdin(data: bytes, **options):
    return list(formats.read(["-"], stdin=io.BytesIO(data), **options))


def one(data: bytes, format: str = "jsonl", **options):
    (found,) = stdin(data, format=format, **options)
    return found


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return name

    return write


# JSON lines: reading ----------------------------------------------------------------------------


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


def orjson_bytes(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('["a", "b c"]', ("a", "b c")),
        ('"a, b c,"', ("a", "b c")),
        ('"人名，地名,公司"', ("人名", "地名", "公司")),
        ("null", None),
        ("[]", None),
        ('""', None),
        ('["a", ""]', "holds ''"),
        ('["a", 3]', "holds 3"),
        ("7", "a number"),
        ('{"a": 1}', "an object"),
    ],
)
def test_a_record_may_bring_its_labels(value, expected):
    found = one(b'{"text": "t", "kinds": %s}' % value.encode(), labels_field="kinds")
    if isinstance(expected, str):
        assert expected in found.message
    else:
        assert found.labels == expected


# Gold -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key_and_item",
    [
        '"entities": [{"start": 11, "end": 23, "label": "game"}]',
        '"entities": [{"start": 11, "end": 23, "label": "game", "text": "StarCraft II"}]',
        '"entities": [[11, 23, "game"]]',
        '"spans": [{"start": 11, "end": 23, "label": "game", "token_end": 4}]',
        '"entities": [{"id": 1, "label": "game", "start_offset": 11, "end_offset": 23}]',
        '"entities": [{"name": "StarCraft II", "type": "game", "pos": [11, 23]}]',
    ],
)
def test_gold_in_any_spelling(key_and_item):
    line = f'{{"text": "{MOON}", {key_and_item}}}'.encode()
    document = one(line, gold_field="entities")
    assert document.entities == (Entity(11, 23, "game", "StarCraft II", None, "given"),)
    assert document.mentions == (Mention("game", "StarCraft II"),)
    assert one(line).entities is None


@pytest.mark.parametrize(
    ("record", "entities", "mentions"),
    [
        ({"entities": []}, (), ()),
        ({"entities": None}, None, None),
        ({}, None, None),
        ({"spans": [[0, 1, "x"]], "answer": "reject"}, None, None),
        ({"entities": [{"label": "x", "text": "a"}]}, (), (Mention("x", "a"),)),
    ],
)
def test_gold_that_is_absent_or_has_no_place(record, entities, mentions):
    document = one(json.dumps({"text": "abc", **record}).encode(), gold_field="entities")
    assert (document.entities, document.mentions) == (entities, mentions)


@pytest.mark.parametrize(
    ("entities", "message", "hint"),
    [
        ([{"start": 0, "end": 2, "label": "x", "text": "bc"}], "[0, 2) is 'ab', not 'bc'", ""),
        ([{"start": 0, "end": 1, "label": "x", "text": "ab"}], "is 'a'", "inclusive"),
        ([{"start": 5, "end": 7, "label": "x", "text": "de"}], "no span of 6", "UTF-16"),
        ([{"start": 5, "end": 6, "label": "x", "text": "d"}], "is 'e'", "UTF-16"),
        ([[0, 1, "x"], [0, 9, "x"]], "entities, number 2: [0, 9) is no span of 6 characters", ""),
        ([[2, 2, "x"]], "[2, 2) is no span", "exclusive"),
        ([[-1, 2, "x"]], "[-1, 2) is no span", ""),
        ([[0, 1, ""]], "the label is ''", ""),
        ([[0, 1, None]], "the label is None", ""),
        ([["0", 1, "x"]], "not numbers", ""),
        ([[True, 2, "x"]], "not numbers", ""),
        (["x"], "neither an object nor", ""),
        ({"a": 1}, "an object, not a list of entities", ""),
        ("[", "not a JSON list", ""),
    ],
)
def test_gold_that_does_not_fit_is_a_bad_record(entities, message, hint):
    bad = one(json.dumps({"text": "abc😀de", "entities": entities}).encode(), gold_field="entities")
    assert message in bad.message
    assert hint in bad.hint


# JSON lines: writing ----------------------------------------------------------------------------


def encoded(document: Document, *entities: Entity, **found) -> bytes:
    return jsonl.encode(Result(document, entities, **found))


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


# Tables -----------------------------------------------------------------------------------------


def test_rows_become_documents(put):
    data = '\ufeffid,text,note\r\n1,"a\r\nb ""c""",x\r\n\r\n," ",\r\n3,é\x00😀\r\n'.encode()
    documents = list(formats.read([put("docs.csv", data)]))
    assert [(d.id, d.text, d.origin) for d in documents] == [
        ("1", 'a\r\nb "c"', "docs.csv:2"),
        ("docs.csv:5", " ", "docs.csv:5"),
        ("3", "é\x00😀", "docs.csv:6"),
    ]
    assert documents[0].meta == {"id": "1", "text": 'a\r\nb "c"', "note": "x"}
    assert documents[0].raw == b""
    assert json.loads(encoded(documents[2])) == {
        "id": "3",
        "text": "é\x00😀",
        "note": "",
        "entities": [],
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tsv", b"id\ttext\n1\ta, b; c\n"),
        ("b.csv", b"id;text\n1;a, b\n"),
        ("c.csv", b"text,id,id\n'a, b',1,2\n".replace(b"'", b'"')),
        ("d.csv.gz", gzip.compress(b'text\n"a, b"\n')),
    ],
)
def test_delimiters_and_headers(put, name, data):
    (document,) = formats.read([put(name, data)])
    assert document.text.startswith("a, b")


def test_a_large_cell_is_read():
    assert len(one(b'text\n"%s"\n' % (b"a\n" * 500_000), "csv").text) == 1_000_000


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b'1,"a" b\n', "malformed row"),
        (b"1,a,b,c\n", "4 cells under a header of 3"),
        (b"1\n", "1 cells under a header of 3"),
        (b"1,a\xff,b\n", "not UTF-8"),
        (b"1,a,b\xff\n", "not UTF-8"),
    ],
)
def test_a_bad_row_is_a_bad_record(rows, message):
    bad, good = stdin(b"id,text,x\n" + rows + b"2,next,y\n", format="csv")
    assert bad.origin == "stdin:2"
    assert message in bad.message
    assert (good.text, good.origin) == ("next", "stdin:3")


def test_a_quote_that_is_never_closed_is_reported():
    bad = one(b'text\n"a\nb\nc\n', "csv")
    assert (bad.origin, "malformed row" in bad.message) == ("stdin:2", True)


@pytest.mark.parametrize(
    ("data", "options", "message", "hint"),
    [
        (b"", {}, "empty", ""),
        (b"\n\n", {}, "empty", ""),
        (b"id,Body,x\n1,a,b\n", {}, "no column 'text' (found: Body, id, x)", "--text-field Body"),
        (b"id,text\n", {"id_field": "key"}, "no column 'key'", "--id-field"),
        (b"id,text\n", {"labels_field": "kinds"}, "no column 'kinds'", "--labels-field"),
        (b"t\xffxt\n", {}, "not the header of a table", ""),
    ],
)
def test_a_table_without_its_columns_is_an_error(data, options, message, hint):
    with pytest.raises(InputError) as raised:
        stdin(data, format="csv", **options)
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_cells_hold_labels_and_gold():
    document = one(
        b'text;kinds;gold\nab;x, y;"[[0, 1, ""x""]]"\n',
        "csv",
        labels_field="kinds",
        gold_field="gold",
    )
    assert document.labels == ("x", "y")
    assert document.entities == (Entity(0, 1, "x", "a", None, "given"),)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_cells_that_begin_like_a_formula_get_an_apostrophe(start):
    text = f"{start}1"
    row = csv_tsv.encode(Result(Document(text, text), (Entity(0, 2, f"{start}l", text),)))
    assert next(csv.reader([row.decode()])) == [f"'{text}", "0", "2", f"'{start}l", f"'{text}", ""]


# Plain text -------------------------------------------------------------------------------------


def test_a_text_file_is_one_document_with_its_newlines(put):
    name = put("talk.txt", b"\xef\xbb\xbfa\r\nb\rc\n\xe2\x80\xa8")
    assert list(formats.read([name])) == [
        Document("talk.txt", "a\r\nb\rc\n\u2028", origin="talk.txt")
    ]
    (empty,) = formats.read([put("empty.txt", b"")])
    assert empty.text == ""
    assert encoded(empty) == b'{"id":"empty.txt","text":"","entities":[]}\n'


def test_a_line_is_a_document():
    found = stdin("one\r\n\n  two\u2028 \r\r\nthree\x85".encode())
    assert [(d.id, d.text) for d in found] == [
        ("stdin:1", "one"),
        ("stdin:2", ""),
        ("stdin:3", "  two\u2028 \r"),
        ("stdin:4", "three\x85"),
    ]


@pytest.mark.parametrize("format", ["txt", "lines"])
def test_text_that_is_not_utf8_is_a_bad_record(format):
    bad = one(b"caf\xe9 au lait", format)
    assert bad.message == "not UTF-8 at byte offset 3 (0xe9)"
    assert "iconv" in bad.hint


# CoNLL ------------------------------------------------------------------------------------------

WRITTEN = (
    b'# id = 7\n# text = "Moon plays StarCraft II ."\n'
    b"Moon\tO\nplays\tO\nStarCraft\tB-game\nII\tI-game\n.\tO\n\n"
)


def test_conll_as_written():
    assert conll.encode(Result(Document("7", MOON), (GAME,))) == WRITTEN
    document = one(WRITTEN, "conll", gold_field="entities")
    assert (document.id, document.text, document.origin) == ("7", MOON, "stdin:1")
    assert document.entities == (Entity(11, 23, "game", "StarCraft II", None, "given"),)
    assert one(WRITTEN, "conll").entities is None


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        ("whitespace", "(Moon, 29) 张三", ["(Moon,", "29)", "张三"]),
        ("auto", "(Moon, 29) 张三abc。", ["(", "Moon", ",", "29", *")张三", "abc", "。"]),
        ("auto", "U.S.-based ... e\u0301", ["U.S.-based", ".", ".", ".", "e\u0301"]),
        ("auto", "Ann\x00sings \x7f", ["Ann", "\x00", "sings", "\x7f"]),
        ("char", "a b\u3000张", ["a", "b", "张"]),
    ],
)
def test_tokens(tokens, text, expected):
    assert [text[start:end] for start, end in conll.tokenize(text, tokens)] == expected


def test_what_tags_cannot_show_is_named():
    text = "New York City halls"
    long = Entity(0, 13, "city", "New York City")
    inner = Entity(0, 8, "state", "New York")
    cut = Entity(14, 18, "x", "hall")
    dropped = []
    result = Result(Document("1", text), (inner, long, cut))
    assert b"New\tB-city\nYork\tI-city\nCity\tI-city\nhalls\tO\n" in conll.encode(
        result, on_dropped=dropped.append
    )
    assert dropped == [inner, cut]
    heard = []
    _, encode = formats.writer("conll", tokens="char", on_dropped=heard.append)
    encode(result)
    assert heard == [inner]


def test_sentences_end_at_line_breaks_outside_of_entities():
    text = "\na\nNew\nYork b"
    result = Result(Document("1", text), (Entity(3, 11, "city", "New\nYork"),))
    dropped = []
    assert conll.encode(result, on_dropped=dropped.append).endswith(
        b"a\tO\n\nNew\tB-city\nYork\tI-city\nb\tO\n\n"
    )
    assert not dropped


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO2", "B-x I-x B-x O B-y O"),
        ("BIO1", "I-x I-x B-x O I-y O"),
        ("IOBES", "B-x E-x S-x O S-y O"),
        ("BILOU", "B-x L-x U-x O U-y O"),
    ],
)
def test_every_tag_scheme_reads_the_same(scheme, tags):
    lines = "".join(f"{t} {tag}\n" for t, tag in zip("abcdef", tags.split(), strict=True))
    document = one(lines.encode(), "conll", gold_field="entities")
    assert [(e.text, e.label) for e in document.entities] == [("a b", "x"), ("c", "x"), ("e", "y")]


def test_conll_of_other_tools():
    data = (
        "-DOCSTART- -X- -X- O\r\n\r\nEU NNP B-NP B-ORG\r\n# NN O O\r\n\r\n"
        "# newdoc id = x\n张\tB-人\n三\tI-人\n在\tO\nParis\tB-城 市\n\n\n"
    ).encode()
    first, second = stdin(data, format="conll", gold_field="entities")
    assert (first.id, first.text) == ("stdin:3", "EU #")
    assert (second.id, second.text) == ("stdin:6", "张三在 Paris")
    assert [(e.start, e.end, e.label) for e in second.entities] == [(0, 2, "人"), (4, 9, "城 市")]


def test_conll_documents_of_several_sentences():
    data = b"# id = a\nx\tO\ny\tB-l\n\nz\tI-l\n\n# id = b\n\n# id =\nw\tO"
    found = stdin(data, format="conll", gold_field="entities")
    assert [(d.id, d.text) for d in found] == [("a", "x y\nz"), ("b", ""), ("stdin:9", "w")]
    assert [e.text for e in found[0].entities] == ["y", "z"]


@pytest.mark.parametrize(
    ("lines", "place", "message"),
    [
        (b'# text = "Moon lands"\nMoon\tO\nland\tO\n', 2, "goes on after the last token: 's'"),
        (b'# text = "Moon lands"\nMoon\tO\nMars\tO\n', 2, "token 2, 'Mars', does not follow"),
        (b"Moon\tO\nMars\n", 4, "no tag like O or B-person"),
        (b"Moon\tX-y\n", 3, "no tag"),
        (b"Moon\tB-\n", 3, "no tag"),
        (b"\tO\n", 3, "a line without a token"),
        (b"Mo\xffn\tO\n", 3, "not UTF-8 at byte offset 2"),
    ],
)
def test_a_bad_conll_document_is_a_bad_record(lines, place, message):
    data = b"\n# id = 1\n" + lines + b"\n# id = 2\nnext\tO\n"
    bad, good = stdin(data, format="conll", gold_field="entities")
    assert bad.origin == f"stdin:{place}"
    assert message in bad.message
    assert good.text == "next"


# Round trips ------------------------------------------------------------------------------------

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


@unhurried
@given(st.lists(results(), max_size=3))
def test_csv_comes_back(found):
    data = csv_tsv.HEADER + b"".join(map(csv_tsv.encode, found))
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    expected = [
        [r.document.id, str(e.start), str(e.end), e.label, e.text, "0.5"]
        for r in found
        for e in r.entities
    ]
    assert rows[1:] == [[guarded(cell) for cell in row] for row in expected]


def guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


@unhurried
@given(st.lists(texts, min_size=1, max_size=4))
def test_csv_texts_come_back(contents):
    out = io.StringIO(newline="")
    rows = csv.writer(out, quoting=csv.QUOTE_ALL)
    rows.writerows([["text"], *([text] for text in contents)])
    assert [d.text for d in stdin(out.getvalue().encode(), format="csv")] == contents


@unhurried
@given(st.lists(results(), max_size=3), st.sampled_from(["auto", "whitespace", "char"]))
def test_conll_comes_back(found, tokens):
    lost = [[] for _ in found]
    data = [conll.encode(r, tokens, kept.append) for r, kept in zip(found, lost, strict=True)]
    documents = stdin(b"".join(data), format="conll", gold_field="entities")
    assert len(documents) == len(found)
    for result, dropped, document in zip(found, lost, documents, strict=True):
        assert (document.id, document.text) == (result.document.id, result.document.text)
        kept = sorted(set(plain(result.entities)) - set(plain(dropped)))
        assert len(kept) + len(dropped) == len(result.entities)
        expected = [(s, e, conll.BREAKS.sub(" ", label).strip(), t) for s, e, label, t in kept]
        assert plain(document.entities) == expected


@unhurried
@given(st.lists(texts.map(lambda text: text.replace("\n", "")), max_size=4))
def test_lines_come_back(contents):
    data = b"".join(text.encode() + b"\r\n" for text in contents)
    assert [d.text for d in stdin(b"x\n" + data, format="lines")][1:] == contents


@unhurried
@given(st.binary(max_size=200), st.sampled_from(sorted(formats.FORMATS)))
def test_no_bytes_crash_a_reader(data, format):
    fields = Fields(labels="l", gold="entities")
    try:
        for found in formats.FORMATS[format].read(io.BytesIO(data), "x", fields):
            if isinstance(found, Document):
                for name in formats.WRITERS:
                    formats.writer(name)[1](Result(found, found.entities or ()))
    except InputError:
        assert format == "csv"


def test_unknown_formats_are_refused():
    with pytest.raises(UsageError, match="no format 'xml'"):
        formats.read([], format="xml")
    with pytest.raises(UsageError, match="no format 'xml'"):
        formats.writer("xml")


@pytest.mark.parametrize(
    ("path", "format"),
    [
        (None, "jsonl"),
        ("-", "jsonl"),
        ("a.CSV", "csv"),
        ("a.bio.gz", "conll"),
        ("a.ndjson", "jsonl"),
        ("a.txt", "jsonl"),
        ("a", "jsonl"),
    ],
)
def test_the_output_suffix_names_the_format(path, format):
    assert formats.output_format(path) == format
