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
    lines = content.decode("utf-8-sig").split("\n")
    for element in found:
        at = lines[element.line - 1][element.column - 1 :]
        assert at.startswith(element.raw.split("\n")[0])


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


LOST = "the row that begins on line 2 does not end"


@pytest.mark.parametrize(
    ("rows", "problems"),
    [
        ('{"a": 1},\n{"a": [},\n7,\n{"a": 2}', ["", "line 3, column 8: expecting value", "", ""]),
        ('{"a": "cut},\n{"a": 2}', ["line 2, column 13: invalid control character", ""]),
        ('{"a": [1,\n{"a": 2}', [LOST, ""]),
        ('  {"a": [\n    {"b": }\n  },\n  {"a": 2}', ["line 3, column 11: expecting value", ""]),
        ('\t{"张": 三},\n\t{"a": 2}', ["line 2, column 8: expecting value", ""]),
        ('{"a": "\\q"},\n{"a": 2}', ["line 2, column 8: invalid \\escape", ""]),
        ('{"a" 1}', ["line 2, column 6: expecting ':' delimiter"]),
        ("[" * 9999 + "]" * 9999 + ',\n{"a": 2}', ["line 2, column 1: too deep", ""]),
    ],
)
@pytest.mark.parametrize("chunk", [None, 1, 8])
def test_a_broken_row_is_named_and_those_behind_it_are_read(rows, problems, chunk):
    found = read(f"[\n{rows}\n]".encode(), chunk if len(rows) < 99 else None)
    assert len(found) == len(problems)
    for element, problem in zip(found, problems, strict=True):
        assert problem in element.problem and bool(problem) == bool(element.problem)
    assert problems[-1] or found[-1].raw == '{"a": 2}'


def test_a_row_of_one_line_with_others_ends_what_can_be_read():
    found = elements(io.BytesIO(b'[{"a": 1}, {"a": }, {"a": 2}]'))
    assert [next(found).raw, next(found).problem[:34]] == [
        '{"a": 1}', "malformed JSON at line 1, column 1"
    ]  # fmt: skip
    with pytest.raises(ArrayError, match="the file ends within a row"):
        next(found)


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
