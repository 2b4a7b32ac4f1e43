"""Tables: rows under a header in, a row an entity out."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import Document, Entity, Result
from b2ner_cli.errors import InputError
from b2ner_cli.formats import csv_tsv
from tests.formats.cases import encoded, one, results, stdin, texts, unhurried


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
        ("d.csv.gz", gzip.compress(b'text\n"a, b"\n', mtime=0)),
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
