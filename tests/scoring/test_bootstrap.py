import random

import pytest

from b2ner_cli.scoring.bootstrap import intervals
from b2ner_cli.scoring.counts import SetName, Tally

ONE, TWO = SetName("one", "NER", "en"), SetName("two", "NER", "en")


def tallied(documents):
    tally = Tally()
    for gold, predicted in documents:
        tally.add_pieces(frozenset(gold), frozenset(predicted))
    return tally.scores()


def documents(number, seed):
    """Documents of up to three mentions, of which three in four are found."""
    rng = random.Random(seed)
    for _ in range(number):
        gold = {("a", str(at)) for at in range(rng.randint(0, 3))}
        yield gold, {item for item in gold if rng.random() < 0.75}


def f1(triples):
    tp, fp, fn = (sum(triple[at] for triple in triples) for at in range(3))
    return 2 * tp / max(2 * tp + fp + fn, 1)


def test_the_interval_is_that_of_drawing_documents_one_by_one():
    scores = tallied(documents(200, 1))
    triples = [triple for triple, number in scores.documents.items() for _ in range(number)]
    rng = random.Random(0)
    drawn = sorted(f1(rng.choices(triples, k=len(triples))) for _ in range(2000))
    found = intervals({ONE: scores}, 2000).data_sets[ONE]
    assert found == pytest.approx((drawn[50], drawn[1950]), abs=0.006)
    assert found[0] < scores.total.f1 < found[1]


def test_the_same_seed_draws_the_same_documents():
    scores = {ONE: tallied(documents(50, 1)), TWO: tallied(documents(50, 2))}
    assert intervals(scores, 100, 3) == intervals(scores, 100, 3)
    assert intervals(scores, 100, 3).data_sets != intervals(scores, 100, 4).data_sets


def test_more_documents_and_more_sets_make_narrower_intervals():
    few, many = tallied(documents(50, 1)), tallied(documents(5000, 1))
    found = intervals({ONE: few, TWO: many}, 500)

    def width(ends):
        return ends[1] - ends[0]

    assert width(found.data_sets[TWO]) < width(found.data_sets[ONE]) / 5
    assert width(found.averages["overall"]) < width(found.data_sets[ONE])
    assert set(found.averages) == {"NER_en", "overall"}


def test_scores_that_cannot_move_have_no_width():
    perfect, empty = tallied([({("a", "x")}, {("a", "x")})] * 3), tallied([(set(), set())])
    found = intervals({ONE: perfect, TWO: empty}, 20)
    assert (found.data_sets[ONE], found.data_sets[TWO]) == ((1.0, 1.0), (0.0, 0.0))
    assert found.as_dict()["averages"]["overall"] == [0.5, 0.5]
