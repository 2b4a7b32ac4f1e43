"""`b2ner data prune`: a part that covers the types with texts that differ."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.datasets import pruning
from b2ner_cli.models import loading
from tests.datasets.sets import put, row, run, texts


def test_prune_covers_types_with_texts_that_differ(tmp_path):
    same = [row(f"play the song {i} now", (f"{i}", "title")) for i in range(10)]
    apart = row("天气 forecast for Rome", ("Rome", "title"))
    rare = row("book a table", ("table", "seat"))
    put(tmp_path / "in", "NER_en/a", ["title", "seat"], train=[*same, apart, rare])
    run("prune", tmp_path / "in", "--per-type", 2, "--by", "words", "-o", tmp_path / "out")
    kept = texts(tmp_path / "out/NER_en/a", "train")
    assert len(kept) == 3
    assert {"天气 forecast for Rome", "book a table"} <= set(kept)
    again = run("prune", tmp_path / "in", "--per-type", 99, "--by", "words", "-o", tmp_path / "all")
    assert len(texts(tmp_path / "all/NER_en/a", "train")) == 12
    assert "12 of 12 documents kept" in again.err
    assert run("prune", tmp_path / "in", "--per-type", 1, "--by", "x", "-o", "y").code == 2


def test_prune_by_meaning_with_a_model(tmp_path, tiny_llama):
    rows = [row(f"Ann met Bob {i % 3}", ("Ann", "p")) for i in range(12)] + [row("Rome")]
    put(tmp_path / "in", "NER_en/a", ["p"], train=rows)
    done = run("prune", tmp_path / "in", "--per-type", 3, "-m", tiny_llama, "-o", tmp_path / "out")
    assert done.code == 0
    kept = texts(tmp_path / "out/NER_en/a", "train")
    assert sorted(kept) == ["Ann met Bob 0", "Ann met Bob 1", "Ann met Bob 2", "Rome"]


@pytest.mark.parametrize("batch_tokens", [1, 30, 4096])
def test_vectors_do_not_depend_on_batches(tiny_llama, batch_tokens):
    loaded = loading.load(str(tiny_llama), dtype="float32")
    told = ["Ann", "Ann Lee met Bob in Rome .", "", "x" * 40, "Bob works for Acme ."]
    found = pruning.by_meaning(loaded, batch_tokens)(told)
    alone = torch.cat([pruning.by_meaning(loaded)([text]) for text in told])
    assert torch.allclose(found, alone, atol=1e-5)


@given(
    st.lists(st.frozensets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_every_type_is_kept_as_often_as_asked_or_there(types, per_type):

    vectors = pruning.by_words([f"text {i}" for i in range(len(types))])
    kept = pruning.choose(types, vectors, per_type)
    assert kept == sorted(set(kept))
    for name in set().union(*types):
        there = sum(name in held for held in types)
        assert sum(name in types[row] for row in kept) >= min(per_type, there)
