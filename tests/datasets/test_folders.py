"""Archives as folders: the same data sets, zipped or not, and clear words for what is neither."""

import json
import zipfile

import pytest

from b2ner_cli.core.document import Mention
from b2ner_cli.datasets import b2nerd, folders
from b2ner_cli.datasets.balance import Limits
from b2ner_cli.errors import DataError
from b2ner_cli.training.selection import choose
from tests.scripted import ScriptedEngine, Shell

ROW = {"sentence": "Moon sings", "entities": [{"name": "Moon", "type": "singer", "pos": [0, 4]}]}


def released(path, wrapper="", rows=(ROW,)):
    """An archive laid out as B2NERD_data.zip is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for collection, count in (("B2NERD", 1), ("B2NERD_all", 2), ("B2NERD_raw", 3)):
            for folder in ("NER_en/games", "NER_zh/影视", "NER_en_other/multi_de"):
                inside = f"{wrapper}{collection}/{folder}"
                archive.writestr(f"{inside}/labels.json", json.dumps(["singer"]))
                archive.writestr(f"{inside}/train.json", json.dumps([*rows] * count))
                archive.writestr(f"{inside}/test.json", json.dumps(list(rows)))
        archive.writestr(f"__MACOSX/{wrapper}B2NERD/NER_en/games/._train.json", b"\x00\x05")
    return path


def names(path, collection=None):
    return [(d.task, d.name, d.language) for d in b2nerd.datasets(path, collection)]


ALL = [("NER_en", "games", "en"), ("NER_en_other", "multi_de", "en"), ("NER_zh", "影视", "zh")]


@pytest.mark.parametrize("wrapper", ["", "B2NERD_data/"])
def test_the_released_archive_without_unpacking(tmp_path, wrapper):
    path = released(tmp_path / "B2NERD_data.zip", wrapper)
    assert names(path) == ALL
    for collection, count in (("B2NERD", 1), ("B2NERD_raw", 3)):
        games = b2nerd.datasets(path, collection)[0]
        documents = list(b2nerd.read_split(games, "train"))
        assert len(documents) == count == b2nerd.count_rows(games.path / "train.json")
        assert documents[0].mentions == (Mention("singer", "Moon"),)
        within = b2nerd.within(path, collection)
        assert within == path / f"{wrapper}{collection}"
        assert names(within) == ALL
    assert sorted(p.name for p in tmp_path.iterdir()) == ["B2NERD_data.zip"]


@pytest.mark.parametrize("inside", ["B2NERD/NER_zh", "B2NERD/NER_zh/影视"])
def test_a_folder_in_an_archive(tmp_path, inside):
    path = released(tmp_path / "x.zip")
    assert names(path / inside) == [("NER_zh", "影视", "zh")]


def test_the_same_unpacked(tmp_path):
    path = released(tmp_path / "x.zip")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "x")
    assert names(tmp_path / "x") == ALL
    assert b2nerd.within(tmp_path / "x", "B2NERD_all") == tmp_path / "x" / "B2NERD_all"


def test_names_in_utf8_without_a_mark(tmp_path):
    path = released(tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    # as some packers write them: bit 11 of the flags, which says UTF-8, is not set
    for magic, at in ((b"PK\x01\x02", 9), (b"PK\x03\x04", 7)):
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            content[start + at] &= ~0x08
    path.write_bytes(content)
    assert names(path) == ALL


def problem(path, collection=None):
    with pytest.raises(DataError) as caught:
        b2nerd.datasets(path, collection)
    return caught.value.message, caught.value.hint


def test_a_collection_that_is_not_there(tmp_path):
    path = released(tmp_path / "x.zip")
    message, hint = problem(path, "B2NERD_none")
    assert message == f"{path}: no collection 'B2NERD_none' in it"
    assert hint == "it has B2NERD, B2NERD_all, B2NERD_raw"
    message, hint = problem(path / "B2NERD", "B2NERD")
    assert "leave the option out" in hint


def test_several_collections_and_none_is_the_usual_one(tmp_path):
    for name in ("old", "new"):
        folder = tmp_path / name / "NER_en" / "a"
        folder.mkdir(parents=True)
        (folder / "labels.json").write_text('["x"]')
        (folder / "test.json").write_text("[]")
    message, hint = problem(tmp_path)
    assert "holds several collections: new, old" in message
    assert "--collection" in hint
    assert names(tmp_path, "old") == [("NER_en", "a", "en")]


def test_an_archive_without_the_folders(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/cat.png", b"x")
    message, hint = problem(path)
    assert message == f"{path}: no data sets in it; it has photos"
    assert "NER_en/games/test.json" in hint


def test_an_archive_that_is_cut_off(tmp_path):
    path = released(tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[:700])
    message, hint = problem(path)
    assert message == f"{path}: a zip archive that is cut off: its end is missing"
    assert "0.0 MB" in hint


def test_an_archive_damaged_within(tmp_path):
    rows = [{"sentence": f"{i * 7919}", "entities": []} for i in range(3000)]
    path = released(tmp_path / "x.zip", rows=rows)
    content = bytearray(path.read_bytes())
    at = content.find(b"B2NERD/NER_en/games/train.json") + 2000
    content[at : at + 50] = bytes(50)
    path.write_bytes(content)
    games = b2nerd.datasets(path)[0]
    with pytest.raises(DataError, match=r"games/train\.json: .*(damaged|malformed|cut off)"):
        list(b2nerd.read_split(games, "train"))


def test_other_files_and_folders(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    assert "neither a folder nor a zip archive" in problem(tmp_path / "x.txt")[0]
    released(tmp_path / "B2NERD_data.zip")
    message, hint = problem(tmp_path / "B2NERD_dta.zip")
    assert "no such folder" in message
    assert hint == f"did you mean {tmp_path / 'B2NERD_data.zip'}?"
    message, hint = problem(tmp_path / "B2NERD_data.zip" / "B2NRD")
    assert "no folder 'B2NRD' in it" in message
    assert hint == "did you mean B2NERD?"


def test_a_file_with_a_password_is_named(tmp_path):
    path = released(tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            content[start + at] |= 1
    path.write_bytes(content)
    assert "labels.json" in problem(path)[0]
    assert folders.root(path)[1] == ("x",)


@pytest.mark.parametrize("more", [[], ["--collection", "B2NERD_raw"]])
def test_predict_answers_an_archive(tmp_path, more):
    released(tmp_path / "x.zip")
    command = ["predict", "--data", "x.zip", "--split", "train", "-o", "out", "--no-cache", *more]
    done = Shell(tmp_path).run([*command, "--only", "NER_zh_影视"], engine=ScriptedEngine)
    assert done.code == 0, done.err
    lines = (tmp_path / "out" / "predict_eval_predictions.jsonl").read_text().splitlines()
    assert len(lines) == (3 if more else 1)
    assert json.loads(lines[0])["Instance"]["sentence"] == "Moon sings"


def test_training_documents_of_an_archive(tmp_path):
    path = b2nerd.within(released(tmp_path / "x.zip"), "B2NERD_all")
    assert [(pick.name, pick.read) for pick in choose(path, Limits(), 1)] == [
        ("NER_en_games", 2),
        ("NER_en_other_multi_de", 2),
        ("NER_zh_影视", 2),
    ]
