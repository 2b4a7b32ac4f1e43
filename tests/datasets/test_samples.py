"""The samples that bring gold along: what their rules promise holds in every document."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from b2ner_cli.core.document import Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.grounding import ground
from b2ner_cli.datasets import checks
from b2ner_cli.datasets.splits import DataSource, find_splits
from b2ner_cli.prompts import parsing, rendering

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
LABELS = {
    "en": ("person", "organization", "location", "date", "product", "event", "money"),
    "zh": ("人名", "组织机构名", "地名", "日期", "产品", "活动", "金额"),
}
COUNTS = {"en": 36, "zh": 24}
GENRES = {"news", "mail", "contract", "recipe", "tweet", "review", "note"}
GOLD = ("gold.jsonl", "gold_zh.jsonl", "first_en.jsonl", "first_zh.jsonl")


def documents(name):
    return [json.loads(line) for line in (SAMPLES / name).read_text("utf-8").split("\n") if line]


def first(language):
    return documents(f"first_{language}.jsonl")


@pytest.mark.parametrize("name", GOLD)
def test_gold_is_exact_in_order_and_apart(name):
    for document in documents(name):
        text, entities = document["text"], document["entities"]
        for entity in entities:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert entity["text"] and entity["text"] == entity["text"].strip()
        assert all(left["end"] <= right["start"] for left, right in pairwise(entities))


def test_ids_are_unique():
    for names in (GOLD[:2], GOLD[2:]):
        ids = [document["id"] for name in names for document in documents(name)]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("language", LABELS)
def test_first_documents_are_short_and_of_every_genre(language):
    found = first(language)
    assert len(found) == COUNTS[language]
    assert {document["lang"] for document in found} == {language}
    assert all(60 <= len(document["text"]) <= 500 for document in found)
    genres = Counter(document["genre"] for document in found)
    assert set(genres) == GENRES
    assert max(genres.values()) - min(genres.values()) <= 1


@pytest.mark.parametrize("language", LABELS)
def test_first_labels_are_those_of_the_language_and_none_is_rare(language):
    said = Counter(e["label"] for document in first(language) for e in document["entities"])
    assert set(said) == set(LABELS[language])
    assert min(said.values()) >= 12


@pytest.mark.parametrize("language", LABELS)
def test_first_mentions_are_marked_wherever_they_stand(language):
    for document in first(language):
        text, entities = document["text"], document["entities"]
        marked = [(entity["start"], entity["end"]) for entity in entities]
        for surface in {entity["text"] for entity in entities}:
            start = text.find(surface)
            while start >= 0:
                end = start + len(surface)
                assert any(a <= start and end <= b for a, b in marked), (document["id"], surface)
                start = text.find(surface, end)


@pytest.mark.parametrize("language", LABELS)
def test_first_gold_can_be_answered_in_full(language):
    """An answer that says the gold in order scores 100: no error is the program's own."""
    for document in first(language):
        gold = [(e["start"], e["end"], e["label"], e["text"]) for e in document["entities"]]
        answer = rendering.answer([Mention(label, text) for *_, label, text in gold])
        mentions, problems = parsing.parse(Completion(answer), LABELS[language], document["text"])
        entities, unlocated = ground(document["text"], mentions)
        assert not problems and not unlocated
        assert [(e.start, e.end, e.label, e.text) for e in entities] == gold


# What is there to train on


def test_written_documents_are_whole():
    findings = list(checks.check(find_splits(DataSource(SAMPLES / "written"))))
    assert findings == []


def test_written_documents_bring_labels_and_other_names_that_can_be_asked():
    for path in sorted((SAMPLES / "written").glob("*/*/[td]*.json")):
        rows = json.loads(path.read_text("utf-8"))
        listed = set(json.loads((path.parent / "labels.json").read_text("utf-8")))
        assert len({row["sentence"] for row in rows}) == len(rows)
        for row in rows:
            labels, names = row["labels"], row.get("other_names", {})
            assert len(set(labels)) == len(labels) and set(labels) <= listed
            assert {entity["type"] for entity in row["entities"]} | set(names) <= set(labels)
            assert set(row.get("descriptions", labels)) == set(labels)
            asked = [*labels, *(name for others in names.values() for name in others)]
            assert len(set(asked)) == len(asked)
            assert not any(set(",;:") & set(name) for name in asked)
            spans = sorted(entity["pos"] for entity in row["entities"])
            assert all(left[1] <= right[0] for left, right in pairwise(spans))


def test_no_sample_is_trained_on():
    trained = {
        row["sentence"]
        for path in (SAMPLES / "written").glob("*/*/train.json")
        for row in json.loads(path.read_text("utf-8"))
    }
    for path in SAMPLES.glob("*.jsonl"):
        assert trained.isdisjoint(document["text"] for document in documents(path.name))
