"""What the fields of a record mean: its own labels, and gold in any spelling."""

import json

import pytest

from b2ner_cli.core.document import Entity, Mention
from tests.formats.cases import MOON, one


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('["a", "b c"]', ("a", "b c")),
        ('"a, b c,"', ("a", "b c")),
        ('"人名，地名,公司"', ("人名", "地名", "公司")),
        ("null", None),
        ("[]", None),
        ('""', None),
        ('["a", ""]', "holds ''"),
        ('["a", 3]', "holds 3"),
        ("7", "a number"),
        ('{"a": 1}', "an object"),
    ],
)
def test_a_record_may_bring_its_labels(value, expected):
    found = one(b'{"text": "t", "kinds": %s}' % value.encode(), labels_field="kinds")
    if isinstance(expected, str):
        assert expected in found.message
    else:
        assert found.labels == expected


@pytest.mark.parametrize(
    "key_and_item",
    [
        '"entities": [{"start": 11, "end": 23, "label": "game"}]',
        '"entities": [{"start": 11, "end": 23, "label": "game", "text": "StarCraft II"}]',
        '"entities": [[11, 23, "game"]]',
        '"spans": [{"start": 11, "end": 23, "label": "game", "token_end": 4}]',
        '"entities": [{"id": 1, "label": "game", "start_offset": 11, "end_offset": 23}]',
        '"entities": [{"name": "StarCraft II", "type": "game", "pos": [11, 23]}]',
    ],
)
def test_gold_in_any_spelling(key_and_item):
    line = f'{{"text": "{MOON}", {key_and_item}}}'.encode()
    document = one(line, gold_field="entities")
    assert document.entities == (Entity(11, 23, "game", "StarCraft II", None, "given"),)
    assert document.mentions == (Mention("game", "StarCraft II"),)
    assert one(line).entities is None


@pytest.mark.parametrize(
    ("record", "entities", "mentions"),
    [
        ({"entities": []}, (), ()),
        ({"entities": None}, None, None),
        ({}, None, None),
        ({"spans": [[0, 1, "x"]], "answer": "reject"}, None, None),
        ({"entities": [{"label": "x", "text": "a"}]}, (), (Mention("x", "a"),)),
    ],
)
def test_gold_that_is_absent_or_has_no_place(record, entities, mentions):
    document = one(json.dumps({"text": "abc", **record}).encode(), gold_field="entities")
    assert (document.entities, document.mentions) == (entities, mentions)


@pytest.mark.parametrize(
    ("entities", "message", "hint"),
    [
        ([{"start": 0, "end": 2, "label": "x", "text": "bc"}], "[0, 2) is 'ab', not 'bc'", ""),
        ([{"start": 0, "end": 1, "label": "x", "text": "ab"}], "is 'a'", "inclusive"),
        ([{"start": 5, "end": 7, "label": "x", "text": "de"}], "no span of 6", "UTF-16"),
        ([{"start": 5, "end": 6, "label": "x", "text": "d"}], "is 'e'", "UTF-16"),
        ([[0, 1, "x"], [0, 9, "x"]], "entities, number 2: [0, 9) is no span of 6 characters", ""),
        ([[2, 2, "x"]], "[2, 2) is no span", "exclusive"),
        ([[-1, 2, "x"]], "[-1, 2) is no span", ""),
        ([[0, 1, ""]], "the label is ''", ""),
        ([[0, 1, None]], "the label is None", ""),
        ([["0", 1, "x"]], "not numbers", ""),
        ([[True, 2, "x"]], "not numbers", ""),
        (["x"], "neither an object nor", ""),
        ({"a": 1}, "an object, not a list of entities", ""),
        ("[", "not a JSON list", ""),
    ],
)
def test_gold_that_does_not_fit_is_a_bad_record(entities, message, hint):
    bad = one(json.dumps({"text": "abc😀de", "entities": entities}).encode(), gold_field="entities")
    assert message in bad.message
    assert hint in bad.hint
