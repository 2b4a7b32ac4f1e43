"""Plain text: a file or a line is a document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import Document
from tests.formats.cases import encoded, one, stdin, texts, unhurried


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


@unhurried
@given(st.lists(texts.map(lambda text: text.replace("\n", "")), max_size=4))
def test_lines_come_back(contents):
    data = b"".join(text.encode() + b"\r\n" for text in contents)
    assert [d.text for d in stdin(b"x\n" + data, format="lines")][1:] == contents
