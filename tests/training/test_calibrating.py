"""An adapter's scores are fitted to how often it is right."""

import json
import math
import random

import pytest

from b2ner_cli.core.engine import Completion
from b2ner_cli.errors import DataError, ModelError
from b2ner_cli.models import info
from b2ner_cli.prompts.confidence import FEATURES, Calibration
from b2ner_cli.scoring.reliability import auroc, calibration_error
from b2ner_cli.tagging import opening
from b2ner_cli.tagging.planning import Options
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training import calibrating
from b2ner_cli.training.calibrating import Judged
from tests.tiny import tiny_adapter
from tests.training.test_groups import row, write

TRUE = Calibration((0.8, 0.5, 0.3, 0.0, 0.0, -0.6), -1.0)


def drawn(number, seed):
    """Mentions whose odds of being right are known."""
    rng = random.Random(seed)
    for _ in range(number):
        found = (*(rng.gauss(1, 2) for _ in FEATURES[:-1]), float(rng.randrange(4)))
        sure = TRUE.probability(found)
        yield Judged(found, 0.9, rng.random() < sure)


def test_fitting_finds_the_odds_that_the_truth_was_drawn_by():
    fitted = calibrating.fit([list(drawn(6000, 1)), list(drawn(6000, 2))])
    expected = (*TRUE.weights, TRUE.constant)
    assert (*fitted.weights, fitted.constant) == pytest.approx(expected, abs=0.08)
    fresh = list(drawn(5000, 3))
    told = [(fitted.probability(each.features), each.right) for each in fresh]
    assert calibration_error(told) < 0.02
    assert auroc(told) > 0.75


def test_sets_weigh_the_same_whatever_their_size():
    """A large set that is always right does not drown a small one that never is."""
    blank = (0.0,) * len(FEATURES)
    large, small = [Judged(blank, 0.9, True)] * 3000, [Judged(blank, 0.9, False)] * 100
    fitted = calibrating.fit([large, small])
    assert fitted.probability(blank) == pytest.approx(0.5, abs=0.01)


def test_too_little_is_refused():
    with pytest.raises(DataError, match="too few"):
        calibrating.fit([[each for each in drawn(200, 1) if each.right]])


@pytest.fixture
def adapter(tiny_llama, tmp_path):
    folder = tmp_path / "adapter"
    tiny_adapter(folder, tiny_llama)
    (folder / "run.json").write_text(json.dumps({"longest_document_tokens": 30}))
    return folder


def test_written_scores_are_those_of_tagging(tiny_llama, adapter):
    before = opening.calibration(adapter, "free")
    assert before.value is None and "not calibrated" in before.reason
    calibrating.write(adapter, {"free": TRUE}, {"documents": 3})
    record = json.loads((adapter / "run.json").read_text())
    assert record["longest_document_tokens"] == 30
    assert record["calibration"]["fitted_on"] == {"documents": 3}
    assert opening.calibration(adapter, "free").value == TRUE
    assert opening.calibration(adapter, "constrained").value is None
    assert opening.calibration(adapter, "free", "RE").value is None
    settings = Settings(str(tiny_llama), str(adapter), device="cpu")
    assert Tagger.load(settings, ["person"]).options.calibration == TRUE
    own = Calibration((0.0,) * len(FEATURES), 0.0)
    given = Tagger.load(settings, ["person"], options=Options(calibration=own))
    assert given.options.calibration == own
    found = info.describe(str(tiny_llama), str(adapter))
    assert found.adapter.calibrated == ("free",)
    assert ("scores", "calibrated, for answers that are free") in info.rows(found)


def test_damaged_calibration_is_named(adapter):
    calibrating.write(adapter, {"free": TRUE}, {})
    record = json.loads((adapter / "run.json").read_text())
    del record["calibration"]["free"]["constant"]
    (adapter / "run.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"run\.json: no calibration"):
        opening.calibration(adapter, "free")


def test_no_run_json_no_calibration(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        calibrating.write(tmp_path, {"free": TRUE}, {})


class Engine:
    """Answers from a table, sure of every token."""

    identity, context, max_answer, batch_tokens = "scripted", 1000, 50, 100

    def count(self, text):
        return len(text.split())

    def generate(self, prompts, answered=()):
        for index in range(len(prompts)):
            text = " person: Ann; person: Bob"
            ends = (7, 8, 12, 13, 20, 21, 25)
            logprobs = (-0.1, -0.1, -0.5, -0.1, -0.2, -0.1, -2.0 - index)
            yield index, Completion(text, logprobs, ends)


def test_mentions_are_judged_by_the_documents_gold(tmp_path):
    rows = [row("Ann met Bob", ("person", "Ann")), row("Bob left Ann", ("person", "Bob"))]
    write(tmp_path, "NER_en/one", train=rows, labels=["person"])
    (dataset,) = calibrating.choose(tmp_path)
    tagger = Tagger(Engine(), None, Options(chunk_tokens=50))
    found = list(calibrating.judged(tagger, dataset, "train", 10))
    assert sorted(each.right for each in found) == [False, False, True, True]
    assert all(each.features[-1] == 1.0 for each in found)
    assert all(0 < each.likelihood < 1 and all(map(math.isfinite, each.features)) for each in found)
    assert len(list(calibrating.judged(tagger, dataset, "train", 1))) == 2


def test_unknown_sets_are_named(tmp_path):
    write(tmp_path, "NER_en/one", train=[row("Ann", ("person", "Ann"))], labels=["person"])
    with pytest.raises(DataError, match="no data set NER_en_two"):
        calibrating.choose(tmp_path, ["NER_en_two"])
