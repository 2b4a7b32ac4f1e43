"""Varied labels and texts stay true: what is said of a text holds in the text that is asked."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.core.language import Language
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.labels.synonyms import other_names
from b2ner_cli.training.augmentation import Augmentation, disturb, rename, some
from b2ner_cli.training.groups import PromptChoices, bundles
from b2ner_cli.training.selection import Selection

TEXT = "Ann Lee met Bob in Rome . Ann Lee went on to Paris ."
MENTIONS = (
    Mention("person", "Ann Lee"),
    Mention("person", "Bob"),
    Mention("city", "Rome"),
    Mention("person", "Ann Lee"),
    Mention("city", "Paris"),
)
SURFACES = {"person": ["Ann Lee", "Bob", "Zoe Quist"], "city": ["Rome", "Paris", "Oslo"]}
LABELS = ("person", "city", "date", "time", "organization", "location")


@pytest.mark.parametrize("language", get_args(Language))
def test_every_other_name_can_be_asked(language):
    table = other_names(language)
    assert len(table) > 10
    for label, names in table.items():
        assert label not in names
        LabelSet((label, *names))  # no separators, nothing twice


@given(seed=st.integers(0, 10_000))
def test_a_disturbed_text_holds_every_mention_as_often_as_before(seed):
    text, mentions = disturb(TEXT, MENTIONS, SURFACES, random.Random(seed))
    assert [m.label for m in mentions] == [m.label for m in MENTIONS]
    for before, after in zip(MENTIONS, mentions, strict=True):
        assert text.count(after.surface) == TEXT.count(before.surface)


def test_every_kind_of_disturbance_happens():
    said = {disturb(TEXT, MENTIONS, SURFACES, random.Random(seed))[0] for seed in range(200)}
    assert {TEXT.lower(), TEXT.upper()} <= said
    assert any("Zoe Quist" in text or "Oslo" in text for text in said)
    assert any(any(c.isdigit() for c in text) for text in said)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("Rome and Romeo", [Mention("city", "Rome")]),  # inside another word
        ("Ann Lee and Ann", [Mention("person", "Ann Lee"), Mention("person", "Ann")]),
        ("in LA now", [Mention("city", "LA")]),  # too short to be sure
        ("nothing here", [Mention("city", "Rome")]),  # not in the text
        ("in New York City", [Mention("city", "New York"), Mention("firm", "York City")]),
        ("Die Müllerstraße gehört Müller", [Mention("person", "Müller")]),
        ("Apple sells an Apple pie", [Mention("firm", "Apple")]),  # marked once of two
    ],
)
def test_what_cannot_be_replaced_safely_stays(text, mentions):
    cased = {text, text.lower(), text.upper()}
    for seed in range(100):
        assert disturb(text, mentions, SURFACES, random.Random(seed))[0] in cased


def test_texts_whose_length_depends_on_case_keep_theirs():
    mentions = (Mention("city", "GroßStraßen"),)
    for seed in range(50):
        text, said = disturb("in GroßStraßen", mentions, {}, random.Random(seed))
        assert said[0].surface in text


@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_renamed_labels_stay_distinct(seed, share):
    asked = rename(LABELS, "en", share, random.Random(seed))
    assert list(asked) == list(LABELS)
    assert len(set(asked.values())) == len(LABELS)
    if not share:
        assert list(asked.values()) == list(LABELS)


def test_a_part_of_the_labels_mostly_holds_a_gold_one():
    hits = 0
    for seed in range(400):
        chosen = some(LABELS, ["time"], 4, random.Random(seed))
        assert 1 <= len(chosen) == len(set(chosen)) <= 4
        hits += "time" in chosen
    assert 0.7 < hits / 400 < 0.95


def make_pick(count):
    documents = tuple(Document(str(n), TEXT, mentions=MENTIONS) for n in range(count))
    return Selection("NER_en_0", "en", LABELS, documents, count, 0)


def group(*asked):
    """The groups of all bundles."""
    return [one for bundle in bundles(*asked) for one in bundle]


def test_targets_use_the_names_that_are_asked():
    asking = PromptChoices(18, 0.1, Augmentation(0.5, 0.8, 0.5))
    groups = list(group([make_pick(160)], 4, asking, "7"))
    assert sum(len(asked.texts) for asked in groups) == 160
    sizes = {len(asked.labels.names) for asked in groups}
    assert len(sizes) > 3
    assert any("human" in asked.labels.names for asked in groups)
    for asked in groups:
        for text, target in zip(asked.texts, asked.targets, strict=True):
            for mention in target:
                assert mention.label in asked.labels.names
                assert mention.surface in text


def test_no_variation_leaves_documents_as_they_are():
    for asked in group([make_pick(40)], 4, PromptChoices(18, 0.0), "7"):
        assert set(asked.texts) == {TEXT}
        assert set(asked.targets) == {MENTIONS}
        assert set(asked.labels.names) == set(LABELS)
