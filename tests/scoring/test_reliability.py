"""Whether scores mean what they say."""

import random

import pytest

from b2ner_cli.scoring.reliability import Bin, auroc, bins, calibration_error


def test_bins_hold_scores_from_low_to_below_high_and_the_last_one_too():
    found = bins([(0.0, False), (0.05, True), (0.1, True), (1.0, True), (0.95, False)])
    assert found == [
        Bin(0.0, 0.1, 2, pytest.approx(0.025), 0.5),
        Bin(0.1, 0.2, 1, 0.1, 1.0),
        Bin(0.9, 1.0, 2, pytest.approx(0.975), 0.5),
    ]


def test_error_is_the_mean_distance_by_bin():
    pairs = [(0.9, True)] * 9 + [(0.9, False)]
    assert calibration_error(pairs) == pytest.approx(0)
    assert calibration_error([(0.9, False)] * 10) == pytest.approx(0.9)
    assert calibration_error([*pairs, *[(0.2, True)] * 10]) == pytest.approx(0.4)
    assert calibration_error([]) == 0


def test_rank_is_that_of_all_pairs_compared():
    rng = random.Random(4)
    pairs = [(rng.randrange(8) / 8, rng.random() < 0.4) for _ in range(60)]
    right = [score for score, good in pairs if good]
    wrong = [score for score, good in pairs if not good]
    won = sum((r > w) + (r == w) / 2 for r in right for w in wrong)
    assert auroc(pairs) == pytest.approx(won / (len(right) * len(wrong)))


def test_nothing_to_rank():
    assert auroc([(0.5, True)]) is None and auroc([]) is None
