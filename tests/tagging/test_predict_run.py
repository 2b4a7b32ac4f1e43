"""Whole runs of `predict`: cut at any answer, a run that is resumed ends with the same bytes."""

import gc
import json

import pytest

from b2ner_cli.formats.predictions import FILE_NAME
from b2ner_cli.tagging import predict_run
from b2ner_cli.tagging.planning import Options
from b2ner_cli.tagging.predict_run import PredictJob
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger
from tests.scripted import ScriptedEngine


class Silent:
    dropped = 0

    def result(self, result):
        pass


def write_sets(root):
    for name in ("one", "two"):
        folder = root / "NER_en" / name
        folder.mkdir(parents=True)
        (folder / "labels.json").write_text('["person", "city"]')
        texts = [f"Person{n} met Person{n + 1} in City{n} , {name} ." for n in range(20)]
        rows = [{"sentence": text, "entities": []} for text in texts]
        (folder / "test.json").write_text(json.dumps(rows))


def predict(job, monkeypatch, on_answer=lambda count: None):
    def load(cls, settings, labels=None, *, options=Options(), cache=None):
        return cls(ScriptedEngine(drift=True, on_answer=on_answer), labels, options, cache)

    monkeypatch.setattr(Tagger, "load", classmethod(load))
    predict_run.predict(job, Silent())
    return (job.folder / FILE_NAME).read_bytes()


class Cut(Exception):
    pass


@pytest.mark.parametrize("answers", [3, 19, 22, 27, 39])
def test_a_resumed_run_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, monkeypatch, answers):
    write_sets(tmp_path / "data")
    job = PredictJob(tmp_path / "data", tmp_path / "whole", Settings(), cache=tmp_path / "a.sqlite")
    whole = predict(job, monkeypatch)
    assert whole.count(b"\n") == 40

    def cut(count):
        if count == answers:
            raise Cut

    parts = {"folder": tmp_path / "parts", "cache": tmp_path / "b.sqlite"}
    with pytest.raises(Cut):
        predict(predict_run.replace(job, **parts), monkeypatch, cut)
    assert predict(predict_run.replace(job, **parts, resume=True), monkeypatch) == whole


def test_a_run_leaves_the_garbage_collector_as_it_was(tmp_path, monkeypatch):
    write_sets(tmp_path / "data")
    before = gc.get_threshold(), gc.get_freeze_count()
    seen = []
    job = PredictJob(tmp_path / "data", tmp_path / "out", Settings(), cache=None)
    predict(job, monkeypatch, lambda count: seen.append(gc.get_freeze_count()))
    assert min(seen) > before[1], "a run spares what is loaded"
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    with pytest.raises(Cut):
        predict(predict_run.replace(job, folder=tmp_path / "cut"), monkeypatch, fail)
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def fail(count):
    raise Cut
