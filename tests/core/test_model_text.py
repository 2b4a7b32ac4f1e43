"""How a text is stored does not change what is read, and every span leads back to the file."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.model_text import model_text

PIECES = st.sampled_from(
    [
        *("a", "Bé", " ", "\n", "\r\n", "\r", "\u200e", "\u00ad", "\u200d", ";", "; ", "a;b", "北"),
        *("&amp;", "&#38;", "&#x4e2d;", "&nbsp;", "&foo;", "&", "\ud800", "&#0;", "&lt;b&gt;"),
    ]
)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("\u200eMaria\u200e in \u2068Haifa\u2069.\ufeff", "Maria in Haifa."),
        ("Donau\u00addampf", "Donaudampf"),
        ("AT&amp;T, Procter &#38; Gamble &#x26; Co", "AT&T, Procter & Gamble & Co"),
        ("a&nbsp;b&foo;c & d &notit; &;", "a b&foo;c & d &notit; &;"),
        ("Anna;Berlin; Bonn", "Anna,Berlin; Bonn"),
        ("👨\u200d👩 ❤\ufe0f", "👨\u200d👩 ❤\ufe0f"),
        ("&#59;&semi;", "&#59;&semi;"),
    ],
)
def test_what_is_read(text, read):
    assert model_text(text).text == read


@pytest.mark.parametrize(
    ("text", "surface", "there"),
    [
        ("at AT&amp;T now", "AT&T", "AT&amp;T"),
        ("\u200eMaria\u200e ok", "Maria", "Maria"),
        ("Ber\u00adlin\r\n", "Berlin", "Ber\u00adlin"),
        ("a&lt;b", "a<b", "a&lt;b"),
        ("x\r\nNew\r\nYork", "New\nYork", "New\r\nYork"),
    ],
)
def test_a_span_leads_back_to_the_file(text, surface, there):
    read = model_text(text)
    at = read.text.index(surface)
    start, end = read.place(at, at + len(surface))
    assert text[start:end] == there


@given(st.lists(PIECES, max_size=12).map("".join))
def test_places_are_in_order_and_read_back_as_what_was_asked(text):
    read = model_text(text)
    places = [read.place(at, at + 1) for at in range(len(read.text))]
    assert all(a[1] <= b[0] for a, b in pairwise(places))
    for at, (start, end) in enumerate(places):
        assert start < end
        assert model_text(text[start:end]).text in (read.text[at], text[start:end])


@given(st.text(max_size=40))
def test_a_text_that_is_read_as_it_stands_keeps_its_places(text):
    read = model_text(text)
    if read.text == text:
        assert all(read.place(i, i + 1) == (i, i + 1) for i in range(len(text)))
