"""Surfaces find their place: exactly, or with case, width, spaces and quotes folded."""

import sys
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli.core import grounding
from b2ner_cli.core.document import Mention
from b2ner_cli.core.folding import fold
from b2ner_cli.core.grounding import everywhere, ground

odd = st.sampled_from(
    "aAbßſıİiﬁＡ１京 　\n\r\t\u200b\u00ad\u0301\u0327e\u1100\u1161\u11a8👨\u200d👩\ufe0f'’`“-–\0.…"
)
texts = st.text(odd | st.characters(), max_size=60)


def spans(text, *mentions):
    """Entities as (start, end, label) and ungrounded surfaces, of "label:surface" mentions."""
    entities, ungrounded = ground(text, [Mention(*each.split(":", 1)) for each in mentions])
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)
    return (
        [(entity.start, entity.end, entity.label) for entity in entities],
        [mention.surface for mention in ungrounded],
    )


@pytest.mark.parametrize(
    ("text", "surface", "expected"),
    [
        ("in NEW YORK", "New York", "NEW YORK"),
        ("New\r\n  York", "New York", "New\r\n  York"),
        ("Ｎｅｗ　Ｙｏｒｋ", "new york", "Ｎｅｗ　Ｙｏｒｋ"),
        ("New York", "Ｎew\u3000York", "New York"),
        ("in 北京 大学 ", "北京大学", "北京 大学"),
        ("在北京大学", "北京 大学", "北京大学"),
        ("在 北京\n大学 里", "北京大学", "北京\n大学"),
        ("買 iPhone 了", "買iPhone", "買 iPhone"),
        ("Straße 9", "STRASSE", "Straße"),
        ("in İstanbul", "istanbul", "İstanbul"),
        ("in Istanbul", "İSTANBUL", "Istanbul"),
        ("Iğdır", "IĞDIR", "Iğdır"),
        ("the ﬁne art", "fine art", "ﬁne art"),
        ("le cafe\u0301 noir", "café noir", "cafe\u0301 noir"),
        ("le café noir", "CAFE\u0301", "café"),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("ｶﾞﾝﾀﾞﾑ", "ガンダム", "ｶﾞﾝﾀﾞﾑ"),
        ("O’Neill", "O'Neill", "O’Neill"),
        ("“A” „B‟", '"a" "b"', "“A” „B‟"),
        ("``Hi'' he said", '"Hi" he', "``Hi'' he"),
        ("1999–2004", "1999-2004", "1999–2004"),
        ("约翰·史密斯", "约翰・史密斯", "约翰·史密斯"),
        ("zero\u200bwidth\u00ad s", "ZeroWidth", "zero\u200bwidth"),
        ("\ufeffBOM", "bom", "BOM"),
        ("a\0b", "A\0B", "a\0b"),
        ("👨\u200d👩\u200d👧 Fam", "👨👩👧 fam", "👨\u200d👩\u200d👧 Fam"),
        ("a ❤\ufe0f B", "❤ b", "❤\ufe0f B"),
        ("１２％", "12%", "１２％"),
    ],
)
def test_folded(text, surface, expected):
    (entity,), ungrounded = ground(text, [Mention("x", surface, 0.5)])
    assert (entity.text, entity.how, entity.score, ungrounded) == (expected, "folded", 0.5, [])
    assert text[entity.start : entity.end] == expected


@pytest.mark.parametrize(
    ("text", "surface"),
    [
        ("Bob", ""), ("Bob", "  "), ("Bob", "\u200b"), ("", "Bob"), ("", ""), ("Bob", "Rob"),
        ("the ﬁne art", "f"), ("New York", "NewYork"), (" ", " "),
    ],
)  # fmt: skip
def test_ungrounded(text, surface):
    mention = Mention("x", surface)
    assert ground(text, [mention]) == ([], [mention])


def test_a_mention_without_a_label_has_no_place():
    assert spans("Bob", ":Bob") == ([], ["Bob"])


def test_ungrounded_mentions_keep_their_order():
    assert spans("-", "x:a", "x:long", "x:b")[1] == ["a", "long", "b"]


def test_exact_before_folded():
    (entity,), _ = ground("APPLE or Apple", [Mention("x", "Apple")])
    assert (entity.start, entity.how) == (9, "exact")


def test_spaces_around_a_surface_do_not_count():
    assert spans("Ann ", "x: Ann  ") == ([(0, 3, "x")], [])


@pytest.mark.parametrize(
    ("text", "mentions", "expected"),
    [
        ("Al, Al, Al", ["x:Al", "x:Al"], [(0, 2, "x"), (4, 6, "x")]),
        ("Jordan in Jordan", ["p:Jordan", "l:Jordan"], [(0, 6, "p"), (10, 16, "l")]),
        # more mentions than places: a repeat is dropped, a new label goes on the first place
        ("Al, Al", ["x:Al", "x:Al", "x:Al"], [(0, 2, "x"), (4, 6, "x")]),
        ("Jordan", ["p:Jordan", "l:Jordan", "p:Jordan"], [(0, 6, "l"), (0, 6, "p")]),
        ("Jordan", ["p:Jordan", "p:JORDAN", "p:jordan"], [(0, 6, "p")]),
        # whole words where there are any
        ("BUSINESS in the US", ["x:US"], [(16, 18, "x")]),
        ("business in the us", ["x:US"], [(16, 18, "x")]),
        ("BUSINESS", ["x:US"], [(1, 3, "x")]),
        ("cafe\u0301 cafe", ["x:cafe"], [(6, 10, "x")]),
        ("👩\u200d🚀 👩", ["x:👩"], [(4, 5, "x")]),
        ("在北京大学", ["x:北京"], [(1, 3, "x")]),
        ("aXb X_ X", ["x:X"], [(4, 5, "x")]),
        # outside longer mentions where there is room
        ("US Army in US", ["c:US", "o:US Army"], [(0, 7, "o"), (11, 13, "c")]),
        ("US Army in US", ["o:US Army", "c:US"], [(0, 7, "o"), (11, 13, "c")]),
        ("US Army. US Army. US", ["c:US", "o:US Army"], [(0, 7, "o"), (18, 20, "c")]),
        ("the US Army", ["o:US Army", "c:US"], [(4, 6, "c"), (4, 11, "o")]),
    ],
)
def test_which_occurrence(text, mentions, expected):
    assert spans(text, *mentions) == (expected, [])


@pytest.mark.parametrize(
    ("text", "mentions", "expected"),
    [
        ("Al, Al, Alan", ["x:Al"], [(0, 2, "x"), (4, 6, "x")]),
        ("Al, AL, al", ["x:aL"], [(0, 2, "x"), (4, 6, "x"), (8, 10, "x")]),
        ("Al Al Al", ["x:Al", "y:Al"], [(a, a + 2, label) for a in (0, 3, 6) for label in "xy"]),
        ("US Army US Army US", ["x:US", "x:US Army"], [(0, 7, "x"), (8, 15, "x"), (16, 18, "x")]),
        ("aaaa", ["x:aa"], [(0, 2, "x"), (2, 4, "x")]),
        ("BUSINESS", ["x:S"], [(2, 3, "x"), (6, 7, "x"), (7, 8, "x")]),
    ],
)  # fmt: skip
def test_all_occurrences(text, mentions, expected):
    said = [Mention(*mention.split(":", 1)) for mention in mentions]
    entities, ungrounded = ground(text, said)
    assert [(e.start, e.end, e.label) for e in everywhere(text, entities, said)] == expected
    assert ungrounded == []


@settings(deadline=None)
@given(texts, st.lists(st.builds(Mention, st.sampled_from(["", "a", "b"]), texts)))
def test_never_raises_and_offsets_hold(text, mentions):
    entities, ungrounded = ground(text, mentions)
    lost = set(map(id, ungrounded))
    every = everywhere(text, entities, [m for m in mentions if id(m) not in lost])
    assert set(entities) <= set(every)
    for found in (entities, every):
        assert all(text[entity.start : entity.end] == entity.text for entity in found)
        keys = [(entity.start, entity.end, entity.label) for entity in found]
        assert keys == sorted(set(keys))
    assert len(ungrounded) + len(entities) <= len(mentions)


@settings(deadline=None)
@given(texts, st.data())
def test_a_plain_mention_stands_where_the_search_would_find_it(text, data):
    cuts = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    parts = cuts.map(lambda cut: text[slice(*cut)])
    surfaces = data.draw(st.lists(parts | parts.map(str.swapcase) | texts, max_size=5))
    mentions = [Mention(data.draw(st.sampled_from(["", "a", "b"])), s) for s in surfaces]
    searched = grounding._searched(text, mentions, [None] * len(mentions))
    assert ground(text, mentions) == searched


@settings(deadline=None)
@given(texts, st.data())
def test_every_substring_is_found_exactly(text, data):
    start = data.draw(st.integers(0, len(text)))
    surface = text[start : data.draw(st.integers(start, len(text)))].strip()
    entities, ungrounded = ground(text, [Mention("x", surface)])
    if surface:
        assert [(entity.text, entity.how) for entity in entities] == [(surface, "exact")]
    else:
        assert len(ungrounded) == 1


@settings(deadline=None)
@given(texts)
def test_a_whole_text_is_found_in_capitals(text):
    # The iota subscript is a mark that becomes a letter of its own: no fold keeps both spellings.
    text = text.replace("\u0345", "").strip()
    if fold(text).text.strip():
        entities, _ = ground(text, [Mention("x", text.upper())])
        assert entities


def test_case_and_spelling_fold_to_one_form_for_every_character():
    for char in map(chr, range(sys.maxunicode + 1)):
        spellings = {char.upper()}
        if char < "\u3100":
            spellings.add(unicodedata.normalize("NFD", char))
        for spelling in spellings - {char}:
            assert fold(spelling).text == fold(char).text, hex(ord(char))


def test_megabytes_take_seconds():
    words = [
        f"{first}{second}{third}" for first in "BCDFG" for second in "aeiou" for third in "xyzklmnp"
    ]
    text = " ".join(words * 2000)
    began = time.perf_counter()
    exact = [Mention("x", word) for word in words]
    folded = [Mention("x", f"{a.upper()}  {b}") for a, b in pairwise(words)]
    entities, ungrounded = ground(text, exact + folded)
    assert (len(entities), ungrounded) == (len(exact) + len(folded), [])
    ground("a" * 1_000_000, [Mention("x", "a" * size) for size in range(1, 20)])
    ground("e" + "\u0301" * 500_000, [Mention("x", "É")])
    ground("大" + " \u200b" * 500_000 + "学", [Mention("x", "大学")])
    assert time.perf_counter() - began < 15
