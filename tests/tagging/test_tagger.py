"""Tagging from Python: what is chosen when nothing is said, and why."""

import json
import logging

import pytest

from b2ner_cli import Tagger
from b2ner_cli.errors import UsageError
from b2ner_cli.tagging.loop import Options
from b2ner_cli.tagging.opening import choose_decoding, chunk_tokens
from b2ner_cli.tagging.settings import Settings


def adapter(folder, **said):
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def test_an_adapter_says_whether_its_answers_are_better_constrained(tmp_path):
    better = adapter(tmp_path / "a", constrain=True)
    assert choose_decoding(None, better).value == "constrained"
    assert "scores higher" in choose_decoding(None, better).reason
    assert choose_decoding(False, better) == ("free", "answers free: asked for")
    for other in (None, tmp_path, adapter(tmp_path / "b"), adapter(tmp_path / "c", constrain=1)):
        assert choose_decoding(None, other).value == "free"
        assert choose_decoding(True, other).value == "constrained"


def test_chunks_are_as_long_as_what_the_adapter_was_trained_on(tmp_path):
    assert chunk_tokens(adapter(tmp_path / "a", longest_document_tokens=159)).value == "159"
    for said in ({}, {"longest_document_tokens": "many"}, {"longest_document_tokens": 0}):
        assert chunk_tokens(adapter(tmp_path / "b", **said)).value == "1024"
    (tmp_path / "b" / "run.json").write_text("[]")
    assert chunk_tokens(tmp_path / "b").value == "1024"
    (tmp_path / "b" / "run.json").write_text("{")
    assert chunk_tokens(tmp_path / "b").value == "1024"
    assert chunk_tokens(None).value == "1024"


def test_chunks_that_were_asked_for_are_kept(tiny_llama):
    settings = Settings(str(tiny_llama), dtype="float32")
    assert Tagger.load(settings, ["person"]).options.chunk_tokens == 1024
    asked = Tagger.load(settings, ["person"], options=Options(chunk_tokens=64))
    assert asked.options.chunk_tokens == 64


def test_constrained_results_name_only_what_was_asked_and_what_is_there(tiny_llama, caplog):
    texts = ["Ann Lee met Bob in Rome .", "", "张三 slept"]
    with caplog.at_level(logging.INFO, "b2ner"):
        tagger = Tagger.load(
            Settings(str(tiny_llama), constrain=True, max_answer=40, dtype="float32"),
            ["person", "city"],
        )
    assert "answers constrained: asked for" in caplog.text
    results = list(tagger.tag(texts))
    assert [result.document.text for result in results] == texts
    assert any(result.entities for result in results)
    for result in results:
        assert not result.unlocated
        assert all("cut off" in problem for problem in result.problems)
        for entity in result.entities:
            assert entity.label in {"person", "city"}
            assert result.document.text[entity.start : entity.end] == entity.text


def test_what_cannot_be_is_said_before_a_model_is_loaded():
    with pytest.raises(UsageError, match="no engine"):
        Settings("no such model", engine="magic")
    with pytest.raises(UsageError, match="between 0 and 1"):
        Options(min_score=2)
    with pytest.raises(UsageError, match="chunks of 0 tokens"):
        Options(chunk_tokens=0)
