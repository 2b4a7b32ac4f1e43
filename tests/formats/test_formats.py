"""What holds for every format of the table."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import Document, Result
from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats.fields import Fields
from tests.formats.cases import unhurried


@unhurried
@given(st.binary(max_size=200), st.sampled_from(sorted(formats.FORMATS)))
def test_any_bytes_are_documents_and_bad_records_and_can_be_written(data, format):
    fields = Fields(labels="l", gold="entities")
    try:
        for found in formats.FORMATS[format].read(io.BytesIO(data), "x", fields):
            assert found.origin.startswith("x")
            if isinstance(found, Document):
                result = Result(found, found.entities or ())
                written = {name: formats.writer(name)[1](result) for name in formats.WRITERS}
                (again,) = formats.FORMATS["jsonl"].read([written["jsonl"]], "y", fields)
                assert again.text == found.text
                assert written["conll"].endswith(b"\n\n")
                assert bool(written["csv"]) == bool(result.entities)
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
