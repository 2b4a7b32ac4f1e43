"""JSON arrays an element at a time: the same elements as a parser of the whole finds."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.formats import json_array
from b2ner_cli.formats.json_array import ArrayError, elements

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def read(content, chunk=None):
    stream = io.BytesIO(content)
    if chunk:  # a stream that gives a few bytes at a time
        stream.read = lambda size, whole=stream.read: whole(min(size, chunk))
    return list(elements(stream))


@given(
    st.lists(VALUES, max_size=6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.integers(1, 7),
    st.sampled_from([b"", b"\xef\xbb\xbf", b" \r\n"]),
)
def test_elements_are_those_of_the_whole(values, indent, escaped, chunk, before):
    content = before + json.dumps(values, indent=indent, ensure_ascii=escaped).encode()
    found = read(content, chunk)
    assert [json.loads(element.raw) for element in found] == values
    lines = content.split(b"\n")
    for element in found:
        at = lines[element.line - 1].removeprefix(b"\xef\xbb\xbf")[element.column - 1 :]
        assert at.startswith(element.raw.split(b"\n")[0])


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "empty, not a list"),
        (b"\n{}", 2, "an object, not a list"),
        (b'"x"', 1, "a string, not a list"),
        (b"7", 1, "a single value, not a list"),
        (b"PK", 1, "not JSON, not a list"),
        (b"[", 1, "the file ends where a row should be"),
        (b"[1,\n]", 2, "']' stands where a row should be"),
        (b"[1,,2]", 1, "',' stands where a row"),
        (b"[1 2]", 1, "'2' stands behind a row"),
        (b"[{}\n", 2, "the file ends behind a row"),
        (b'[{}, {"a": "', 1, "the file ends within a row"),
        (b"[1] 2", 1, "goes on behind the end"),
        (b"[}", 1, "the file ends within a row"),
    ],
)
def test_what_is_no_array(content, line, message):
    with pytest.raises(ArrayError) as caught:
        read(content)
    assert (caught.value.line, message in caught.value.message) == (line, True)


def test_rows_behind_a_broken_one_are_read():
    found = read(b'[\n{"a": 1},\n{"a": [},\n{"a": "cut},\n{"a": 2}\n]')
    assert [(e.line, e.ended) for e in found] == [(2, True), (3, False), (4, False), (5, True)]
    assert found[-1].raw == b'{"a": 2}'


def test_a_broken_row_does_not_take_a_row_within_it_for_the_next():
    content = b'[\n  {"a": [\n    {"b": }\n  },\n  {"a": 2}\n]'
    assert [element.raw for element in read(content)][-1] == b'{"a": 2}'
    assert len(read(content)) == 2


def test_depth_has_a_limit_and_is_not_a_crash():
    content = b"[\n" + b"[" * 500 + b"]" * 500 + b",\n{}\n]"
    assert [element.ended for element in read(content)] == [False, True]


def test_memory_is_that_of_an_element():
    row = json.dumps({"sentence": "x" * 2000}).encode()

    class Rows:  # 100 MB
        left = 50_000

        def read(self, size):
            count = min(self.left, size // len(row))
            self.left -= count
            lead = b"[" if self.left + count == 50_000 else b","
            return (lead + b",".join([row] * count)) if count else b"]" if self.close() else b""

        closed = False

        def close(self):
            was, self.closed = self.closed, True
            return not was

    tracemalloc.start()
    assert sum(1 for _ in elements(Rows())) == 50_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * json_array.CHUNK
