"""`b2ner data stats`: documents, types and entities are counted as the paper does."""

import json
import zipfile

import pytest

from tests.datasets.sets import MOON, NO_PLACE, cells, put, row, run


@pytest.fixture
def released(tmp_path):
    """Three sets in a zip, with raw rows for two of them."""
    path = tmp_path / "B2NERD_data.zip"
    chosen = tmp_path / "x" / "B2NERD"
    raw = tmp_path / "x" / "B2NERD_raw"
    put(chosen, "NER_en/games", ["player", "game"], train=[MOON] * 2, test=[MOON])
    put(chosen, "NER_en/chess", ["player"], train=[row("nobody")])
    put(chosen, "NER_zh/films", ["人名", "电影"], train=[NO_PLACE] * 3)
    put(raw, "NER_en/games", ["p"], train=[MOON] * 1234, test=[MOON] * 5)
    put(raw, "NER_zh/films", ["人名"], train=[NO_PLACE] * 30)
    with zipfile.ZipFile(path, "w") as archive:
        for file in (tmp_path / "x").rglob("*.json"):
            archive.write(file, file.relative_to(tmp_path / "x"))
    return path


def test_stats_in_the_shape_of_the_papers_table(released):
    done = run("stats", released)
    assert done.code == 0
    assert cells(done)[1:] == [
        ["train", "en", "2", "3", "2", "3", "1,234"],
        ["train", "zh", "1", "2", "2", "3", "30"],
        ["train", "total", "3", "5", "4", "6", "1,264"],
        ["test", "en", "1", "2", "2", "1", "5"],
    ]
    assert "raw rows are known of 3 of 4 splits only" in done.err


def test_stats_by_dataset_and_type(released):
    assert cells(run("stats", released, "--by", "dataset"))[1:] == [
        ["NER_en_chess", "train", "1", "1", "-", "1", "0", "0"],
        ["NER_en_games", "train", "2", "2", "1,234", "0", "4", "0"],
        ["NER_en_games", "test", "2", "1", "5", "0", "2", "0"],
        ["NER_zh_films", "train", "2", "3", "30", "0", "3", "3"],
    ]
    assert cells(run("stats", released, "--by", "type"))[1:] == [
        ["game", "1", "2", "0", "1"],
        ["player", "2", "2", "0", "1"],
        ["人名", "1", "3", "0", "0"],
        ["电影", "1", "0", "0", "0"],
    ]


def test_stats_of_a_collection_as_json(released):
    found = json.loads(run("stats", released, "--collection", "B2NERD_raw", "--json").out)
    assert [each["documents"] for each in found["datasets"]] == [1234, 5, 30]
    assert found["totals"][0]["types"] == 1
    assert found["datasets"][0]["entities_by_type"] == {"player": 1234, "game": 1234}


def test_stats_names_broken_rows_and_counts_the_others(tmp_path):
    lines = ['{"sentence": }', "7", json.dumps(MOON), '{"entities": []}']
    content = ("[\n" + ",\n".join(lines) + "\n").encode()
    put(tmp_path, "NER_en/games", ["player"], train=content, test=[])
    done = run("stats", tmp_path, "--by", "dataset")
    assert done.code == 1
    assert cells(done)[1][3] == "1"
    for message in (
        "train.json:0: malformed JSON at line 2, column 14",
        "train.json:1: a number, not an object",
        "train.json:3: 'sentence' is null",
        "train.json: line 6, behind row 3: the file ends behind a row",
        "its test split holds no documents",
        "1 annotations do not fit",
    ):
        assert message in done.err


def test_stats_with_many_broken_rows_names_the_first(tmp_path):
    put(tmp_path, "NER_en/games", ["player"], train=[7] * 50)
    done = run("stats", tmp_path)
    assert done.err.count("a number, not an object") == 20
    assert "50 records could not be read" in done.err


def test_stats_of_what_cannot_be_counted_so(released):
    done = run("stats", released, "--by", "word")
    assert (done.code, "choose dataset or type" in done.err) == (2, True)
