"""`b2ner labels`: what each command prints, and how it ends."""

import json

import pytest

from tests.scripted import ScriptedEngine, Shell, numbered


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def labels(shell, *command):
    done = shell.run(["labels", *command])
    return done, done.out.decode().splitlines()


def test_list(shell):
    done, lines = labels(shell, "list", "--lang", "zh", "--parent", "作品名")
    assert (done.code, done.err) == (0, "")
    assert lines[0].startswith("zh/作品名->")
    assert any(line.startswith("zh/作品名->文字作品") and "confirmed" in line for line in lines)
    done, lines = labels(shell, "list", "--set", "CoNLL 2003", "--json")
    found = json.loads(done.out)
    assert {entry["data_sets"]["CoNLL 2003"] for entry in found} == {"PER", "LOC", "ORG", "MISC"}
    done, lines = labels(shell, "list", "--sure", "confirmed")
    assert len(lines) == 27


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lang", "xx"], "no labels in 'xx'"),
        (["--set", "none"], "data sets: ACE 2004"),
        (["--parent", "none"], "parents: "),
        (["--sure", "quite"], "choose from confirmed, given, probable, ours"),
        (["--data", "none"], "no such folder"),
    ],
)
def test_list_refuses(shell, options, message):
    done, _ = labels(shell, "list", *options)
    assert done.code == 2
    assert message in done.err


def test_labels_of_a_folder_of_data_sets(shell):
    folder = shell.folder / "data" / "NER_en" / "zoo"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text('["cage", "person"]')
    (folder / "test.json").write_text("[]")
    _, lines = labels(shell, "list", "--data", "data", "--set", "zoo")
    assert [line.split()[:2] for line in lines] == [
        ["en/cage", "given"],
        ["en/person", "confirmed"],
    ]
    _, lines = labels(shell, "show", "cage", "--data", "data")
    assert "  data sets   zoo" in lines


def test_search(shell):
    done, lines = labels(shell, "search", "music band", "--lang", "en", "--limit", "3")
    assert (done.code, len(lines)) == (0, 3)
    assert any(line.startswith("en/organization -> group or band ") for line in lines)
    done, _ = labels(shell, "search", "music band", "--json", "--limit", "1")
    (hit,) = json.loads(done.out)
    assert hit["label"] == "music artist" and 0 < hit["score"] <= 1
    done, lines = labels(shell, "search", "qqqq")
    assert (done.code, lines) == (1, [])
    assert "--meaning asks a model" in done.err
    assert labels(shell, "search", " ")[0].code == 2


def test_search_by_meaning(shell, tiny_llama):
    done, lines = labels(
        shell, "search", "movie title", "--meaning", "-m", str(tiny_llama), "-a", "none",
        "--limit", "2", "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert lines[0].startswith("en/movie title ") and "1.00" in lines[0]


def test_show(shell):
    done, lines = labels(shell, "show", "person", "en/person -> writer")
    assert done.code == 0
    assert lines[0] == "person" and "person -> writer" in lines
    assert (
        "  name         confirmed: written by the authors of B2NER or seen in their data" in lines
    )
    assert '  ask for it   --labels "taxonomy:en/person"' in lines
    assert "  parent       person" in lines
    done, _ = labels(shell, "show", "person", "--json")
    (entry,) = json.loads(done.out)
    assert entry["label"] == "person" and entry["mentions"]
    done, lines = labels(shell, "show", "persn")
    assert (done.code, lines) == (2, [])
    assert "did you mean person" in done.err


def test_check(shell):
    done, lines = labels(shell, "check", "PER, persons, a person")
    assert done.code == 1
    assert lines[0].startswith("warning: 'PER': an upper-case code")
    assert lines[0].endswith("; better: person or 人名 or general mention of person")
    assert done.err == "3 labels, 3 to change, 1 notes\n"
    done, lines = labels(shell, "check", "person, city")
    assert (done.code, lines) == (0, [])
    done, _ = labels(shell, "check", "human", "--json")
    assert done.code == 0
    assert json.loads(done.out) == [
        {
            "label": "human", "severity": "note", "kind": "better known",
            "message": "has a better-known name", "suggestion": "person",
        }
    ]  # fmt: skip
    assert labels(shell, "check", "@none")[0].code == 2


def test_tag_takes_labels_from_the_taxonomy(shell):
    (shell.folder / "docs.jsonl").write_bytes(numbered(1))
    done = shell.run(
        ["tag", "docs.jsonl", "-l", "taxonomy:en/person,city", "-q"], engine=ScriptedEngine
    )
    assert (done.code, done.err) == (0, "")
    found = [entity["label"] for entity in json.loads(done.out)["entities"]]
    assert found == ["person", "person", "city"]
    wrong = shell.run(["tag", "docs.jsonl", "-l", "taxonomy:en/persn"], engine=ScriptedEngine)
    assert wrong.code == 2 and "did you mean person" in wrong.err
