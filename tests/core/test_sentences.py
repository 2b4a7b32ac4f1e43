"""Sentences end where readers of five languages end them; lines part items and not wrapped text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.sentences import language_of_sentences, sentences


def cut(text):
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["Dr. J. Smith met Mr. Lee at 3.5 p.m. in Rome.", "They ate."],
        ["See Fig. 3 of the paper by e.g. Doe.", "It costs 3.50 in the U.S. now!", "Really?"],
        ["Am 3. Mai traf Prof. Dr. Müller die z.B. genannte Gruppe.", "Das ist die 2. Auflage."],
        ["El Sr. Pérez llegó con la Dra. Ruiz el 3 de mayo.", "¿Qué tal?", "¡Bien!"],
        ["De heer dr. P. de Vries kwam o.a. langs.", "Nr. 3 is weg."],
    ],
)
def test_sentences_of_languages_with_spaces(parts):
    assert cut(" ".join(parts)) == parts


def test_chinese_sentences_need_no_space():
    parts = ["他说：“你好。”", "然后走了。", "北京很大！", "真的？", "是的"]
    assert cut("".join(parts)) == parts


def test_no_space_after_a_full_stop():
    assert cut("Die Sitzung war in Bonn.Dann kam der Zug.") == [
        "Die Sitzung war in Bonn.",
        "Dann kam der Zug.",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_a_list_are_items(end):
    items = ["Patient: Maria Lopez", "Hospital: St Mary's", "City: Leeds", "Doctor: John Carter"]
    assert cut(end.join(items)) == items


def test_wrapped_lines_are_one_sentence():
    text = (
        "The committee met on Tuesday in the town hall of Springfield and heard\n"
        "Maria Lopez, who spoke for an hour about the harbour. Then it rose.\n\nNotes"
    )
    first, second, third = cut(text)
    assert first.endswith("heard\nMaria Lopez, who spoke for an hour about the harbour.")
    assert (second, third) == ("Then it rose.", "Notes")


@given(st.text(st.sampled_from("ab .!?\n\r\t。é\ud800北1") | st.characters(), max_size=200))
def test_sentences_cover_all_ink_in_order(text):
    position = 0
    for start, end in sentences(text):
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip()
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The man is in the house", "en"),
        ("Der Mann ist im Haus", "de"),
        ("El hombre está en la casa", "es"),
        ("De man is in het huis", "nl"),
        ("他在北京", "zh"),
        ("", "en"),
    ],
)
def test_the_language_is_told_by_its_commonest_words(text, language):
    assert language_of_sentences(text) == language


@pytest.mark.parametrize(
    "text", ["a\n" * 300_000, "x" * 1_000_000, "A. b " * 200_000, "\n" * 10**6]
)
def test_huge_texts_take_time_in_proportion(text):
    began = time.perf_counter()
    assert sum(1 for _ in sentences(text)) <= text.count("a") + 1
    assert time.perf_counter() - began < 20
