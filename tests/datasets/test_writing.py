"""`b2ner data convert`: the same documents in every format, and what cannot be written."""

import json
import sys
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.sets import MOON, put, row, run

LABEL = st.sampled_from(["person", "组织机构名", "a->b"])


@st.composite
def annotated(draw):
    """Words and, over some of them, entities that no other one overlaps."""
    words = draw(st.lists(st.sampled_from(["Ann", "李", "Go", "x.y", "été", "7"]), max_size=8))
    text, entities, at = " ".join(words), [], 0
    for word in words:
        if draw(st.booleans()):
            place = [at, at + len(word)]
            entities.append({"name": word, "type": draw(LABEL), "pos": place})
        at += len(word) + 1
    return {"sentence": text, "entities": entities}


@pytest.mark.parametrize("kind", ["jsonl", "spacy", "conll", "parquet", "b2nerd"])
@settings(deadline=None, max_examples=8)
@given(rows=st.lists(annotated(), min_size=1, max_size=5))
def test_there_and_back(tmp_path_factory, kind, rows):
    root = tmp_path_factory.mktemp("data")
    put(root / "one", "NER_en/games", ["person", "组织机构名", "a->b"], dev=rows)
    assert run("convert", root / "one", "--to", kind, "-o", root / "two", "-q").code == 0
    assert run("convert", root / "two", "--to", "b2nerd", "-o", root / "three", "-q").code == 0
    made = root / "three" / "NER_en" / "games"
    assert json.loads((made / "labels.json").read_text()) == ["person", "组织机构名", "a->b"]
    assert json.loads((made / "dev.json").read_text()) == rows


@pytest.mark.parametrize(
    ("first", "second"), list(permutations(["jsonl", "spacy", "conll", "parquet"], 2))
)
def test_from_each_format_to_each(tmp_path, first, second):
    rows = [
        row("Ann 李 x.y été", ("Ann", "person"), ("李", "组织机构名"), ("été", "a->b")),
        row(""),
    ]
    root = tmp_path
    put(root / "b2nerd", "NER_en/games", ["person", "组织机构名", "a->b"], dev=rows)
    kinds = ["b2nerd", first, second, "b2nerd"]
    for turn, kind in enumerate(kinds[1:]):
        here = root / (f"{turn}" if turn else "b2nerd")
        done = run("convert", here, "--to", kind, "-o", root / f"{turn + 1}", "-q")
        assert done.code == 0, done.err
    assert json.loads((root / "3/NER_en/games/dev.json").read_text()) == rows


def test_convert_places_names_and_keeps_what_is_not_there(tmp_path):
    entities = [{"name": "Ann", "type": "p"}, {"name": "Ann", "type": "p"}]
    other = {"sentence": "Ann and Ann", "entities": [*entities, {"name": "Bob", "type": "p"}]}
    put(tmp_path, "NER_en/a", ["p"], train=[other | {"labels": ["p"], "source": "x"}])
    done = run("convert", tmp_path / "NER_en/a/train.json", "-o", tmp_path / "out.jsonl")
    assert done.code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "id": "0",
        "text": "Ann and Ann",
        "entities": [
            {"start": 0, "end": 3, "label": "p", "text": "Ann"},
            {"start": 8, "end": 11, "label": "p", "text": "Ann"},
        ],
        "unlocated": [{"label": "p", "text": "Bob"}],
        "labels": ["p"],
        "source": "x",
    }
    done = run("convert", tmp_path / "out.jsonl", "-t", "conll", "-o", tmp_path / "x.conll")
    assert "left out: 1 names that are not in the text" in done.err
    run("convert", tmp_path / "out.jsonl", "-t", "b2nerd", "-o", tmp_path / "new", "--name", "mine")
    (made,) = json.loads((tmp_path / "new/NER_en/mine/train.json").read_text())
    assert made["entities"][-1] == {"name": "Bob", "type": "p"}
    assert made["entities"][0]["pos"] == [0, 3]


def test_convert_reads_prodigy_and_passes_over_what_was_rejected(tmp_path):
    span = {"start": 0, "end": 3, "label": "p", "token_start": 0}
    lines = [
        {"text": "Ann", "spans": [span], "answer": "accept"},
        {"text": "Bob", "spans": [span], "answer": "reject"},
        {"text": "Al", "spans": [span]},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("convert", path, "--to", "b2nerd", "-o", tmp_path / "out", "--lang", "nl")
    assert done.code == 1
    assert "in.jsonl:3: spans, number 1: [0, 3) is no span of 2 characters" in done.err
    made = json.loads((tmp_path / "out/NER_nl/in/train.json").read_text())
    assert [each["sentence"] for each in made] == ["Ann"]
    assert json.loads((tmp_path / "out/NER_nl/in/labels.json").read_text()) == ["p"]


def test_convert_keeps_relations_and_events_as_they_are(tmp_path):
    events = {"sentence": "a", "events": [{"type": "sale"}]}
    put(tmp_path / "in", "EE_en/news", {"sale": ["buyer"]}, test=[events])
    assert run("convert", tmp_path / "in", "-o", tmp_path / "out").code == 0
    made = tmp_path / "out/EE_en/news"
    assert json.loads((made / "test.json").read_text()) == [events]
    assert json.loads((made / "labels.json").read_text()) == {"sale": ["buyer"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "-o", "in"], "in is where in is read"),
        (["in", "-o", "in/NER_en/new"], "is where in is read"),
        (["in", "-o", "."], ". is where in is read"),
        (["in", "-o", "full"], "full is there already"),
        (["in", "-o", "x", "--to", "xml"], "no format 'xml'"),
        (["in", "-o", "a.csv"], "a file"),
        (["a.csv", "-o", "full"], "full: a folder"),
        (["a.xyz", "-o", "x"], "of which format?"),
        (["in", "-o", "x", "--from", "xml"], "no format 'xml'"),
        (["none", "-o", "x"], "none: no such folder"),
        (["bad.parquet", "-o", "x"], "bad.parquet: not a Parquet file"),
        (["empty", "-o", "x"], "empty: no documents to write"),
    ],
)
def test_convert_of_what_cannot_be(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "in/NER_en/a", ["player", "game"], train=[MOON])
    put(tmp_path, "full/NER_en/a", ["player"], train=[])
    put(tmp_path, "empty/NER_en/a", ["player"], train=[])
    (tmp_path / "a.csv").write_text("text,entities\nx,[]\n")
    (tmp_path / "a.xyz").write_text("x")
    (tmp_path / "bad.parquet").write_text("PAR1")
    done = run("convert", *arguments)
    assert done.code == 2
    assert message in done.err
    assert (tmp_path / "in/NER_en/a/train.json").exists()


def test_force_leaves_no_split_of_the_set_before(tmp_path):
    put(tmp_path / "in", "NER_en/a", ["player", "game"], train=[MOON])
    old = put(tmp_path / "out", "NER_en/a", ["x"], dev=[MOON])
    assert run("convert", tmp_path / "in", "-o", tmp_path / "out", "--force").code == 0
    assert sorted(path.name for path in old.iterdir()) == ["labels.json", "train.json"]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    put(tmp_path / "in", "NER_en/a", ["player", "game"], train=[MOON])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("convert", tmp_path / "in", "--to", "parquet", "-o", tmp_path / "out")
    assert (done.code, "pip install 'b2ner-cli[parquet]'" in done.err) == (2, True)
