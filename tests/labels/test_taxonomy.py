"""The shipped taxonomy is what it says it is; its names are found, searched and asked for."""

import json
from collections import Counter
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.labels.reading import parse_labels
from b2ner_cli.labels.taxonomy import (
    SURE,
    TaxonomyLabel,
    entries,
    find,
    named,
    one,
    search,
    singular,
    with_sets,
)

FILE = resources.files("b2ner_cli.labels").joinpath("taxonomy.jsonl")
SMALL = (
    TaxonomyLabel("person", "en", "confirmed", "a human being"),
    TaxonomyLabel(
        "person -> writer", "en", "confirmed", "who writes books", ("Ann",), {"Zoo": "WRI"}
    ),
    TaxonomyLabel("music artist", "en", "ours", "a singer or a group"),
    TaxonomyLabel("film genre", "en", "ours"),
    TaxonomyLabel("人名->歌手", "zh", "ours", "唱歌的人"),
    TaxonomyLabel("Film", "de", "ours"),
)

# What is shipped ----------------------------------------------------------------------------------


def test_the_file_is_small_sorted_by_line_and_without_repeats():
    text = FILE.read_text(encoding="utf-8")
    assert len(text.encode()) < 500_000
    keys = [(line["language"], line["label"]) for line in map(json.loads, text.splitlines())]
    assert len(set(keys)) == len(keys) == len(entries()) > 700


def test_every_label_can_be_asked_and_follows_the_rules():
    for entry in entries():
        LabelSet((entry.label,))
        assert entry.label.count("->") <= 1, entry
        if entry.parent is not None:
            between = "->" if entry.language == "zh" else " -> "
            assert entry.label.startswith(entry.parent + between), entry
        if entry.language == "en":
            words = [word for word in entry.label.split() if not word.isupper() and word != "pH"]
            assert all(word == word.lower() for word in words), entry
        assert "其他" not in entry.label
        assert all(mention == mention.strip() != "" for mention in entry.mentions), entry
        assert bool(entry.description) == bool(entry.mentions), entry


def test_a_parent_is_a_label_itself():
    known = {(entry.language, entry.label) for entry in entries()}
    lacking = {e.language for e in entries() if e.parent and (e.language, e.parent) not in known}
    assert lacking <= {"hi", "bn"}  # the authors' own names, of which not all are known


def test_the_most_used_labels_are_described():
    described = Counter(entry.language for entry in entries() if entry.description)
    assert described["en"] >= 150 and described["zh"] >= 80
    lacking = [
        e.name
        for e in entries()
        if e.language in ("en", "zh") and len(e.data_sets) > 1 and not e.description
    ]
    assert lacking == []


def test_what_is_known_of_the_authors_names_is_kept_apart_from_ours():
    sure = Counter(entry.sure for entry in entries())
    assert sure["confirmed"] == 27 and sure["probable"] == 40
    assert set(sure) < set(SURE)
    (party,) = find("organization -> political party", entries())
    assert party.sure == "confirmed"
    assert party.data_sets["CrossNER_politics"] == "political party"


def test_a_data_set_calls_no_two_labels_by_one_name():
    pairs = Counter((e.language, s, called) for e in entries() for s, called in e.data_sets.items())
    twice = {set_ for (_, set_, _), count in pairs.items() if count > 1}
    assert twice == set()


# Finding ------------------------------------------------------------------------------------------


def test_every_name_leads_back_to_its_entry():
    for entry in entries()[::7]:
        assert find(entry.name, entries()) == [entry]
        assert entry in find(entry.label, entries())
        assert named(f"taxonomy:{entry.name}") == [entry.label]


def test_names_are_found_in_any_spelling_but_their_own_comes_first():
    assert [e.label for e in find("Person->Writer", SMALL)] == ["person -> writer"]
    assert [e.language for e in find("film", (*SMALL, TaxonomyLabel("film", "en", "ours")))] == [
        "en"
    ]
    assert find("zh/person", SMALL) == []


def test_an_unknown_name_is_told_of_near_ones():
    with pytest.raises(UsageError, match="the taxonomy has no label 'en/persn'") as error:
        one("en/persn", SMALL)
    assert error.value.hint == "did you mean person?"
    with pytest.raises(UsageError) as error:
        one("zzz", SMALL)
    assert "b2ner labels list" in error.value.hint


def test_labels_of_the_taxonomy_are_labels_of_a_run():
    labels, notes = parse_labels(["taxonomy:en/person,movie title, taxonomy:zh/人名", "my label"])
    assert labels.names == ("person", "movie title", "人名", "my label")
    assert notes == []
    assert not labels.descriptions


def test_the_language_of_a_name_holds_for_those_behind_it():
    assert named("taxonomy:de/person,album") == ["Person", "Album"]
    assert named("taxonomy:en/person,album,zh/人名,歌曲") == ["person", "album", "人名", "歌曲"]
    with pytest.raises(UsageError, match="no label 'movie title'"):
        named("taxonomy:zh/人名,movie title")


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("taxonomy:", "taxonomy: without a label", "for example"),
        ("taxonomy:en/persn", "no label 'en/persn'", "did you mean person"),
        ("taxonomy:ALBUM", "'ALBUM' is the name of 3 labels", "say which: taxonomy:en/album, "),
    ],
)
def test_names_that_lead_to_no_label_or_to_several(value, message, hint):
    with pytest.raises(UsageError, match=message) as error:
        parse_labels([value])
    assert error.value.hint.startswith(hint)


# Search -------------------------------------------------------------------------------------------


def best(query, known=None, most=3):
    return [entry.label for entry, _ in search(query, known or entries(), most)]


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("music band", "organization -> group or band"),
        ("political parties", "organization -> political party"),
        ("illness", "disease"),
        ("乐队", "音乐人"),
        ("WORK_OF_ART", "work of art"),
        ("who wrote it: writers", "person -> writer"),
    ],
)
def test_words_are_found_in_labels_other_names_and_descriptions(query, label):
    assert label in best(query)


def test_a_label_comes_before_a_description_and_the_whole_before_a_part():
    assert best("film", SMALL) == ["Film", "film genre"]
    assert best("singer", SMALL) == ["music artist"]
    assert search("WRI", SMALL, 1) == [(SMALL[1], 1.0)]
    assert best("of the", SMALL) == best("", SMALL) == []


@given(st.text(max_size=12))
def test_scores_are_shares_and_fall(query):
    scores = [score for _, score in search(query, SMALL, 9)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("word", "one_of_it"),
    [
        ("persons", "person"), ("companies", "company"), ("boxes", "box"), ("churches", "church"),
        ("classes", "class"), ("class", "class"), ("series", "series"), ("virus", "virus"),
        ("people", "person"), ("gas", "gas"), ("analysis", "analysis"), ("dishes", "dish"),
    ],
)  # fmt: skip
def test_singular(word, one_of_it):
    assert singular(word) == one_of_it


# Data sets ----------------------------------------------------------------------------------------


def test_labels_of_data_sets_are_added_and_known_ones_marked():
    added = with_sets(
        SMALL, [("en", "Zoo", ["person", "cage", "music artist"]), ("en", "Farm", ["cage"])]
    )
    (cage,) = find("cage", added)
    assert (cage.sure, dict(cage.data_sets)) == ("given", {"Zoo": "cage", "Farm": "cage"})
    assert find("en/music artist", added)[0].sure == "given"
    assert find("en/person", added)[0].sure == "confirmed"
    assert find("en/person -> writer", added)[0].data_sets == {"Zoo": "WRI"}
    assert len(added) == len(SMALL) + 1


@pytest.mark.parametrize("entry", [{"label": " "}, {"sure": "maybe"}])
def test_an_entry_checks_itself(entry):
    with pytest.raises(ValueError, match="not a label of the taxonomy"):
        TaxonomyLabel(**{"label": "person", "language": "en", "sure": "ours"} | entry)


def test_an_entry_as_json():
    assert SMALL[1].as_dict() == {
        "label": "person -> writer", "language": "en", "parent": "person", "sure": "confirmed",
        "description": "who writes books", "mentions": ["Ann"], "data_sets": {"Zoo": "WRI"},
        "other_names": [],
    }  # fmt: skip
