"""`--min-score`: one number, numbers by label, or both; what is neither is refused by name."""

import pytest

from b2ner_cli.cli.prompting import min_scores, spelled_min_scores
from b2ner_cli.core.document import Document
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging.loop import Options, tag
from tests.scripted import ScriptedEngine

LABELS = LabelSet(("person", "city"))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0", (0.0, {})),
        ("0.8", (0.8, {})),
        ("person=0.8, city = 0.95", (0.0, {"person": 0.8, "city": 0.95})),
        ("0.5,person=1", (0.5, {"person": 1.0})),
        ('0.5, "person=1"', (0.5, {"person": 1.0})),
        ("person=0.8\ncity=0.9\n", (0.0, {"person": 0.8, "city": 0.9})),
    ],
)
def test_what_is_said(said, expected):
    assert min_scores(said, LABELS) == expected


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("high", "high: no score"),
        ("1.5", "between 0 and 1"),
        ("nan", "between 0 and 1"),
        ("person=", "person=: no score"),
        ("town=0.5", "no label 'town'"),
    ],
)
def test_what_is_refused(said, message):
    with pytest.raises(UsageError, match=message):
        min_scores(said, LABELS)


def test_labels_without_a_document_set_are_not_checked():
    assert min_scores("town=0.5", None) == (0.0, {"town": 0.5})


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        (Options(), ["person", "city"]),
        (Options(min_score=0.95), []),
        (Options(min_scores={"person": 0.95}), ["city"]),
        (Options(min_score=0.95, min_scores={"person": 0.5}), ["person"]),
    ],
)
def test_what_is_kept(options, labels):
    (result,) = tag([Document("1", "Person1 in City2")], ScriptedEngine(), LABELS, options)
    assert [e.label for e in result.entities] == labels


@pytest.mark.parametrize(
    "label", ["person", "movie title", "city, town", "a=b", "x=0.5, y", 'the "best", one', "人，名"]
)
def test_what_is_spelled_is_read_back(label):
    said = {label: 0.00012, "other": 0.95}
    assert min_scores(spelled_min_scores(said), None) == (0.0, said)
