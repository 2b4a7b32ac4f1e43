"""How a text is stored changes nothing that is found: the same entities, at places of the file."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli.core.document import Document
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging.loop import Options, tag
from tests.scripted import ScriptedEngine

LABELS = LabelSet(("person", "city"))
UNSEEN = "\u00ad\u200b\u200e\u200f\u202a\u202c\u2060\u2066\u2069\ufeff"
WORDS = st.sampled_from(["Person1", "Person2", "City7", "went", "to", "and", "北京", "👨\u200d👩"])


def found(text, **options):
    engine = ScriptedEngine()
    (result,) = tag([Document("1", text)], engine, LABELS, Options(**options))
    for entity in result.entities:
        assert text[entity.start : entity.end] == entity.text
    return [(e.start, e.end, e.label) for e in result.entities]


def moved(spans, places):
    return [(places[start], places[end - 1] + 1, label) for start, end, label in spans]


@settings(deadline=None)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=5), st.data())
def test_line_ends_and_marks_at_edges_of_words(lines, data):
    plain = "\n".join(" ".join(line) for line in lines)
    stored, places = "", []
    ending = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    for piece in re.findall(r"\S+|\s", plain):
        before, after = (data.draw(st.text(UNSEEN, max_size=2)) for _ in range(2))
        if piece == "\n":
            places.append(len(stored))
            stored += ending
        elif piece == " ":
            places.append(len(stored))
            stored += piece
        else:
            stored += before
            places += range(len(stored), len(stored) + len(piece))
            stored += piece + after
    budget = data.draw(st.sampled_from([3, 5, 1000]))
    assert found(stored, chunk_tokens=budget) == moved(found(plain, chunk_tokens=budget), places)


@pytest.mark.parametrize(
    ("text", "label", "there"),
    [
        ("so PersonAT&amp;T went", "person", "PersonAT&amp;T"),
        ("so City&#38;Sons; went", "city", "City&#38;Sons"),
        ("in Ci\u00adtyville", "city", "Ci\u00adtyville"),
        ("by PersonA;B now", "person", "PersonA;B"),
    ],
)
def test_names_that_are_written_in_other_ways_are_one_name(text, label, there):
    start = text.index(there)
    assert found(text) == [(start, start + len(there), label)]
