import json
from dataclasses import replace

import pytest

from b2ner_cli.formats.predictions import PredictionRecord, encode
from b2ner_cli.scoring import answers
from b2ner_cli.scoring.audits import Audits, catching
from b2ner_cli.scoring.paper_metric import paper_items
from b2ner_cli.scoring.scored_documents import ScoreJob

RECORD = PredictionRecord(
    "NER",
    "one",
    "en",
    "0",
    "Ann Lee met Bob in Rome",
    "Find. \nLabel Set: person, organization -> company, city \n\nText: ... \nAnswer:",
    "",
    "",
)
ALWAYS = {"AuditWhatever"}


def caught(gold, predicted, **changes):
    record = replace(RECORD, gold=gold, predicted=predicted, **changes)
    return set(catching(record, paper_items(gold), paper_items(predicted))) - ALWAYS


@pytest.mark.parametrize(
    ("gold", "predicted", "audits"),
    [
        ("person: Bob", "person: bob", set()),
        ("None", "None", {"AuditBothEmpty"}),
        ("None", "person: Bob", {"AuditAnyF1NotOne", "AuditLabelEmptyOnly"}),
        ("person: Bob", "nothing", {"AuditAnyF1NotOne", "AuditPredEmptyOnly"}),
        ("city: Rome", "planet: Rome", {"AuditAnyF1NotOne", "AuditInvalid"}),
        ("city: Rome", "City: ROME", set()),
        (
            "None",
            "organization -> company: Bob",
            {"AuditAnyF1NotOne", "AuditLabelEmptyOnly"},
        ),
        ("person: Bob", "person: Bob; city: Oslo", {"AuditAnyF1NotOne", "AuditFidelity"}),
        ("person: Ann, Bob", "person: Ann, Bob", set()),  # each part between commas is looked for
        ("person: Bob; city: Bob", "person: Bob; city: Bob", {"AuditConfuseMatrix"}),
        ("person: Bob", "person: Bob; city: Bob", {"AuditAnyF1NotOne", "AuditConfuseMatrix"}),
        ("a: x: Bob; a: y: Bob", "a: x: Bob; a: y: Bob", {"AuditInvalid", "AuditConfuseMatrix"}),
    ],
)
def test_what_catches_a_record(gold, predicted, audits):
    assert caught(gold, predicted) == audits


def test_without_a_label_line_no_label_is_invalid():
    assert "AuditInvalid" not in caught("x: Bob", "y: Bob", instruction="Find them.")


def test_other_tasks_have_fewer_audits():
    assert caught("a: x", "z: not there", task="EEA") == {"AuditAnyF1NotOne"}


def test_all_records_are_kept_with_their_lines(tmp_path):
    path = tmp_path / "p.jsonl"
    number = 1200  # more than the thousand that the authors' evaluator keeps
    records = (replace(RECORD, id=str(at), predicted="person: Eve") for at in range(number))
    path.write_bytes(b"".join(map(encode, records)))
    audits = Audits()
    for document in answers.scored_documents(path, ScoreJob(("paper",))):
        audits.add(document)
    audits.write(tmp_path / "report")
    found = json.loads((tmp_path / "report/NER_en/one.json").read_text(encoding="utf-8"))
    assert {name: each["count"] for name, each in found.items()} == {
        "AuditAnyF1NotOne": number,
        "AuditBothEmpty": 0,
        "AuditLabelEmptyOnly": number,
        "AuditPredEmptyOnly": 0,
        "AuditWhatever": number,
        "AuditInvalid": 0,
        "AuditFidelity": number,
        "AuditConfuseMatrix": 0,
    }
    assert all(len(each["record"]) == each["count"] for each in found.values())
    last = found["AuditFidelity"]["record"][-1]
    assert last == {
        "json_data": json.loads(path.read_text().splitlines()[-1]),
        "predict": "person: Eve",
        "y_truth": [],
        "y_pred": ["person:eve"],
    }
