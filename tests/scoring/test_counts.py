import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate.entities import Entity as OracleEntity
from nervaluate.strategies import EntityTypeEvaluation, ExactEvaluation
from seqscore.model import Mention as OracleMention
from seqscore.model import Span as OracleSpan
from seqscore.scoring import ClassificationScore, score_sequence_mentions

from b2ner_cli.core.document import Entity
from b2ner_cli.scoring.counts import Counts, Scores, SetName, Tally, averages, macro, span_items
from b2ner_cli.scoring.error_classes import Unsupported
from b2ner_cli.scoring.paper_metric import paper_items

COUNTED = [
    (" person: Bob; person: Bob", "person: Bob", Counts(1, 0, 0)),
    (" None", "None", Counts(0, 0, 0)),
    (" location: New York, NY", "location: new york,ny", Counts(1, 0, 0)),
    (" 人名: Moon; 人名: Infi", "人名：Moon；人名：Infi", Counts(2, 0, 0)),
    (" person: a; b", "person: a; b", Counts(1, 0, 0)),
    (" movie: Alien; movie: Aliens", "movie: Alien, Aliens", Counts(tp=0, fp=1, fn=2)),
    (" person: Bob", "Person: Bob.; foo", Counts(tp=0, fp=1, fn=1)),
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


def test_averages_as_in_the_authors_tables():
    f1 = {
        SetName("one", "NER", "en"): 0.5,
        SetName("two", "NER", "en"): 1.0,
        SetName("one", "NER", "zh"): 2 / 3,
        SetName("two", "NER", "zh"): 1.0,
        SetName("math-junior", "NER", "zh"): 0.0,
    }
    rounded = {name: round(mean, 4) for name, mean in averages(f1).items()}
    assert rounded == {"NER_en": 0.75, "NER_zh": 0.8333, "overall": 0.7917}


def test_overall_is_over_data_sets_not_over_averages():
    f1 = {SetName(name, "NER", "en"): 1.0 for name in "abc"} | {SetName("a", "NER", "zh"): 0.0}
    assert averages(f1)["overall"] == 0.75


@pytest.mark.parametrize(
    ("f1", "means"),
    [
        ({}, {"overall": 0.0}),
        ({SetName("docs"): 0.5}, {"overall": 0.5}),
        ({SetName("CAIL2022", "NER", "zh"): 0.5}, {"NER_zh": 0.5, "overall": 0.5}),
    ],
)
def test_averages_of_few(f1, means):
    assert averages(f1) == means


def test_macro_pools_labels_and_leaves_out_those_without_support():
    scores = {
        SetName("one"): Scores({"a": Counts(1, 0, 0), "b": Counts(0, 0, 2), "z": Counts(0, 5, 0)}),
        SetName("two"): Scores({"a": Counts(0, 0, 2)}),
        SetName("math-junior"): Scores({"a": Counts(0, 9, 9)}),
    }
    assert macro(scores) == pytest.approx((0.5 + 0.0) / 2)
    assert macro({}) == 0.0


@given(st.lists(st.tuples(SPAN_SETS, SPAN_SETS), max_size=4))
def test_confusion_adds_up_to_gold_and_predicted(documents):
    scores = tallied(*documents)
    for label, counts in scores.labels.items():
        row = sum(n for (gold, _), n in scores.confusion.items() if gold == label)
        column = sum(n for (_, guess), n in scores.confusion.items() if guess == label)
        assert (row, column) == (counts.support, counts.tp + counts.fp)
        assert scores.confusion.get((label, label), 0) == counts.tp
    assert all(number > 0 for number in scores.confusion.values())


def test_confusion_pairs_labels_of_one_place():
    scores = tallied(([("a", 0, 3), ("b", 5, 9)], [("c", 0, 3), ("b", 5, 8)]))
    assert scores.confusion == {("a", "c"): 1, ("b", None): 1, (None, "b"): 1}
    assert scores.errors["wrong_label"] == scores.errors["wrong_boundary"] == 1


@given(st.lists(st.tuples(SPAN_SETS, SPAN_SETS), max_size=6))
def test_documents_are_counted_by_their_counts(documents):
    scores = tallied(*documents)
    assert sum(scores.documents.values()) == len(documents)
    summed = [sum(triple[at] * n for triple, n in scores.documents.items()) for at in range(3)]
    assert Counts(*summed) == scores.total


def test_strange_predictions_are_counted():
    tally = Tally()
    tally.add_spans(frozenset(), frozenset(), Unsupported((("a", "x"),), (("z", "y"), ("z", "w"))))
    errors = tally.scores().errors
    assert (errors["not_in_text"], errors["not_in_labels"]) == (1, 2)
