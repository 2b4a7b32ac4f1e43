"""Search by meaning: the states that labels are compared by, whatever stands beside them."""

import pytest
import torch

from b2ner_cli.labels.taxonomy import TaxonomyLabel, entries
from b2ner_cli.models import label_search, loading

LABELS = ("city", "a much longer label than the others", "person -> writer", "人名")
KNOWN = tuple(TaxonomyLabel(label, "en", "ours") for label in LABELS)


@pytest.fixture(scope="module")
def tiny(tiny_llama):
    return loading.load(str(tiny_llama), "none", device="cpu", dtype="float32")


def test_a_label_is_nearest_to_itself(tiny):
    for entry in KNOWN:
        (first, score), *others = label_search.search(entry.label, KNOWN, 4, tiny)
        assert first == entry
        assert score == pytest.approx(1, abs=1e-4)
        assert [s for _, s in others] == sorted((s for _, s in others), reverse=True)


def test_padding_and_batches_change_nothing(tiny, monkeypatch):
    together = label_search._states(LABELS, tiny)
    monkeypatch.setattr(label_search, "_ROWS", 1)
    alone = label_search._states(LABELS, tiny)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_names_that_languages_share_are_both_found(tiny):
    both = (*KNOWN, TaxonomyLabel("city", "nl", "ours"))
    found = label_search.search("city", both, 2, tiny)
    assert [entry.language for entry, _ in found] == ["en", "nl"]
    assert label_search.search("city", (), 2, tiny) == []


@pytest.mark.mini
def test_mini_knows_what_words_mean(monkeypatch):
    loaded = loading.load("mini", "none", device="cpu", dtype="float32")
    english = [entry for entry in entries() if entry.language == "en"]
    computed, known = label_search._states, {}

    def states(texts, backbone):
        """The states of labels are those of the query before."""
        new = [text for text in texts if text not in known]
        known.update(zip(new, computed(new, backbone), strict=True))
        return torch.stack([known[text] for text in texts])

    monkeypatch.setattr(label_search, "_states", states)
    for query, label in [
        ("illness", "disease"),
        ("feeling unwell", "disease"),
        ("medicine dose", "drug dosage"),
        ("phone", "phone number"),
    ]:
        assert label in [e.label for e, _ in label_search.search(query, english, 3, loaded)]
