"""How far two lists of results agree: entities of both, of one alone, by label and place."""

import pytest

from b2ner_cli.core.document import Document, Entity, Result
from b2ner_cli.errors import UsageError
from b2ner_cli.scoring.agreement import agreement
from b2ner_cli.scoring.counts import Counts
from b2ner_cli.scoring.tables import agreement_rows

TEXT = "Ann met Bob in Rome"
ANN, BOB = Entity(0, 3, "person", "Ann"), Entity(8, 11, "person", "Bob")
ROME = Entity(15, 19, "city", "Rome")


def result(*entities, text=TEXT):
    return Result(Document("1", text), entities)


def test_label_and_place_must_agree():
    first = [result(ANN, BOB, ROME), result(ANN)]
    second = [result(ANN, ROME._replace(label="person")), result(ANN, BOB)]
    found = agreement(first, second)
    assert found.labels == {"person": Counts(tp=2, fp=2, fn=1), "city": Counts(0, 0, 1)}
    back = agreement(second, first)
    assert {name: each.f1 for name, each in back.labels.items()} == {
        name: each.f1 for name, each in found.labels.items()
    }
    assert agreement_rows(found)[1:] == [
        ("all labels", "50.00", "2", "2", "2"),
        ("person", "57.14", "2", "1", "2"),
        ("city", "0.00", "0", "1", "0"),
    ]


@pytest.mark.parametrize("other", [[], [result(text="Ann met Eve in Rome")]])
def test_results_of_other_documents_are_refused(other):
    with pytest.raises(UsageError, match="not results of the same documents"):
        agreement([result(ANN)], other)
