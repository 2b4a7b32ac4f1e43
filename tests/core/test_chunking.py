"""Chunks fit, cover the text, and are cut where a reader would cut; merging undoes the split."""

import time
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from b2ner_cli.core.chunking import Chunk, merge, split
from b2ner_cli.core.document import Entity
from b2ner_cli.errors import UsageError

texts = st.text(
    st.sampled_from("ab .!?\n\r\t。，北京é\u0301\u200d👨👩\U0001f3fd\u3000Dr") | st.characters(),
    max_size=200,
)


class Counter:
    """Counts tokens of four characters, and how it was asked."""

    def __init__(self, size=4):
        self.size = size
        self.asked = []

    def __call__(self, text):
        self.asked.append(len(text))
        return -(-len(text) // self.size)


def by_bytes(text):
    return len(text.encode(errors="surrogatepass"))


def parts(text, budget, count=len):
    return [text[chunk.start : chunk.end] for chunk in split(text, count, budget)]


@settings(deadline=None)
@given(texts, st.integers(1, 60), st.sampled_from([len, by_bytes, Counter()]))
def test_chunks_cover_the_text_in_order_and_fit(text, budget, count):
    chunks = split(text, count, budget)
    begun = -1
    position = 0
    for chunk in chunks:
        assert begun < chunk.start < chunk.end <= len(text)
        assert position < chunk.end
        begun = chunk.start
        assert not text[position : chunk.start].strip()
        piece = text[chunk.start : chunk.end]
        assert count(piece) <= budget or len(piece) == 1
        assert piece.strip()
        position = chunk.end
    assert not text[position:].strip()


@settings(deadline=None)
@given(texts, st.integers(1, 60), st.data())
def test_merge_restores_what_split_parted(text, budget, data):
    chunks = split(text, len, budget)
    assume(all(a.end <= b.start for a, b in pairwise(chunks)))
    entities = set()
    split_up = []
    for chunk in chunks:
        spans = st.tuples(
            st.integers(0, chunk.end - chunk.start - 1),
            st.integers(1, chunk.end - chunk.start),
            st.sampled_from("ab"),
        ).filter(lambda span: span[0] < span[1])
        local = []
        for start, end, label in data.draw(st.lists(spans, max_size=3)):
            a, b = start + chunk.start, end + chunk.start
            entities.add(Entity(a, b, label, text[a:b]))
            local.append(Entity(start, end, label, text[a:b]))
        split_up.append((chunk, local))
    merged = merge(split_up, text)
    assert set(merged) == entities
    assert list(merged) == sorted(merged, key=lambda e: (e.start, e.end, e.label))


def test_the_highest_score_of_a_repeat_stays():
    chunk = Chunk(2, 6)
    scores = [None, 0.2, 0.9, 0.5]
    groups = [(chunk, [Entity(0, 4, "x", "Anna", score)]) for score in scores]
    assert merge(groups, "- Anna") == (Entity(2, 6, "x", "Anna", 0.9),)


def test_a_text_that_fits_is_one_chunk_untouched_at_one_count():
    count = Counter()
    text = "  One. Two.\n\nThree. " * 5
    assert split(text, count, 25) == [Chunk(0, len(text))]
    assert count.asked == [100]


def test_a_text_with_fewer_bytes_than_the_budget_is_not_counted():
    assert split("Zoë", None, 5) == [Chunk(0, 3)]
    assert split("\ud800", None, 5) == [Chunk(0, 1)]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000\u2028 "])
def test_a_blank_text_has_no_chunks(text):
    assert split(text, None, 5) == []


@pytest.mark.parametrize("budget", [0, -7])
def test_an_impossible_budget_is_an_error_with_the_number(budget):
    with pytest.raises(UsageError, match=str(budget)):
        split("text", len, budget)


@pytest.mark.parametrize(
    ("text", "budget", "expected"),
    [
        # paragraph, rather than the sentence end after it, where that does not leave little
        ("One two.\n\nThree four. Five six.", 20, ["One two.", "Three four.", "Five six."]),
        ("One two.\n\nThree four. Five six.", 21, ["One two.\n\nThree four.", "Five six."]),
        ("One two three. Four.\n\nFive. Six.", 28, ["One two three. Four.", "Five. Six."]),
        ("Title\n\nOne two. Three four five", 20, ["Title\n\nOne two.", "Three four five"]),
        # sentences, Latin and Chinese
        ("One two? Three four five six.", 20, ["One two?", "Three four five six."]),
        ('He said "no." She left early.', 20, ['He said "no."', "She left early."]),
        ("我去了北京。他没有去！", 8, ["我去了北京。", "他没有去！"]),
        ("他说：“好。”我走了。", 8, ["他说：“好。”", "我走了。"]),
        ("Moon plays StarCraft . He won .", 26, ["Moon plays StarCraft .", "He won ."]),
        # not after an abbreviation or an initial
        ("We met. But Dr. Poe and J. Doe came", 33, ["We met.", "But Dr. Poe and J. Doe came"]),
        ("It is approx. five kilometres away", 20, ["It is approx. five", "kilometres away"]),
        # lines, words, anywhere
        ("alpha beta\ngamma delta epsilon", 20, ["alpha beta", "gamma delta epsilon"]),
        ("alpha beta gamma", 12, ["alpha beta", "gamma"]),
        ("北京大学，清华大学和复旦", 8, ["北京大学，", "清华大学和复旦"]),
        ("abcdefghij", 4, ["abc", "def", "ghij"]),
        ("abcdefgh\r\nij", 10, ["abcdefgh", "ij"]),
        ("xxe\u0301e\u0301e\u0301", 4, ["xx", "e\u0301", "e\u0301e\u0301"]),
    ],
)  # fmt: skip
def test_where_the_cuts_are(text, budget, expected):
    assert parts(text, budget) == expected


def test_a_sentence_over_the_budget_stays_whole_up_to_what_was_trained_on():
    text = "One two. Three four five six seven eight nine. Ten."
    whole = ["One two.", "Three four five six seven eight nine.", "Ten."]
    assert [text[c.start : c.end] for c in split(text, len, 10, 40)] == whole
    assert [text[c.start : c.end] for c in split(text, len, 10, 10)] != whole


def test_an_entity_at_a_cut_is_found_once_in_the_part_that_holds_it_whole():
    text = "aa bb cc dd ee ff gg hh ii jj kk ll mm"
    first, second = split(text, len, 22)
    assert second.start < first.end, "parts of a sentence overlap"
    edge = text[first.start : first.end].split()[-1]
    at = text.index(edge)
    left = Entity(at - first.start, at - first.start + 2, "x", edge)
    right = Entity(at - second.start, at - second.start + 5, "x", text[at : at + 5])
    merged = merge([(first, [left]), (second, [right])], text)
    assert [(e.start, e.text) for e in merged] == [(at, text[at : at + 5])]


def test_sentences_of_no_tokens_are_not_lost():
    text = "Ann left. Bob came. Eve sang."
    assert " ".join(parts(text, 2, lambda piece: 3 * (len(piece) > 12))) == text


def test_what_stands_between_sentences_counts():
    text = "0000000000𐀀!" + "\x85\x80" * 5 + "𐀀𐀀"
    assert all(by_bytes(part) <= 30 for part in parts(text, 30, by_bytes))


def test_a_single_character_is_never_parted():
    assert parts("👨👩", 1, by_bytes) == ["👨", "👩"]


@pytest.mark.parametrize(
    "text",
    [
        "The man walked to the shop. He bought bread.\n\n" * 45_000,
        "x" * 2_000_000,
        "我们去了北京大学" * 250_000,
        "a" + " " * 2_000_000 + "b",
        "e" + "\u0301" * 1_000_000,
        "\n" * 1_000_000 + "a\n" * 100_000,
        "A. b " * 400_000,
    ],
    ids=["prose", "no edge", "chinese", "spaces", "marks", "lines", "initials"],
)
def test_a_huge_text_is_counted_in_small_pieces_and_about_once(text):
    count = Counter()
    began = time.perf_counter()
    chunks = split(text, count, 512)
    assert time.perf_counter() - began < 10
    assert max(count.asked) <= 512 * 16
    assert sum(count.asked) <= 1.3 * len(text) + 20_000
    assert len(chunks) <= len(text.replace("\n\n", "")) / 4 / 512 * 4 + 2


def test_a_change_of_script_costs_a_few_counts():
    def count(text):
        return sum(1 if char > "\u3000" else 0.25 for char in text).__ceil__()

    text = ("word " * 2000 + "北京" * 2000) * 5
    asked = []
    chunks = split(text, lambda piece: asked.append(len(piece)) or count(piece), 500)
    assert len(asked) < 2.5 * len(chunks)
    assert all(count(text[chunk.start : chunk.end]) <= 500 for chunk in chunks)
