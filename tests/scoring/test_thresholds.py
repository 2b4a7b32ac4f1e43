"""The least score of each label that gives the best F1, against the slow way to find it."""

import json
import random

import pytest

from b2ner_cli.errors import InputError
from b2ner_cli.formats.fields import Fields
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.scoring.counts import Counts
from b2ner_cli.scoring.scored_documents import ScoreJob
from b2ner_cli.scoring.thresholds import find_thresholds
from tests.scoring.predicted import answers, jsonl

TEXT = "a b c d e f g h i j"


def at(place, label, score=None):
    found = {"start": 2 * place, "end": 2 * place + 1, "label": label}
    return found if score is None else {**found, "score": score}


def files(tmp_path, gold, found):
    """Two files of one document for each list of (place, label) and (place, label, score)."""
    rows = [
        {"id": str(n), "text": TEXT, "entities": [at(*each) for each in entities]}
        for n, entities in enumerate(gold)
    ]
    said = [
        {"id": str(n), "text": TEXT, "entities": [at(*each) for each in entities]}
        for n, entities in enumerate(found)
    ]
    return jsonl(tmp_path / "found.jsonl", *said), jsonl(tmp_path / "gold.jsonl", *rows)


def find(tmp_path, gold, found, **job):
    path, annotated = files(tmp_path, gold, found)
    return find_thresholds(path, ScoreJob(gold=annotated, **job))


def slowly(gold, found, label, threshold):
    """Counts of a label at a threshold."""
    kept = {(n, p) for n, each in enumerate(found) for p, x, s in each
            if x == label and s >= threshold}  # fmt: skip
    wanted = {(n, p) for n, each in enumerate(gold) for p, x in each if x == label}
    return Counts(len(kept & wanted), len(kept - wanted), len(wanted - kept))


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_is_better_and_none_as_good_is_lower(tmp_path, seed):
    drawn = random.Random(seed)
    gold = [[(p, "x") for p in range(10) if drawn.random() < 0.5] for _ in range(12)]
    found = [
        [(p, "x", round(drawn.random() ** (0.5 if (p, "x") in gold[n] else 1.5), 2))
         for p in range(10) if drawn.random() < 0.7]
        for n in range(12)
    ]  # fmt: skip
    each = find(tmp_path, gold, found).labels["x"]
    assert each.with_it == slowly(gold, found, "x", each.value)
    assert each.without == slowly(gold, found, "x", 0)
    scores = sorted({score for said in found for *_, score in said})
    f1s = {score: slowly(gold, found, "x", score).f1 for score in (0.0, *scores)}
    assert each.with_it.f1 == max(f1s.values())
    lowest = min(score for score, f1 in f1s.items() if f1 == each.with_it.f1)
    assert each.value <= lowest
    assert all(each.value > score for score in scores if score < lowest)


def test_a_label_that_is_right_at_any_score_gets_none(tmp_path):
    gold = [[(p, "x") for p in range(10)]]
    found = [[(p, "x", p / 10) for p in range(10)]]
    thresholds = find(tmp_path, gold, found)
    assert thresholds.labels["x"].value == 0
    assert thresholds.min_scores == {}


@pytest.mark.parametrize(
    ("low", "high", "value"),
    [(0.7, 0.9, 0.71), (0.801, 0.809, 0.802), (0.8001, 0.8004, 0.8002), (0.8001, 0.8002, 0.80015)],
)
def test_a_threshold_has_few_digits_and_stands_clear_of_both_scores(tmp_path, low, high, value):
    gold = [[(p, "x") for p in range(5, 10)]]
    found = [[(p, "x", low if p < 5 else high) for p in range(10)]]
    thresholds = find(tmp_path, gold, found)
    assert thresholds.min_scores == {"x": value}
    assert thresholds.as_dict()["labels"]["x"]["kept"] == 5


def test_labels_with_little_evidence_are_left_out_and_count_in_the_total(tmp_path):
    gold = [[(p, "x") for p in range(5)], [(0, "rare")]]
    found = [[(p, "x", 0.9) for p in range(5)], [(1, "rare", 0.2), (2, "new", 0.3)]]
    thresholds = find(tmp_path, gold, found)
    assert list(thresholds.labels) == ["x"]
    assert thresholds.left_out == {"rare": Counts(0, 1, 1), "new": Counts(0, 1, 0)}
    assert thresholds.total.with_it == Counts(5, 2, 1)


def test_the_cross_validated_f1_is_of_thresholds_chosen_on_other_documents(tmp_path):
    """Two documents, each its own half: what is best for the one is worst for the other."""
    gold = [[(p, "x") for p in range(5)], [(p, "x") for p in range(5)]]
    found = [
        [(p, "x", 0.9 if p < 5 else 0.6) for p in range(10)],
        [(p, "x", 0.5 if p < 5 else 0.3) for p in range(10)],
    ]
    thresholds = find(tmp_path, gold, found)
    each = thresholds.labels["x"]
    # From 0.61 on nothing of the second is left; from 0.31 on all of the first, wrong ones too.
    assert each.cross_validated == Counts(5, 5, 5)
    assert each.value == 0.31
    assert each.with_it == Counts(10, 5, 0)
    assert thresholds.doubtful == ("x",)


def test_a_missing_document_is_a_miss_and_the_seed_draws_the_halves(tmp_path):
    gold = [[(p, "x") for p in range(10)]] * 4
    found = [[(p, "x", 0.5) for p in range(9)]] * 3
    assert find(tmp_path, gold, found).labels["x"].without == Counts(27, 0, 13)
    drawn = random.Random(5)
    gold = [[(p, "x") for p in range(10) if drawn.random() < 0.5] for _ in range(20)]
    found = [[(p, "x", round(drawn.random(), 4)) for p in range(10)] for _ in range(20)]
    crossed = {find(tmp_path, gold, found, seed=n).labels["x"].cross_validated for n in range(6)}
    assert len(crossed) > 1
    again = find(tmp_path, gold, found, seed=3).labels["x"]
    assert again == find(tmp_path, gold, found, seed=3).labels["x"]


def test_labels_that_a_map_makes_one_get_one_threshold_under_their_own_names(tmp_path):
    gold = [[(p, "PER") for p in range(5, 10)]]
    found = [[(p, "person" if p % 2 else "human", 0.5 if p < 5 else 0.9) for p in range(10)]]
    names = LabelMap({"PER": "person", "human": "person"})
    thresholds = find(tmp_path, gold, found, label_map=names)
    assert thresholds.min_scores == {"human": 0.51, "person": 0.51}
    assert thresholds.labels["person"].with_it == Counts(5, 0, 0)


def test_predictions_without_scores_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"found.jsonl:1: no score on 'a'"):
        find(tmp_path, [[(0, "x")]], [[(0, "x")]])
    with pytest.raises(InputError, match="is 97"):
        find(tmp_path, [[(0, "x")]], [[(0, "x", 97)]])
    said = answers(tmp_path / "predict_eval_predictions.jsonl", ("en", "one", "a", "x: a", "x: a"))
    with pytest.raises(InputError, match="no score"):
        find_thresholds(said, ScoreJob())


def test_gold_of_the_same_records(tmp_path):
    record = {"id": "1", "text": TEXT, "gold": [at(p, "x") for p in range(6)],
              "entities": [at(p, "x", 0.5) for p in range(6)]}  # fmt: skip
    path = jsonl(tmp_path / "both.jsonl", record)
    found = find_thresholds(path, ScoreJob(fields=Fields(gold="gold")))
    assert json.loads(json.dumps(found.as_dict()))["total"]["f1"] == 1.0
