import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate.entities import Entity as OracleEntity
from nervaluate.strategies import EntityTypeEvaluation, ExactEvaluation
from seqscore.model import Mention as OracleMention
from seqscore.model import Span as OracleSpan
from seqscore.scoring import ClassificationScore, score_sequence_mentions

from b2ner_cli.document import Entity
from b2ner_cli.evaluation import (
    Counts,
    DataSet,
    Errors,
    Scores,
    Tally,
    averages,
    macro,
    normalise,
    overlapping,
    paper_items,
    piece_errors,
    span_errors,
    span_items,
)

# What the authors' evaluator really gave for these inputs.
NORMALISED = [
    ("  Person :  Barack   Obama ", "person:barack obama"),
    ("人名：张三", "人名:张三"),
    ("作品名->影像作品: 《大话西游》", "作品名->影像作品:大话西游"),
    ("作品名: 看《三国》和《水浒》", "作品名:三国"),
    ("org: (Apple)", "org:apple"),
    ("loc: @Paris#", "loc:paris"),
    ("organization -> company: Acme", "organization-> company:acme"),
    ("person: O'Neil - Smith", "person:o'neil-smith"),
    ("a: (b) (c)", "a:b)(c"),
    ("a: b；c: d", "a:b;c:d"),
]
COUNTED = [
    (" person: Bob; person: Bob", "person: Bob", Counts(1, 0, 0)),
    (" None", "None", Counts(0, 0, 0)),
    (" location: New York, NY", "location: new york,ny", Counts(1, 0, 0)),
    (" 人名: Moon; 人名: Infi", "人名：Moon；人名：Infi", Counts(2, 0, 0)),
    (" person: a; b", "person: a; b", Counts(1, 0, 0)),
    (" movie: Alien; movie: Aliens", "movie: Alien, Aliens", Counts(tp=0, fp=1, fn=2)),
    (" person: Bob", "Person: Bob.; foo", Counts(tp=0, fp=1, fn=1)),
]
MORE_NORMALISED = [
    ("located: x", "location:x"),
    ("organisation: {x}", "organization:x"),
    ("a: b,,,c..d;;e", "a:b,c.d;e"),
    ("a: “b” ‘c’", "a:\"b\" 'c'"),
    ("a： b", "a: b"),  # full-width after the space step: a second pass is needed
    ("a: x，y", "a:x,y"),
    ("time: 10:30", "time:10:30"),
    ("a: <b>", "a:b"),
    ("a: （b）", "a:b"),
    ("a: (", "a:("),
    ("a: 》b《", "a:》b《"),
    ("(b)", "(b)"),
    ("", ""),
]

LABELS = st.sampled_from("abc")
SPANS = st.tuples(LABELS, st.integers(0, 8), st.integers(1, 4)).map(
    lambda item: (item[0], item[1], item[1] + item[2])
)
SPAN_SETS = st.frozensets(SPANS, max_size=6)
COUNTS = st.builds(Counts, *[st.integers(0, 99)] * 3)


def tallied(*documents):
    tally = Tally()
    for gold, predicted in documents:
        tally.add_spans(frozenset(gold), frozenset(predicted))
    return tally.scores()


@pytest.mark.parametrize(("text", "normal"), NORMALISED + MORE_NORMALISED)
def test_normalise(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(("gold", "predicted", "counts"), COUNTED)
def test_paper_counts(gold, predicted, counts):
    tally = Tally()
    tally.add_pieces(paper_items(gold), paper_items(predicted))
    scores = tally.scores()
    assert scores.total == counts
    assert scores.boundary is scores.type is None


def test_paper_counts_by_normalised_label():
    tally = Tally()
    tally.add_pieces(paper_items("Person: Bob; loc: Rome"), paper_items("person: bob; Loc: Oslo"))
    assert dict(tally.scores().labels) == {"loc": Counts(0, 1, 1), "person": Counts(1, 0, 0)}


def test_paper_item_label_ends_at_the_first_colon():
    assert paper_items("time: 10:30; nothing") == {("time", "10:30")}


@given(st.text(alphabet="aA ,:()._;'-\t", max_size=12))
def test_normalise_drops_the_spaces_a_pattern_would(text):
    tight = re.sub(r"\s*([,:()._;'\-])\s*", r"\1", re.sub(r"\s+", " ", text).strip()).lower()
    tight = re.sub(r"([,.;])\1+", r"\1", tight)
    before, after = tight.rpartition(":")[::2] if ":" in tight else (tight, "")
    if after[:1] == "(" and after[-1:] == ")" and len(after) > 1:
        after = after[1:-1]
    assert normalise(text) == (f"{before}:{after}" if ":" in tight else before)


@given(st.text(max_size=30), st.text(max_size=30))
def test_paper_reads_anything(gold, predicted):
    piece_errors(paper_items(gold), paper_items(predicted))


@given(st.text(alphabet="aK :;；：,，.@#()《》{}’>-\u3000\u212a", max_size=16))
def test_paper_items_are_pieces_normalised_twice(answer):
    pieces = [normalise(part) for part in normalise(answer).split(";")]
    assert paper_items(answer) == {tuple(piece.split(":", 1)) for piece in pieces if ":" in piece}


@given(COUNTS, COUNTS)
def test_counts_add_and_f1_is_symmetric(one, other):
    both = one + other
    assert (both.support, both.tp + both.fp) == (
        one.support + other.support,
        one.tp + one.fp + other.tp + other.fp,
    )
    turned = Counts(one.tp, one.fn, one.fp)
    assert (turned.f1, turned.precision, turned.recall) == (one.f1, one.recall, one.precision)
    assert 0 <= one.f1 <= 1


def test_scores_are_zero_where_undefined():
    assert (Counts().f1, Counts().precision, Counts().recall) == (0.0, 0.0, 0.0)
    assert Counts(1, 1, 0).f1 == pytest.approx(2 / 3)
    assert (Counts(1, 1, 0).precision, Counts(1, 1, 0).recall) == (0.5, 1.0)


@given(st.lists(st.tuples(SPAN_SETS, SPAN_SETS), max_size=4))
def test_strict_equals_seqscore(documents):
    oracle = ClassificationScore()
    for gold, predicted in documents:
        score_sequence_mentions(
            [OracleMention(OracleSpan(start, end), label) for label, start, end in predicted],
            [OracleMention(OracleSpan(start, end), label) for label, start, end in gold],
            oracle,
        )
    scores = tallied(*documents)
    assert scores.total == Counts(oracle.true_pos, oracle.false_pos, oracle.false_neg)
    assert scores.total.f1 == pytest.approx(oracle.f1)
    for label, each in oracle.type_scores.items():
        assert scores.labels[label] == Counts(each.true_pos, each.false_pos, each.false_neg)


@given(SPAN_SETS, SPAN_SETS)
def test_no_line_is_below_strict_and_turning_sides_turns_counts(gold, predicted):
    scores, turned = tallied((gold, predicted)), tallied((predicted, gold))
    for line, back in ((scores.boundary, turned.boundary), (scores.type, turned.type)):
        assert line.tp >= scores.total.tp
        assert line.support == scores.total.support
        assert min(line.fp, line.fn) >= 0
        assert (line.tp, line.fp, line.fn) == (back.tp, back.fn, back.fp)


def oracle(strategy, gold, predicted):
    """Ask nervaluate, whose spans end on their last character."""
    sides = [
        [OracleEntity(label, start, end - 1) for label, start, end in sorted(side)]
        for side in (gold, predicted)
    ]
    return strategy.evaluate(*sides, ["a", "b", "c"])[0].correct


def flat(spans):
    """Keep spans that do not overlap, from the left."""
    kept = []
    for label, start, end in sorted(spans, key=lambda item: item[1:]):
        if not kept or start >= kept[-1][2]:
            kept.append((label, start, end))
    return frozenset(kept)


@given(SPAN_SETS, SPAN_SETS)
def test_boundary_equals_nervaluate_exact_on_flat_spans(gold, predicted):
    gold, predicted = flat(gold), flat(predicted)
    assert tallied((gold, predicted)).boundary.tp == oracle(ExactEvaluation(), gold, predicted)


@given(SPAN_SETS, SPAN_SETS)
def test_type_is_at_least_nervaluate_on_flat_spans(gold, predicted):
    # Theirs takes the nearest span first and lets a wrong label use one up; ours pairs the most.
    gold, predicted = flat(gold), flat(predicted)
    assert tallied((gold, predicted)).type.tp >= oracle(EntityTypeEvaluation(), gold, predicted)


@pytest.mark.parametrize(
    ("gold", "predicted", "pairs"),
    [
        ([("a", 0, 5)], [("a", 5, 9)], 0),  # touching is no overlap: ends are exclusive
        ([("a", 0, 5)], [("a", 4, 9)], 1),
        ([("a", 0, 5)], [("b", 0, 5)], 0),
        ([("a", 0, 9)], [("a", 0, 4), ("a", 5, 9)], 1),
        ([("a", 0, 4), ("a", 5, 9)], [("a", 2, 7), ("a", 8, 9)], 2),
        ([("a", 0, 4), ("b", 5, 9)], [("a", 1, 4), ("b", 5, 8)], 2),
    ],
)
def test_type_pairs_like_nervaluate(gold, predicted, pairs):
    assert tallied((gold, predicted)).type.tp == pairs
    assert oracle(EntityTypeEvaluation(), gold, predicted) == pairs


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


def test_repeats_and_several_labels_on_one_span():
    twice = [Entity(0, 3, "a", "Bob"), Entity(0, 3, "a", "Bob"), Entity(0, 3, "b", "Bob")]
    assert span_items(twice) == {("a", 0, 3), ("b", 0, 3)}
    scores = tallied((span_items(twice), [("a", 0, 3)]))
    assert scores.total == scores.boundary == Counts(1, 0, 1)


def test_strict_takes_labels_as_given():
    assert tallied(([("Person", 0, 3)], [("person", 0, 3)])).total == Counts(0, 1, 1)


def test_labels_by_falling_support_then_name():
    scores = tallied(([("b", 0, 1), ("a", 1, 2), ("c", 3, 4), ("c", 4, 5)], [("z", 0, 1)]))
    assert list(scores.labels) == ["c", "a", "b", "z"]


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


def test_averages_as_in_the_authors_tables():
    f1 = {
        DataSet("one", "NER", "en"): 0.5,
        DataSet("two", "NER", "en"): 1.0,
        DataSet("one", "NER", "zh"): 2 / 3,
        DataSet("two", "NER", "zh"): 1.0,
        DataSet("math-junior", "NER", "zh"): 0.0,
    }
    rounded = {name: round(mean, 4) for name, mean in averages(f1).items()}
    assert rounded == {"NER_en": 0.75, "NER_zh": 0.8333, "overall": 0.7917}


def test_overall_is_over_data_sets_not_over_averages():
    f1 = {DataSet(name, "NER", "en"): 1.0 for name in "abc"} | {DataSet("a", "NER", "zh"): 0.0}
    assert averages(f1)["overall"] == 0.75


@pytest.mark.parametrize(
    ("f1", "means"),
    [
        ({}, {"overall": 0.0}),
        ({DataSet("docs"): 0.5}, {"overall": 0.5}),
        ({DataSet("CAIL2022", "NER", "zh"): 0.5}, {"NER_zh": 0.5, "overall": 0.5}),
    ],
)
def test_averages_of_few(f1, means):
    assert averages(f1) == means


def test_macro_pools_labels_and_leaves_out_those_without_support():
    scores = {
        DataSet("one"): Scores({"a": Counts(1, 0, 0), "b": Counts(0, 0, 2), "z": Counts(0, 5, 0)}),
        DataSet("two"): Scores({"a": Counts(0, 0, 2)}),
        DataSet("math-junior"): Scores({"a": Counts(0, 9, 9)}),
    }
    assert macro(scores) == pytest.approx((0.5 + 0.0) / 2)
    assert macro({}) == 0.0
