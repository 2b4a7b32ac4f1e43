"""`b2ner data standardise`: other names for labels, set by set."""

import json

import pytest

from tests.datasets.sets import MOON, put, row, run


def names(tmp_path, content):
    path = tmp_path / "map.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_standardise_renames_set_by_set(tmp_path):
    both = row("Go is Go", ("Go", "game"), ("Go", "thing"), labels=["game", "thing", "x"])
    put(tmp_path / "in", "NER_en/a", ["player", "game", "thing", "x"], train=[MOON, both])
    put(tmp_path / "in", "NER_en/b", ["player", "game"], train=[MOON])
    content = {"*": {"player": "person"}, "NER_en_a": {"thing": "game", "x": None}}
    done = run("standardise", tmp_path / "in", "--map", names(tmp_path, content), "-o",
               tmp_path / "out")  # fmt: skip
    assert done.code == 0
    a, b = tmp_path / "out/NER_en/a", tmp_path / "out/NER_en/b"
    assert json.loads((a / "labels.json").read_text()) == ["person", "game"]
    assert json.loads((b / "labels.json").read_text()) == ["person", "game"]
    first, second = json.loads((a / "train.json").read_text())
    assert [e["type"] for e in first["entities"]] == ["person", "game"]
    assert second["labels"] == ["game"]
    assert [(e["type"], e["pos"]) for e in second["entities"]] == [
        ("game", [0, 2]),
        ("game", [6, 8]),
    ]
    assert json.loads((tmp_path / "in/NER_en/b/train.json").read_text()) == [MOON]


def test_standardise_keeps_one_of_two_entities_that_become_the_same(tmp_path):
    twice = {"sentence": "Go", "entities": []}
    for label in ("game", "thing"):
        twice["entities"].append({"name": "Go", "type": label, "pos": [0, 2]})
    put(tmp_path / "in", "NER_en/a", ["game", "thing"], train=[twice])
    chosen = names(tmp_path, {"NER_en_a": {"thing": "game"}})
    for kind, file in (("b2nerd", "train.json"), ("jsonl", "train.jsonl")):
        run("standardise", tmp_path / "in", "--map", chosen, "-o", tmp_path / kind, "-t", kind)
        content = json.loads((tmp_path / kind / "NER_en/a" / file).read_text())
        content = content[0] if kind == "b2nerd" else content
        assert len(content["entities"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "map.json:1: malformed JSON"),
        ("[]", "a list, not an object"),
        ({}, "not an object of data sets"),
        ({"NER_en_a": "x"}, "NER_en_a is a string"),
        ({"NER_en_a": {"player": 3}}, "'player' is to be a number"),
        ({"NER_en_a": {"player": "a;b"}}, "holds ';'"),
        ({"NER_en_aa": {}}, "did you mean NER_en_a?"),
        ({"NER_en_a": {"plyer": "x"}}, "did you mean player?"),
        ({"*": {"plyer": "x"}}, "did you mean player?"),
        ({"NER_en_a": {"player": None, "game": None}}, "leaves NER_en_a without labels"),
    ],
)
def test_standardise_with_a_map_that_is_no_good(tmp_path, content, message):
    put(tmp_path / "in", "NER_en/a", ["player", "game"], train=[MOON])
    done = run("standardise", tmp_path / "in", "--map", names(tmp_path, content), "-o",
               tmp_path / "out")  # fmt: skip
    assert (done.code, message in done.err) == (2, True)
    assert not (tmp_path / "out").exists()
