"""Data sets in B2NERD layout: which there are, their rows, and what does not fit."""

import json
import os

import pytest

from b2ner_cli.core.document import Document, Entity, Mention
from b2ner_cli.datasets import b2nerd
from b2ner_cli.errors import DataError
from tests.formats.cases import MOON
from tests.formats.cases import put_file as put


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


ROW = {
    "sentence": MOON,
    "entities": [
        {"name": "Moon", "type": "player", "pos": [0, 4]},
        {"name": "StarCraft II", "type": "game"},
        {"name": "plays", "type": "NA", "pos": [5, 10]},
        {"name": "x", "type": ""},
    ],
}


def data_set(folder="data/NER_en/games", labels=("player", "game"), **splits):
    os.makedirs(folder, exist_ok=True)
    if labels is not None:
        put(f"{folder}/labels.json", json.dumps(labels).encode())
    for split, rows in splits.items():
        put(f"{folder}/{split}.json", json.dumps(rows).encode())
    return folder


def test_a_folder_of_data_sets():
    data_set(test=[ROW], train=[])
    data_set("data/NER_zh/films", ["电影"], dev=[])
    data_set("data/EE_en/news", {"sale": ["buyer", "seller"]}, test=[])
    data_set("data/NER_en_other/x", ["a"], test=[])
    news, games, other, films = b2nerd.datasets("data")
    assert (games.task, games.name, games.language, games.kind) == ("NER_en", "games", "en", "NER")
    assert (games.labels, games.splits) == (("player", "game"), ("train", "test"))
    assert (films.language, films.splits) == ("zh", ("dev",))
    assert (other.task, other.language) == ("NER_en_other", "en")
    assert (news.labels, news.roles) == (("sale",), {"sale": ("buyer", "seller")})
    for narrower in ("data/NER_en", "data/NER_en/games"):
        (found,) = b2nerd.datasets(narrower)
        assert (found.task, found.name) == ("NER_en", "games")


def test_rows_become_documents():
    data_set(test=[ROW, {"sentence": "", "entities": [], "labels": ["x"]}])
    (games,) = b2nerd.datasets("data")
    first, second = b2nerd.read_split(games, "test")
    assert first == Document(
        "0",
        MOON,
        entities=(Entity(0, 4, "player", "Moon", how="given"),),
        mentions=(Mention("player", "Moon"), Mention("game", "StarCraft II")),
        meta=ROW,
        text_field="sentence",
        origin="data/NER_en/games/test.json:0",
    )
    assert (second.id, second.text, second.labels, second.mentions) == ("1", "", ("x",), ())


def test_dev_stands_in_for_train_and_nothing_for_test():
    data_set(dev=[ROW])
    (games,) = b2nerd.datasets("data")
    assert b2nerd.split_path(games, "train").name == "dev.json"
    with pytest.raises(DataError, match=r"games: no test\.json") as raised:
        b2nerd.read_split(games, "test").__next__()
    assert raised.value.hint == "it has dev"


def test_relations_and_events_stay_in_meta():
    relation = {"sentence": "a b", "entities": [{"name": "a", "type": "thing", "pos": [0, 1]}]}
    data_set("data/RE_en/x", ["near"], test=[relation])
    data_set("data/EE_en/x", {"sale": ["buyer"]}, test=[{"sentence": "a", "events": [{"n": 1}]}])
    events, relations = b2nerd.datasets("data")
    (document,) = b2nerd.read_split(relations, "test")
    assert document.mentions == (Mention("thing", "a"),)
    (document,) = b2nerd.read_split(events, "test")
    assert (document.entities, document.meta["events"]) == (None, [{"n": 1}])


def entity(**changes):
    return {"sentence": "abc", "entities": [{"name": "a", "type": "x", **changes}]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 1}, "test.json: an object, not a list of rows"),
        ([7], "test.json:0: a number, not an object"),
        ([{"entities": []}], "test.json:0: 'sentence' is null"),
        ([{"sentence": "a"}], "test.json:0: 'entities' is null, not a list"),
        ([entity(), {"sentence": "a", "entities": [1]}], "test.json:1: an entity is a number"),
        ([entity(name=None)], "test.json:0: an entity's 'name' is null"),
        ([entity(type=3)], "test.json:0: an entity's 'type' is a number"),
        ([entity(name="")], "test.json:0: an entity's 'name' is empty"),
        ([entity(type="y")], "test.json:0: type 'y' is not among the labels"),
        ([{**entity(), "labels": ["y"]}], "test.json:0: type 'x' is not among the labels"),
        ([{**entity(), "labels": "x"}], "test.json:0: 'labels': a string, not a list of labels"),
        ([entity(pos=[1, 2])], "test.json:0: pos [1, 2] of 'a' is 'b' in the sentence"),
        ([entity(pos=[0, 9])], "pos [0, 9] of 'a' is 'abc'"),
        ([entity(pos=["0", 1])], "pos ['0', 1] of 'a' is no span"),
        ([entity(pos=5)], "pos 5 of 'a' is no span"),
    ],
)
def test_rows_that_do_not_fit(rows, message):
    data_set(labels=["x"], test=rows)
    (games,) = b2nerd.datasets("data")
    with pytest.raises(DataError) as raised:
        list(b2nerd.read_split(games, "test"))
    assert message in raised.value.message


def test_misfits_may_be_taken_as_they_come():
    data_set(labels=["x"], test=[entity(pos=[1, 2]), entity(type="y")])
    (games,) = b2nerd.datasets("data")
    problems = []
    first, second = b2nerd.read_split(games, "test", problems.append)
    assert (first.mentions, first.entities) == ((Mention("x", "a"),), ())
    assert second.mentions == (Mention("y", "a"),)
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels.json: missing"),
        ([], "labels.json: an empty list"),
        ("x", "labels.json: a string"),
        (["a", ""], "labels.json: '' is not a label"),
        ({"a": "b"}, "labels.json: the roles of 'a' are not a list of names"),
    ],
)
def test_labels_that_cannot_be_read(labels, message):
    data_set(labels=labels, test=[])
    with pytest.raises(DataError) as raised:
        b2nerd.datasets("data")
    assert message in raised.value.message


def test_folders_without_data_sets():
    with pytest.raises(DataError, match="no such folder"):
        b2nerd.datasets("data")
    os.mkdir("data")
    with pytest.raises(DataError, match="no data sets in it"):
        b2nerd.datasets("data")
    put(f"{data_set()}/test.json", b'[\n{"sentence": }]')
    with pytest.raises(DataError, match=r"test\.json:0: malformed JSON at line 2, column 14"):
        list(b2nerd.read_split(b2nerd.datasets("data")[0], "test"))
