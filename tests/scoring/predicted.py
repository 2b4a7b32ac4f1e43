"""Files of predictions and of gold in a few words, and their scores."""

import json

from b2ner_cli.formats.fields import Fields
from b2ner_cli.formats.predictions import PredictionRecord, encode
from b2ner_cli.scoring.report import score
from b2ner_cli.scoring.scored_documents import ScoreJob

PROMPT = "Find them. \nLabel Set: person, city, organization -> company \n\nText: {} \nAnswer:"


def evaluate(path, metric="strict", fields=Fields(), **options):
    """The report of one metric; the options are those of a ScoreJob."""
    return score(path, ScoreJob((metric,), fields=fields, **options))[metric]


def answers(path, *lines):
    """Write a prediction file of (language, data set, sentence, gold, predicted)."""
    records = (
        PredictionRecord(
            "NER", name, language, str(number), text, PROMPT.format(text), gold, predicted
        )
        for number, (language, name, text, gold, predicted) in enumerate(lines)
    )
    path.write_bytes(b"".join(map(encode, records)))
    return path


def jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def entity(text, surface, label):
    start = text.index(surface)
    return {"start": start, "end": start + len(surface), "label": label}


ANN = "Ann Lee met Bob in Rome"
GOLD = {
    "id": "1",
    "text": ANN,
    "entities": [
        entity(ANN, "Ann Lee", "person"),
        entity(ANN, "Bob", "person"),
        entity(ANN, "Rome", "city"),
    ],
}
FOUND = {
    **GOLD,
    "entities": [
        entity(ANN, "Ann", "person"),
        entity(ANN, "Bob", "person"),
        entity(ANN, "Rome", "person"),
    ],
    "unlocated": [{"label": "person", "text": "Carl"}],
}


def five_sets(path):
    return answers(
        path,
        ("en", "one", "Bob, Ann", "person: Bob; person: Ann", "person: Bob; person: Eve"),
        ("zh", "one", "a b c", "x: a; x: b", "x: a"),
        ("zh", "math-junior", "a", "x: a", "x: b"),
        ("en", "Two", "Bob", "person: Bob", "person: Bob"),
        ("zh", "two", "a", "x: a", "x: a"),
    )
