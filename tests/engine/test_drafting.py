"""Guesses come from the document and from answers before; the model's word is what counts."""

from dataclasses import replace

import pytest

from b2ner_cli.engine import PackedEngine
from b2ner_cli.engine.drafting import MAX_DRAFT, Drafter
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import render

LABELS = LabelSet(("person", "city", "river"))


def test_what_follows_in_the_document_is_copied():
    own = [5, 6, 7, 8, 5, 9, 10]
    drafter = Drafter()
    assert drafter.guess(own, [3, 6], 2) == [7, 8]  # no pair (3, 6): the token alone
    assert drafter.guess(own, [4, 5], 9) == [9, 10]  # its last place
    assert drafter.guess(own, [8, 5], 1) == [9]
    assert drafter.guess(own, [5, 6], 9) == [7, 8, 5, 9, 10]
    assert drafter.guess(own, [11], 9) == []
    assert drafter.guess(own, [], 9) == drafter.guess(own, [5], 0) == []


def test_what_followed_in_answers_before_is_remembered():
    drafter = Drafter()
    drafter.learn([1, 2, 3, 4])
    assert drafter.guess([], [1], 9) == [2, 3, 4]  # an answer that begins the same
    assert drafter.guess([], [9, 2, 3], 9) == [4]
    assert drafter.guess([], [9, 3], 9) == []
    assert drafter.guess([8, 2, 3, 7], [2, 3], 9) == [7]  # the document comes first
    drafter.learn([2, 3, 5])
    assert drafter.guess([], [2, 3], 9) == [5]  # the last answer that had it
    assert drafter.guess([], [6, 7, 8, 6, 7], 9) == [8, 6, 7]  # earlier in the answer itself
    drafter.learn(range(100))
    assert len(drafter.guess([], [50, 51], 99)) == MAX_DRAFT


def test_guessing_stops_for_a_while_where_it_is_never_right():
    drafter = Drafter()
    drafter.note(24, 10)
    assert drafter.active()
    drafter.note(20, 0)
    assert drafter.active()
    drafter.note(4, 1)
    turns = [drafter.active() for _ in range(200)]
    assert turns.index(True) == turns.count(False) > 50


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gemma3", "mistral"])
def test_right_guesses_save_steps(load_tiny, architecture):
    loaded = load_tiny(architecture)
    asked = [render(LABELS, "Ann Lee met Bob in Rome .", "en")] * 2

    def steps(spare):
        engine = PackedEngine(loaded, max_answer=60)
        engine.draft_budget, engine.limits = spare, replace(engine.limits, sequences=1)
        count, original = [], engine.forward
        engine.forward = lambda tokens, step: count.append(len(tokens)) or original(tokens, step)
        said = dict(engine.generate(asked))
        return said[0].text, said[1].text, len(count)

    (*texts, drafted), (*same, stepwise) = steps(16), steps(0)
    assert texts == same
    assert drafted < 0.75 * stepwise  # the second answer is the first, all of it guessed
