import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.scoring.error_classes import (
    CLASSES,
    Errors,
    Unsupported,
    overlapping,
    piece_errors,
    span_errors,
)
from b2ner_cli.scoring.paper_metric import paper_items

LABELS = st.sampled_from("abc")
SPANS = st.tuples(LABELS, st.integers(0, 8), st.integers(1, 4)).map(
    lambda item: (item[0], item[1], item[1] + item[2])
)
SPAN_SETS = st.frozensets(SPANS, max_size=6)
PIECES = st.tuples(LABELS, st.text("xy", min_size=1, max_size=3))
PIECE_SETS = st.frozensets(PIECES, max_size=6)


@given(st.text(max_size=30), st.text(max_size=30))
def test_paper_reads_anything(gold, predicted):
    piece_errors(paper_items(gold), paper_items(predicted))


def test_overlapping_finds_a_pairing_that_greed_misses():
    gold = [("a", 0, 10), ("a", 8, 9)]
    predicted = [("a", 0, 9), ("a", 1, 4)]
    assert overlapping(gold, predicted) == [
        (("a", 0, 10), ("a", 1, 4)),
        (("a", 8, 9), ("a", 0, 9)),
    ]


@given(SPAN_SETS, SPAN_SETS)
def test_overlapping_pairs_as_many_as_any_order_of_greed(gold, predicted):
    shuffler, most = random.Random(0), 0
    for _ in range(20):
        free, order, pairs = list(gold), list(predicted), 0
        shuffler.shuffle(free), shuffler.shuffle(order)
        for label, start, end in order:
            for each in free:
                if each[0] == label and each[1] < end and start < each[2]:
                    free.remove(each)
                    pairs += 1
                    break
        most = max(most, pairs)
    assert len(overlapping(sorted(gold), sorted(predicted))) >= most


def test_overlapping_takes_long_documents():
    gold = [("a", 10 * at, 10 * at + 9) for at in range(3000)]
    predicted = [("a", 10 * at + 5, 10 * at + 14) for at in range(3000)]
    assert len(overlapping(gold, predicted)) == 3000


def test_span_errors_by_kind():
    gold = frozenset({("a", 0, 3), ("a", 5, 9), ("b", 10, 12), ("c", 20, 25), ("a", 30, 31)})
    predicted = frozenset({("a", 0, 3), ("a", 5, 8), ("c", 10, 12), ("d", 21, 25), ("a", 40, 41)})
    assert span_errors(gold, predicted) == Errors(
        missed=(("c", 20, 25), ("a", 30, 31)),
        invented=(("d", 21, 25), ("a", 40, 41)),
        wrong_label=((("b", 10, 12), ("c", 10, 12)),),
        wrong_boundary=((("a", 5, 9), ("a", 5, 8)),),
    )


def test_piece_errors_by_kind():
    gold, predicted = (
        paper_items("a: Bob; a: New York; b: x; c: y"),
        paper_items("b: Bob; a: York; b: z"),
    )
    assert piece_errors(gold, predicted) == Errors(
        missed=(("b", "x"), ("c", "y")),
        invented=(("b", "z"),),
        wrong_label=((("a", "bob"), ("b", "bob")),),
        wrong_boundary=((("a", "new york"), ("a", "york")),),
    )


@given(SPAN_SETS, SPAN_SETS)
def test_every_error_stands_in_one_field(gold, predicted):
    errors = span_errors(gold, predicted)
    pairs = errors.wrong_label + errors.wrong_boundary
    assert sorted((*errors.missed, *(pair[0] for pair in pairs))) == sorted(gold - predicted)
    assert sorted((*errors.invented, *(pair[1] for pair in pairs))) == sorted(predicted - gold)
    assert bool(errors) == (gold != predicted)


STRANGE = Unsupported(not_in_text=(("a", "york"),), not_in_labels=(("z", "bob"),))


def test_strange_pieces_are_taken_out_of_the_inventions():
    gold, predicted = paper_items("a: New York; b: Bob"), paper_items("a: York; z: Bob; a: x")
    assert piece_errors(gold, predicted, STRANGE) == Errors(
        missed=(("b", "bob"), ("a", "new york")),
        invented=(("a", "x"),),
        not_in_text=(("a", "york"),),
        not_in_labels=(("z", "bob"),),
    )


def test_strange_pieces_that_the_gold_has_are_no_errors():
    gold = paper_items("a: York; z: Bob")
    assert not piece_errors(gold, gold, STRANGE)


def test_strange_spans_stand_beside():
    errors = span_errors(frozenset(), frozenset({("a", 0, 1)}), STRANGE)
    assert errors.invented == (("a", 0, 1),)
    assert errors.counts() == {
        "missed": 0,
        "invented": 1,
        "wrong_label": 0,
        "wrong_boundary": 0,
        "not_in_text": 1,
        "not_in_labels": 1,
    }


@given(PIECE_SETS, PIECE_SETS, PIECE_SETS, PIECE_SETS)
def test_every_piece_stands_in_one_field(gold, predicted, absent, unasked):
    errors = piece_errors(gold, predicted, Unsupported(tuple(absent), tuple(unasked)))
    pairs = errors.wrong_label + errors.wrong_boundary
    assert sorted((*errors.missed, *(pair[0] for pair in pairs))) == sorted(gold - predicted)
    wrong = errors.invented + errors.not_in_text + errors.not_in_labels
    assert sorted((*wrong, *(pair[1] for pair in pairs))) == sorted(predicted - gold)


@pytest.mark.parametrize("name", CLASSES)
def test_errors_of_any_class_are_errors(name):
    assert Errors(**{name: ((("a", "x"), ("b", "x")),)})
    assert not Errors()
