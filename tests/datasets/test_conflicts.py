"""`b2ner data conflicts`: where two sets annotate one label differently."""

import json

import pytest

from tests.datasets.sets import many, put, row, run


def test_conflicts_rank_what_one_set_leaves_alone(tmp_path):
    cities = [f"City{i}" for i in range(20)]
    said = [row(f"we saw {c} today", (c, "Place")) for c in cities]
    put(tmp_path, "NER_en/a", ["Place"], train=said)
    other = [row(f"{c} is far", *([(c, "place")] if i < 5 else [])) for i, c in enumerate(cities)]
    other[6] = row(f"{cities[6]} is far", (cities[6], "town"))
    other[7] = row(f"{cities[7]} Park is far", (f"{cities[7]} Park", "town"))
    put(tmp_path, "NER_en/b", ["place", "town"], train=other)
    put(tmp_path, "NER_en/c", ["town"], train=[row(f"{c} is far") for c in cities])
    (pair,) = json.loads(run("conflicts", tmp_path, "--json").out)
    counts = [pair[name] for name in ("label", "a", "b", "found", "agree", "other", "miss")]
    # the seventh stands within a longer entity, so it says nothing
    assert counts == ["place", "NER_en_a", "NER_en_b", 19, 5, 1, 13]
    assert pair["conflict"] == pytest.approx(14 / 19)
    assert pair["own"] == 0
    assert pair["examples"][0] == {
        "surface": "City5", "verdict": "miss", "theirs": "",
        "where": f"{tmp_path}/NER_en/b/train.json:5", "text": "City5 is far",
    }  # fmt: skip
    done = run("conflicts", tmp_path, "--examples", 1)
    assert "73.7%" in done.out
    assert "miss: City5 | City5 is far" in done.out


def test_conflicts_leave_out_labels_that_a_row_does_not_ask_and_loose_words(tmp_path):
    said = [row(f"it was {i} long", ("it", "thing")) for i in range(2)]
    loose = [row(f"it was {i} short") for i in range(9)]
    put(tmp_path, "NER_en/a", ["thing"], train=said + loose)
    put(tmp_path, "NER_en/b", ["thing"], train=[row(f"it is {i}") for i in range(20)])
    assert json.loads(run("conflicts", tmp_path, "--json").out) == []
    put(tmp_path, "NER_en/a", ["thing"], train=said)
    put(tmp_path, "NER_en/b", ["thing"], train=[row(f"it is {i}") for i in range(20)])
    assert len(json.loads(run("conflicts", tmp_path, "--json", "--least", 1).out)) == 1
    rows = [row(f"it is {i}", labels=["other"]) for i in range(20)]
    put(tmp_path, "NER_en/b", ["thing", "other"], train=rows)
    assert json.loads(run("conflicts", tmp_path, "--json", "--least", 1).out) == []


def test_conflicts_in_chinese_and_of_extent(tmp_path):
    put(tmp_path, "NER_zh/a", ["地名"], train=[row("我在北京市", ("北京", "地名"))])
    put(tmp_path, "NER_zh/b", ["地名"], train=[row("去北京玩", ("京玩", "地名"))])
    found = json.loads(run("conflicts", tmp_path, "--json", "--least", 1).out)
    assert [(p["a"], p["differ"]) for p in found if p["found"]] == [("NER_zh_a", 1)]


def test_conflicts_need_two_sets(tmp_path):
    put(tmp_path, "NER_en/a", ["p"], train=many(3))
    assert "fewer than two data sets" in run("conflicts", tmp_path).err
