"""A deliberately bad label set is told every one of its troubles; a good one is left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.labels.reading import read_unchecked
from b2ner_cli.labels.review import review
from b2ner_cli.labels.taxonomy import entries

# Each label of a bad set by itself: what is wrong with it, how bad that is, and what to say.
BAD = [
    ("PER", "warning", "code", "person or 人名 or general mention of person"),
    ("B-LOC", "warning", "code", "location or 地名 or general mention of location or 籍贯"),
    ("ORG.NAM", "warning", "code", "组织机构名"),
    ("GPE", "warning", "code", "geo-political entity or general mention of geo-political entity"),
    ("TITLE", "warning", "code", "movie title, job title, book"),
    ("XYZ", "warning", "code", ""),
    ("Movie Title", "warning", "spelling", "movie title"),
    ("movie_title", "warning", "spelling", "movie title"),
    ("MovieTitle", "warning", "spelling", "movie title"),
    ("Person", "note", "spelling", "person"),
    ("persons", "warning", "plural", "person"),
    ("political parties", "warning", "plural", "political party"),
    ("MusicArtists", "warning", "plural", "music artist"),
    ("name", "warning", "ambiguous", "person, organization, or name of what"),
    ("character", "warning", "ambiguous", "character name"),
    ("time", "note", "ambiguous", "time of day, date or period, duration"),
    ("名称", "warning", "ambiguous", "人名、产品名、作品名"),
    ("organisation", "note", "better known", "organization"),
    ("human", "note", "better known", "person"),
    ("movie titel", "note", "better known", "movie title"),
    ("其他", "note", "better known", "其它"),
    ("band", "note", "better known", "music artist"),
    ("organization->company", "note", "arrow", "organization -> company"),
    ("人名 -> 歌手", "note", "arrow", "人名->歌手"),
    ("a -> b -> c", "warning", "arrow", "a -> c"),
    ("person ->", "error", "arrow", "person"),
    ("a;b", "error", "characters", "a b"),
    ("公司，机构", "error", "characters", "公司 机构"),
    ("age: years", "error", "characters", "age years"),
    ("a\nb", "error", "characters", "a b"),
    (" person", "error", "characters", "person"),
    ("", "error", "characters", ""),
    ("None", "error", "nothing", "miscellaneous"),
    ("无", "error", "nothing", "miscellaneous"),
    ('"quoted"', "warning", "signs", "quoted"),
    ("city (big)", "warning", "signs", "city big"),
    ("the city", "note", "article", "city"),
    ("contract party 2", "note", "digit", ""),
    ("a person who signed the contract that this is about", "note", "long", None),
]


@pytest.mark.parametrize(("label", "severity", "kind", "suggestion"), BAD, ids=[b[0] for b in BAD])
def test_what_is_wrong_with_a_label(label, severity, kind, suggestion):
    found = {finding.kind: finding for finding in review([label])}
    assert kind in found, found
    assert (found[kind].label, found[kind].severity) == (label, severity)
    if suggestion is not None:
        assert found[kind].suggestion.startswith(suggestion)


def test_a_set_of_them_all_is_told_of_each():
    told = {(finding.label, finding.kind) for finding in review([label for label, *_ in BAD])}
    assert told >= {(label, kind) for label, _, kind, _ in BAD}


PAIRS = [
    (["city", "city"], "city", "error", "twice"),
    (["City", "city"], "city", "error", "twice"),
    (["a -> b", "a->b"], "a->b", "error", "twice"),
    (["person", "persons"], "persons", "warning", "close"),
    (["disease", "disease name"], "disease name", "warning", "close"),
    (["date of birth", "birth date"], "birth date", "warning", "close"),
    (["adress line", "address line"], "address line", "warning", "close"),
    (["电影", "电影名"], "电影名", "warning", "close"),
    (["person", "human"], "human", "warning", "overlap"),
    (["PER", "person"], "person", "warning", "overlap"),
    (["date or time", "date"], "date", "warning", "overlap"),
    (["organization", "organization -> company"], "organization -> company", "note", "overlap"),
    (["location", "country"], "country", "note", "overlap"),
    (["person", "人名"], "", "note", "languages"),
]


@pytest.mark.parametrize(("labels", "label", "severity", "kind"), PAIRS, ids=lambda value: None)
def test_what_is_wrong_between_labels(labels, label, severity, kind):
    found = [(f.label, f.severity, f.kind) for f in review(labels)]
    assert (label, severity, kind) in found
    if label:
        (finding,) = (f for f in review(labels) if (f.label, f.kind) == (label, kind))
        assert repr(labels[0]) in finding.message or kind == "twice"


@pytest.mark.parametrize(
    "labels",
    [
        ["person", "organization", "location"],
        ["人名", "地名", "组织机构名"],
        ["person", "person -> writer", "book", "poem", "literary genre"],
        ["start date", "end date", "start time", "end time"],
        ["pick-up date", "pick-up time", "drop-off date"],
        ["DNA", "RNA", "protein", "cell line", "cell type"],
    ],
)
def test_good_sets_are_left_alone(labels):
    assert [f for f in review(labels) if f.severity != "note"] == []


def test_many_labels_are_noted_and_the_worst_comes_first():
    labels = [f"thing {chr(97 + n)}{chr(97 + n)}" for n in range(19)]
    assert [f.kind for f in review(labels)].count("many") == 1
    assert "many" not in [f.kind for f in review(labels[:18])]
    severities = [f.severity for f in review(["human", "persons", "a;b"])]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_the_taxonomy_keeps_its_own_rules():
    for entry in entries():
        assert [f for f in review([entry.label]) if f.severity != "note"] == []


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_labels_can_be_reviewed_and_a_set_without_errors_can_be_asked(labels):
    findings = review(labels)
    if labels and not any(f.severity == "error" for f in findings):
        LabelSet(tuple(labels))


# Where labels come from ---------------------------------------------------------------------------


def test_labels_are_read_from_lists_files_and_the_taxonomy(tmp_path):
    lines, listed = tmp_path / "labels.txt", tmp_path / "labels.json"
    lines.write_text("# mine\nPER: a human\nPER\n", encoding="utf-8")
    listed.write_text(json.dumps(["PER", "a;b", "PER"]))
    assert read_unchecked("PER, , persons，PER") == ["PER", "persons", "PER"]
    assert read_unchecked(str(lines)) == read_unchecked(f"@{lines}") == ["PER", "PER"]
    assert read_unchecked(str(listed)) == ["PER", "a;b", "PER"]
    assert read_unchecked("taxonomy:en/person,city") == ["person", "city"]
    assert read_unchecked("x" * 5000) == ["x" * 5000]


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]"])
def test_a_json_file_without_a_list_of_labels(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"labels\.json"):
        read_unchecked(str(path))


def test_nothing_to_review(tmp_path):
    (tmp_path / "labels.json").write_text("[]")
    for value in ("", " , ", str(tmp_path / "labels.json")):
        with pytest.raises(UsageError, match="no labels in"):
            read_unchecked(value)
    with pytest.raises(InputError, match="cannot read label file none"):
        read_unchecked("@none")
