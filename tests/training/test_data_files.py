"""A file of annotated documents is one data set: its labels, its languages, what is wrong in it."""

import json

import pytest

from b2ner_cli.datasets.balance import Limits
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.training import selection
from b2ner_cli.training.dry_run import preview
from b2ner_cli.training.job import TrainJob
from tests.training.test_run_folder import SMALL

ROWS = [
    {"text": "Ann sleeps in Rome", "entities": [{"start": 0, "end": 3, "label": "person"}]},
    {"text": "Rome", "entities": [{"start": 0, "end": 4, "label": "city"}], "labels": ["city"]},
    {"text": "nobody", "entities": []},
    {"text": "安娜在罗马睡觉", "entities": [{"start": 0, "end": 2, "label": "person"}]},
]


def read(path, *rows, **more):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return selection.from_file(path, Limits(empty=1.0), 1, **more)


def test_json_lines_are_a_set_a_language(tmp_path):
    english, chinese = read(tmp_path / "mine.jsonl", *ROWS)
    assert (english.name, chinese.name) == ("NER_en_mine", "NER_zh_mine")
    assert english.labels == chinese.labels == ("person", "city")
    own = {document.text: document.labels for document in english.documents}
    assert own == {"Ann sleeps in Rome": None, "Rome": ("city",), "nobody": None}
    (german,) = read(tmp_path / "mine.jsonl", *ROWS, language="de")
    assert (german.language, len(german.documents)) == ("de", 4)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.conll", "Ann B-person\nsleeps O\n\n"),
        ("a.json", '[{"sentence": "Ann", "entities": [{"name": "Ann", "type": "person"}]}]'),
        ("a.jsonl", '{"text": "Ann", "spans": [{"start": 0, "end": 3, "label": "person"}]}\n'),
    ],
)
def test_other_formats_with_gold(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (found,) = selection.from_file(tmp_path / name, Limits(), 1)
    assert [m.surface for d in found.documents for m in d.mentions] == ["Ann"]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"text": "Ann"}, r"mine.jsonl:2: not annotated"),
        ({"entities": []}, r"mine.jsonl:2: no field 'text'"),
        ({**ROWS[0], "labels": ["city"]}, r"mine.jsonl:2: 'person' is not among the labels"),
    ],
)
def test_errors_name_file_and_row(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "mine.jsonl", ROWS[0], row)


def test_a_file_that_teaches_nothing_or_is_of_no_known_format(tmp_path):
    with pytest.raises(DataError, match="no entities to learn in its 1 documents"):
        read(tmp_path / "mine.jsonl", ROWS[2])
    with pytest.raises(UsageError, match="of which format"):
        read(tmp_path / "mine.dat", ROWS[0])


def test_long_documents_are_left_out_with_a_warning(tmp_path, warned):
    read(tmp_path / "mine.jsonl", ROWS[0], {**ROWS[0], "text": "Ann " * 400})
    assert any("1 of 2 documents are blank or longer than max_chars=1200" in w for w in warned)


def test_options_for_folders_are_refused(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    for more in ({"only": ["NER_en_a"]}, {"tasks": ["RE"]}):
        with pytest.raises(UsageError, match="is for folders of data sets"):
            TrainJob(path, tmp_path / "run", SMALL, **more)
    with pytest.raises(UsageError, match="no template for language"):
        TrainJob(path, tmp_path / "run", SMALL, language="fr")


def test_a_dry_run_counts_and_measures_and_writes_nothing(tmp_path, tiny_llama):
    path = tmp_path / "mine.jsonl"
    read(path, *ROWS[:3])
    from dataclasses import replace

    recipe = replace(SMALL, min_steps=8, replay=1.0)
    job = TrainJob(path, tmp_path / "run", recipe, str(tiny_llama), device="cpu")
    made = preview(job)
    assert (made.documents, made.steps) == (3, 8)
    assert made.replayed > 0
    assert 0 < made.seconds < 60
    assert made.memory > 1e7
    first, second, third = made.lines()
    assert first == "NER_en_mine: 3 of 3 documents, 2 labels: person, city"
    assert second.startswith("3 new documents, each ")
    assert "minutes without scoring" in third
    assert list(tmp_path.iterdir()) == [path]
