"""What tasks ask of data sets: documents read one at a time, with no more than is needed."""

import json
from itertools import islice

import pytest

from b2ner_cli.datasets import b2nerd
from b2ner_cli.datasets.task_documents import read_task, take
from b2ner_cli.errors import DataError

EVENTS = [{"type": "attack", "trigger": "bombed", "pos": [3, 9], "arguments": []}] * 2


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "EE_en" / "war"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text('{"attack": ["place"]}')
    row = {"sentence": "He bombed it .", "events": EVENTS, "other_names": {"attack": ["raid"]}}
    (folder / "train.json").write_text(json.dumps([row, row]))
    (found,) = b2nerd.datasets(tmp_path)
    return found


@pytest.mark.parametrize("task", ["EET", "EEA"])
def test_rows_are_kept_only_as_far_as_they_are_needed(dataset, task):
    whole = list(read_task(dataset, "train", task))
    assert set(whole[0].meta) == {"sentence", "events", "other_names"}
    for keep in ((), ("other_names", "gone")):
        some = list(read_task(dataset, "train", task, keep=keep))
        assert {tuple(document.meta) for document in some} == {keep[:1]}
        assert [document._replace(meta=whole[0].meta) for document in some] == whole


def test_documents_are_read_as_they_are_taken(dataset):
    file = dataset.path / "train.json"
    file.write_text(file.read_text()[:-3])  # cut off in the second row
    documents = read_task(dataset, "train", "EET", keep=())
    assert next(documents).id == "0"
    with pytest.raises(DataError, match="does not end"):
        next(documents)


def test_take_repeats_and_reads_once():
    assert take(iter("abcd"), [3, 0, 3]) == ["d", "a", "d"]
    assert take(islice("abcd", 2), []) == []
