"""From the probabilities of an answer's tokens to that of a mention being right."""

import math

import pytest

from b2ner_cli.core.engine import Completion
from b2ner_cli.prompts.confidence import (
    FEATURES,
    Calibration,
    Place,
    features,
    likelihood,
)
from b2ner_cli.prompts.parsing import parse


def completion(*tokens):
    text, logprobs, ends = "", [], []
    for token, probability in tokens:
        text += token
        logprobs.append(math.log(probability))
        ends.append(len(text))
    return Completion(text, tuple(logprobs), tuple(ends))


SAID = completion(
    (" person", 0.5), (":", 0.9), (" Ann", 0.8), (";", 0.7),
    (" person", 0.6), (":", 0.9), (" Po", 0.4), (" Lee", 0.9),
)  # fmt: skip
FIRST, SECOND = Place(0, 8, 12, 1), Place(13, 21, 28, 1)


def odds(probability):
    return math.log(probability / (1 - probability))


def test_features_are_those_of_the_mention_and_its_answer():
    found = features(SAID, SECOND)
    assert found == pytest.approx(
        (odds(0.6), odds(0.4), odds(0.4), odds(0.6 * 0.9 * 0.4 * 0.9), odds(0.4), 1.0)
    )
    assert len(found) == len(FEATURES)
    assert features(SAID, FIRST)[:2] == pytest.approx((odds(0.5), odds(0.8)))


def test_certain_tokens_have_finite_odds():
    sure = Completion("person: A", (0.0, -1e-9, -math.inf), (6, 7, 9))
    assert all(map(math.isfinite, features(sure, Place(0, 7, 9))))


def test_no_probabilities_no_score():
    bare = Completion("person: A")
    weights = Calibration((0.0,) * len(FEATURES), 0.0)
    assert features(bare, Place(0, 7, 9)) is None
    assert weights(bare, Place(0, 7, 9)) is None and likelihood(bare, Place(0, 7, 9)) is None


def test_parse_scores_by_the_calibration_and_counts_the_label():
    weights = Calibration((0.0, 1.0, 0.0, 0.0, 0.0, -0.5), 0.25)
    mentions, problems = parse(SAID, ["person"], "Ann and Po Lee", weights)
    expected = [odds(0.8) - 0.5 + 0.25, odds(0.4) - 0.5 + 0.25]
    assert [odds(mention.score) for mention in mentions] == pytest.approx(expected)
    assert not problems
    alone, _ = parse(
        completion((" person", 0.5), (":", 0.9), (" Ann", 0.8)), ["person"], "Ann", weights
    )
    assert odds(alone[0].score) == pytest.approx(odds(0.8) + 0.25)


def test_weights_come_back_from_their_record():
    weights = Calibration((0.5, -0.25, 1.0, 0.0, 2.0, -1.0), 0.125)
    assert Calibration.of(weights.as_dict()) == weights


@pytest.mark.parametrize(
    "kept", [{}, {"constant": 1}, {**Calibration((0.0,) * 6, 0.0).as_dict(), "constant": "x"}]
)
def test_what_is_no_calibration_is_refused(kept):
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.of(kept)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="no number"):
        Calibration((math.nan, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0)
