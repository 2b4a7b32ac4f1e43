"""`b2ner data`: what is counted, found and written, command by command."""

import json
import sys
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from b2ner_cli.cli.app import app
from b2ner_cli.errors import B2nerError


def put(root, name, labels, **splits):
    """Write a data set; a split is rows, or bytes as they are."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    if labels is not None:
        (folder / "labels.json").write_text(json.dumps(labels, ensure_ascii=False))
    for split, rows in splits.items():
        content = rows if isinstance(rows, bytes) else json.dumps(rows, ensure_ascii=False).encode()
        (folder / f"{split}.json").write_bytes(content)
    return folder


def row(text, *pairs, **more):
    """A row whose names are found in the text from left to right."""
    entities, at = [], 0
    for name, label in pairs:
        at = text.index(name, at)
        entities.append({"name": name, "type": label, "pos": [at, at + len(name)]})
        at += len(name)
    return {"sentence": text, "entities": entities, **more}


class Done:
    def __init__(self, result):
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        error = result.exception
        if isinstance(error, B2nerError):
            self.code, self.err = 2, f"{error.message}\n{error.hint}"
        elif error and not isinstance(error, SystemExit):
            raise error


def run(*arguments):
    return Done(CliRunner().invoke(app, ["data", *map(str, arguments)]))


def cells(done):
    return [line.split() for line in done.out.splitlines()]


MOON = row("Moon plays Go .", ("Moon", "player"), ("Go", "game"))
NO_PLACE = {"sentence": "于谦演电影", "entities": [{"name": "于谦", "type": "人名"}]}


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


# stats


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


# check


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


def test_check_of_what_is_right(released):
    done = run("check", released, "--collection", "B2NERD_raw")
    assert {"duplicate", "type"} <= set(kinds(done))  # raw: 1234 times the same
    assert run("stats", released, "--collection", "nothing").code == 2


def test_check_finds_unknown_types_in_other_formats(tmp_path):
    folder = put(tmp_path, "NER_en/games", ["player"])
    line = {"text": "Go", "entities": [{"start": 0, "end": 2, "label": "game"}]}
    (folder / "train.jsonl").write_text(json.dumps(line) + '\n{"text": "unannotated"}\n')
    done = run("check", tmp_path)
    assert kinds(done) == ["broken", "type", "unused"]
    assert "train.jsonl:2: broken: not annotated" in done.out


# convert

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
@settings(deadline=None, max_examples=15)
@given(rows=st.lists(annotated(), min_size=1, max_size=5))
def test_there_and_back(tmp_path_factory, kind, rows):
    root = tmp_path_factory.mktemp("data")
    put(root / "one", "NER_en/games", ["person", "组织机构名", "a->b"], dev=rows)
    assert run("convert", root / "one", "--to", kind, "-o", root / "two", "-q").code == 0
    assert run("convert", root / "two", "--to", "b2nerd", "-o", root / "three", "-q").code == 0
    made = root / "three" / "NER_en" / "games"
    assert json.loads((made / "labels.json").read_text()) == ["person", "组织机构名", "a->b"]
    assert json.loads((made / "dev.json").read_text()) == rows


@pytest.mark.parametrize("first", ["jsonl", "spacy", "conll", "parquet"])
@pytest.mark.parametrize("second", ["jsonl", "spacy", "conll", "parquet"])
@settings(deadline=None, max_examples=3)
@given(rows=st.lists(annotated(), min_size=1, max_size=5))
def test_from_each_format_to_each(tmp_path_factory, first, second, rows):
    root = tmp_path_factory.mktemp("data")
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


# split, sample


def many(count, label="p"):
    return [row(f"{label}{i} is here", (f"{label}{i}", label)) for i in range(count)]


def texts(folder, split):
    return [each["sentence"] for each in json.loads((folder / f"{split}.json").read_text())]


def test_split_takes_shares_and_numbers_and_keeps_equal_texts_together(tmp_path):
    put(tmp_path / "in", "NER_en/a", ["p"], train=many(50) + many(50))
    options = ["--dev", "0.1", "--test", "10", "-o"]
    assert run("split", tmp_path / "in", *options, tmp_path / "out").code == 0
    folder = tmp_path / "out/NER_en/a"
    parts = {split: texts(folder, split) for split in ("train", "dev", "test")}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 70, "dev": 10, "test": 20,
    }  # fmt: skip
    assert not set(parts["train"]) & set(parts["dev"] + parts["test"])
    run("split", tmp_path / "in", *options, tmp_path / "again")
    run("split", tmp_path / "in", *options, tmp_path / "other", "--seed", "1")
    assert texts(tmp_path / "again/NER_en/a", "test") == parts["test"]
    assert texts(tmp_path / "other/NER_en/a", "test") != parts["test"]


def test_split_keeps_a_split_that_is_there(tmp_path):
    put(tmp_path / "in", "NER_en/a", ["p"], train=many(20), test=many(3))
    done = run("split", tmp_path / "in", "--dev", 5, "--test", 5, "-o", tmp_path / "out")
    assert "NER_en_a has a test split already; kept" in done.err
    folder = tmp_path / "out/NER_en/a"
    assert [len(texts(folder, s)) for s in ("train", "dev", "test")] == [15, 5, 3]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([], "nothing to split off"),
        (["--dev", "1.5"], "--dev 1.5: neither"),
        (["--test", "20"], "20 texts, of which 20"),
    ],
)
def test_split_of_what_cannot_be(tmp_path, shares, message):
    put(tmp_path / "in", "NER_en/a", ["p"], train=many(20))
    done = run("split", tmp_path / "in", *shares, "-o", tmp_path / "out")
    assert (done.code, message in done.err) == (2, True)


def test_sample_by_number_and_by_type(tmp_path):
    rows = many(30, "p") + many(30, "q") + [row(f"nothing {i}") for i in range(30)]
    put(tmp_path / "in", "NER_en/a", ["p", "q"], train=rows)
    run("sample", tmp_path / "in", "-n", 10, "-o", tmp_path / "n")
    drawn = texts(tmp_path / "n/NER_en/a", "train")
    assert len(drawn) == 10
    order = [each["sentence"] for each in rows]
    assert drawn == sorted(drawn, key=order.index)
    run("sample", tmp_path / "in", "--per-type", 4, "-o", tmp_path / "t")
    kept = texts(tmp_path / "t/NER_en/a", "train")
    assert [sum(t.startswith(p) for t in kept) for p in ("p", "q", "nothing")] == [4, 4, 4]
    assert "how many documents?" in run("sample", tmp_path / "in", "-o", tmp_path / "x").err


# conflicts


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


# standardise


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


# prune


def test_prune_covers_types_with_texts_that_differ(tmp_path):
    same = [row(f"play the song {i} now", (f"{i}", "title")) for i in range(10)]
    apart = row("天气 forecast for Rome", ("Rome", "title"))
    rare = row("book a table", ("table", "seat"))
    put(tmp_path / "in", "NER_en/a", ["title", "seat"], train=[*same, apart, rare])
    run("prune", tmp_path / "in", "--per-type", 2, "--by", "words", "-o", tmp_path / "out")
    kept = texts(tmp_path / "out/NER_en/a", "train")
    assert len(kept) == 3
    assert {"天气 forecast for Rome", "book a table"} <= set(kept)
    again = run("prune", tmp_path / "in", "--per-type", 99, "--by", "words", "-o", tmp_path / "all")
    assert len(texts(tmp_path / "all/NER_en/a", "train")) == 12
    assert "12 of 12 documents kept" in again.err
    assert run("prune", tmp_path / "in", "--per-type", 1, "--by", "x", "-o", "y").code == 2


def test_prune_by_meaning_with_a_model(tmp_path, tiny_llama):
    rows = [row(f"Ann met Bob {i % 3}", ("Ann", "p")) for i in range(12)] + [row("Rome")]
    put(tmp_path / "in", "NER_en/a", ["p"], train=rows)
    done = run("prune", tmp_path / "in", "--per-type", 3, "-m", tiny_llama, "-o", tmp_path / "out")
    assert done.code == 0
    kept = texts(tmp_path / "out/NER_en/a", "train")
    assert sorted(kept) == ["Ann met Bob 0", "Ann met Bob 1", "Ann met Bob 2", "Rome"]


@pytest.mark.parametrize("batch_tokens", [1, 30, 4096])
def test_vectors_do_not_depend_on_batches(tiny_llama, batch_tokens):
    from b2ner_cli.datasets import pruning
    from b2ner_cli.models import loading

    loaded = loading.load(str(tiny_llama), dtype="float32")
    told = ["Ann", "Ann Lee met Bob in Rome .", "", "x" * 40, "Bob works for Acme ."]
    found = pruning.by_meaning(loaded, batch_tokens)(told)
    alone = torch.cat([pruning.by_meaning(loaded)([text]) for text in told])
    assert torch.allclose(found, alone, atol=1e-5)


@given(
    st.lists(st.frozensets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_every_type_is_kept_as_often_as_asked_or_there(types, per_type):
    from b2ner_cli.datasets import pruning

    vectors = pruning.by_words([f"text {i}" for i in range(len(types))])
    kept = pruning.choose(types, vectors, per_type)
    assert kept == sorted(set(kept))
    for name in set().union(*types):
        there = sum(name in held for held in types)
        assert sum(name in types[row] for row in kept) >= min(per_type, there)


# parquet


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    put(tmp_path / "in", "NER_en/a", ["player", "game"], train=[MOON])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("convert", tmp_path / "in", "--to", "parquet", "-o", tmp_path / "out")
    assert (done.code, "pip install 'b2ner-cli[parquet]'" in done.err) == (2, True)
