"""Parquet: what is written is read, and what is no such file is said."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli.core.document import BadRecord
from b2ner_cli.errors import InputError
from tests.formats.cases import results

pytest.importorskip("pyarrow")

from b2ner_cli.formats import parquet


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(results(), st.none() | st.just(["a", "b"])), max_size=4))
def test_parquet_comes_back(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("parquet") / "docs.parquet"
    records = [
        {
            "id": result.document.id,
            "text": result.document.text,
            "entities": [each._asdict() for each in result.entities],
            "labels": labels,
            "unlocated": [],
        }
        for result, labels in found
    ]
    parquet.write(records, path)
    documents = list(parquet.read(path))
    for (result, labels), document in zip(found, documents, strict=True):
        assert (document.id, document.text) == (result.document.id, result.document.text)
        assert document.labels == (tuple(labels) if labels else None)
        assert [e[:4] for e in document.entities] == [e[:4] for e in result.entities]
    assert [path.name for path in path.parent.iterdir()] == ["docs.parquet"]


def test_a_row_that_cannot_be_used_is_a_bad_record(tmp_path):
    path = tmp_path / "docs.parquet"
    wrong = {"start": 0, "end": 9, "label": "x", "text": "a"}
    parquet.write([{"id": "1", "text": "a", "entities": [wrong]}, {"id": "2", "text": "b"}], path)
    bad, good = parquet.read(path)
    assert isinstance(bad, BadRecord) and bad.origin == f"{path}:0"
    assert "no span of 1 characters" in bad.message
    assert good.text == "b"


def test_what_is_no_parquet_file(tmp_path):
    (tmp_path / "text.parquet").write_bytes(b"PAR1 not")
    for name, message in (("none.parquet", "no such file"), ("text.parquet", "not a Parquet")):
        with pytest.raises(InputError, match=message):
            list(parquet.read(tmp_path / name))
