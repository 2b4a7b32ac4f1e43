"""`b2ner data check`: every row that is not as it should be is named."""

import json

import pytest

from tests.datasets.sets import MOON, put, row, run


def kinds(done):
    return sorted(line.split(": ")[1] for line in done.out.splitlines())


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([7], "broken", "train.json:0: broken: a number, not an object"),
        ([row("a b", ("b", "x"))], "type", "type 'x' is not among the labels"),
        (
            [{"sentence": "abc", "entities": [{"name": "a", "type": "player", "pos": [1, 2]}]}],
            "offsets",
            "train.json:0: offsets: pos [1, 2] of 'a' is 'b' in the sentence",
        ),
        (
            [{"sentence": "abc", "entities": [{"name": "z", "type": "player"}]}],
            "name",
            "'z' (player) does not stand in the text",
        ),
        ([row("a", ("a", "player")), row("a")], "duplicate", "train.json:0 too, annotated other"),
        ([row("a"), row("a")], "duplicate", "annotated the same"),
        (
            [{"sentence": "a", "entities": row("a", ("a", "player"))["entities"] * 2}],
            "repeated",
            "'a' (player) is given 2 times at 0",
        ),
        ([], "empty", "no rows in it"),
        ([row("a;", ("a;", "player"))], "separator", "'a;' holds ';'"),
    ],
)
def test_check_names_row_and_fault(tmp_path, rows, kind, message):
    put(tmp_path, "NER_en/games", ["player"], train=rows, dev=[row("Ann", ("Ann", "player"))])
    done = run("check", tmp_path)
    assert (kinds(done), done.code) == ([kind], 0 if kind == "separator" else 1)
    assert message in done.out


def test_check_of_labels(tmp_path):
    put(tmp_path, "NER_en/a", ["player", "player", "ship"], train=[row("Ann", ("Ann", "player"))])
    put(tmp_path, "NER_en/b", None, train=[row("Ann", ("Ann", "player"))])
    done = run("check", tmp_path)
    assert (kinds(done), done.code) == (["labels", "labels", "unused"], 1)
    assert "b/labels.json: labels: missing" in done.out
    assert "label 'player' is listed 2 times" in done.out


def test_check_finds_what_leaks_between_splits_and_nothing_between_sets(tmp_path):
    put(tmp_path, "NER_en/a", ["player", "game"], train=[MOON], test=[row("x"), MOON])
    put(tmp_path, "NER_en/b", ["player", "game"], test=[MOON])
    done = run("check", tmp_path, "--json")
    (found,) = [json.loads(line) for line in done.out.splitlines()]
    assert (found["kind"], found["where"]) == ("leak", f"{tmp_path}/NER_en/a/test.json:1")
    assert "a/train.json:0 too" in found["message"]


def test_check_of_what_is_right(tmp_path):
    put(tmp_path, "NER_en/a", ["player", "game"], train=[MOON], test=[row("x")])
    done = run("check", tmp_path)
    assert (done.out, done.code) == ("", 0)
    assert "2 splits: nothing found" in done.err


def test_check_finds_unknown_types_in_other_formats(tmp_path):
    folder = put(tmp_path, "NER_en/games", ["player"])
    line = {"text": "Go", "entities": [{"start": 0, "end": 2, "label": "game"}]}
    (folder / "train.jsonl").write_text(json.dumps(line) + '\n{"text": "unannotated"}\n')
    done = run("check", tmp_path)
    assert kinds(done) == ["broken", "type", "unused"]
    assert "train.jsonl:2: broken: not annotated" in done.out
