"""The picture of tagged text shows what was found, and mini still finds it."""

import json

import pytest

from tests.tools import picture


def test_the_picture_is_the_one_of_what_was_found():
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.draw(picture.recorded())


def test_every_entity_and_label_stands_in_the_picture():
    drawn = picture.PICTURE.read_text(encoding="utf-8")
    records = picture.recorded()
    assert [(record["text"], record["labels"]) for record in records] == list(picture.ASKED)
    for record in records:
        for entity in record["entities"]:
            assert entity["text"] == record["text"][entity["start"] : entity["end"]]
            assert f">{entity['text']}</text>" in drawn
            assert f">{entity['label']}</text>" in drawn


def test_the_picture_refers_to_nothing_outside():
    drawn = picture.PICTURE.read_text(encoding="utf-8")
    assert "href" not in drawn and drawn.count("http") == 1  # the name of SVG itself


@pytest.mark.mini
@pytest.mark.slow
def test_mini_finds_the_same_today():
    def places(line):
        return [(e["start"], e["end"], e["label"]) for e in line["entities"]]

    now = [json.loads(line) for line in picture.tagged().splitlines()]
    assert [places(line) for line in now] == [places(line) for line in picture.recorded()]
