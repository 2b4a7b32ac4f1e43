"""What the authors' files say, read strictly and by the paper's metric."""

import json

import pytest

from b2ner_cli.formats.predictions import PredictionRecord, encode
from tests.scoring.predicted import answers, evaluate, five_sets, jsonl


def test_answer_files_score_strictly_by_place(tmp_path):
    path = answers(
        tmp_path / "p.jsonl",
        ("en", "one", "Bob met Bob in Rome", "person: Bob; person: Bob; city: Rome", "person: Bob"),
    )
    (strict,) = evaluate(path).data_sets
    assert (strict.scores.total.tp, strict.scores.total.fn) == (1, 2)
    (paper,) = evaluate(path, metric="paper").data_sets
    assert (paper.scores.total.tp, paper.scores.total.fn) == (1, 1)


def test_answer_files_prefer_their_own_entities(tmp_path):
    path = answers(tmp_path / "p.jsonl", ("en", "one", "Bob and Bob", "person: Bob", "person: Bob"))
    line = json.loads(path.read_text())
    line["entities"] = [{"start": 8, "end": 11, "label": "person", "text": "Bob", "score": None}]
    jsonl(path, line)
    assert evaluate(path).f1 == 0.0
    assert evaluate(path, metric="paper").f1 == 1.0


def test_unlocated_and_invalid_are_shares_of_the_mentions(tmp_path):
    path = answers(
        tmp_path / "p.jsonl",
        (
            "en",
            "one",
            "Bob of ACME in Rome",
            "None",
            "person: Bob; Organization->company: Acme; planet: Rome; person: Eve; odd",
        ),
    )
    for metric in ("paper", "strict"):
        (values,) = evaluate(path, metric=metric).as_dict()["datasets"].values()
        assert (values["mentions"], values["unlocated"], values["invalid_labels"]) == (
            4,
            0.25,
            0.25,
        )


def test_labels_with_commas_are_valid(tmp_path):
    record = PredictionRecord(
        "NER",
        "one",
        "en",
        "0",
        "Rome",
        "\nLabel Set: person, city, state \n\n",
        "city, state: Rome",
        "city, state: Rome",
    )
    path = tmp_path / "p.jsonl"
    path.write_bytes(encode(record))
    report = evaluate(path)
    assert report.f1 == 1.0
    assert report.data_sets[0].audit.invalid == 0


def test_other_tasks_are_scored_alike_and_said_so(tmp_path):
    path = five_sets(tmp_path / "p.jsonl")
    path.write_text(path.read_text().replace('"Task":"NER"', '"Task":"EE"'))
    assert len(evaluate(path, metric="paper").notes) == 5


@pytest.mark.parametrize(
    ("task", "gold", "predicted"),
    [
        ("NER", "a->b: Bob", "A -> B: Bob"),
        ("RE", "a -> b: Bob, Rome", "a->b: Bob, Rome"),
        ("newEET", "a -> b; c", "A->B; c"),
        ("Sentiment", "a -> b", "a->b"),
    ],
)
def test_spellings_of_a_label_that_was_asked_for_are_one(tmp_path, task, gold, predicted):
    prompt = "Find. \nLabel Set: a -> b, c \n\nText: x"
    record = PredictionRecord(task, "one", "en", "0", "Bob in Rome", prompt, gold, predicted)
    path = tmp_path / "p.jsonl"
    path.write_bytes(encode(record))
    assert evaluate(path).f1 == 1.0
    assert set(evaluate(path).data_sets[0].scores.labels) <= {"a -> b", "c"}


def test_labels_that_were_not_asked_for_stay_as_said(tmp_path):
    prompt = "Find. \nLabel Set: c \n\nText: x"
    said = "a -> b: Bob, Rome; c: Bob, Rome", "a->b: Bob, Rome; C: Bob, Rome"
    path = tmp_path / "p.jsonl"
    path.write_bytes(encode(PredictionRecord("RE", "d", "en", "0", "Bob in Rome", prompt, *said)))
    (data_set,) = evaluate(path).data_sets
    assert set(data_set.scores.labels) == {"a -> b", "a->b", "c"}
