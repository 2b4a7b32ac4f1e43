"""The output head's screen: the tokens of the head itself, and hardly another probability."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli.engine import PackedEngine, int8_head
from b2ner_cli.engine.int8_head import read_in_bytes
from b2ner_cli.models import loading
from tests.engine.test_engines import answers, prompts, same

pytestmark = pytest.mark.skipif(
    not int8_head._is_exact(), reason="this processor's products of bytes are not exact"
)

VOCABULARY = 3000


def as_it_is(logits):
    return logits


def softly(logits):
    return torch.tanh(logits / 5.0) * 5.0


def agree(weight, hidden, capped=as_it_is, off=0.05):
    """The screen's tokens have the head's best logit, up to rounding, and its probability."""
    found = read_in_bytes(weight).best(hidden, capped)
    if found is None:  # a cap made too many of them equal
        assert capped is softly
        return
    tokens, sure = found
    logits = capped(torch.nn.functional.linear(hidden, weight))
    chosen = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]
    torch.testing.assert_close(chosen, logits.amax(1), rtol=1e-5, atol=1e-5)
    real = logits.log_softmax(1).amax(1)
    torch.testing.assert_close(torch.tensor(sure), real, rtol=0, atol=off)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, int8_head.MOST_ROWS),
    size=st.sampled_from([8, 64, 640]),
    spread=st.floats(0.1, 20.0),
    loud=st.integers(0, 3),
    soft=st.booleans(),
)
def test_tokens_are_those_of_the_head(seed, rows, size, spread, loud, soft):
    make = torch.Generator().manual_seed(seed)
    weight = torch.randn(VOCABULARY, size, generator=make) / size**0.5
    hidden = torch.randn(rows, size, generator=make) * spread
    for unit in torch.randint(size, (loud,), generator=make).tolist():
        weight[:, unit] *= 30  # some units are far louder than others in real models
        hidden[:, unit] /= 30
    # What is clearly best is found among few; what is not is left to the head, and that is fine.
    best = torch.randint(VOCABULARY, (rows,), generator=make)
    weight[best] = 3 * hidden / hidden.norm(dim=1, keepdim=True)
    agree(weight, hidden, softly if soft else as_it_is)


def test_the_second_best_by_a_hair_is_not_taken():
    make = torch.Generator().manual_seed(3)
    weight = torch.randn(VOCABULARY, 64, generator=make) / 8
    hidden = torch.randn(1, 64, generator=make)
    weight[100:160] = alike = 3 * hidden / hidden.norm()
    for best in range(100, 160, 7):
        weight[best] = alike * 1.0001  # far below what 8 bits tell apart
        tokens, _ = read_in_bytes(weight).best(hidden, as_it_is)
        assert tokens == [best]
        weight[best] = alike


@pytest.mark.parametrize("value", [0.0, 1e-20, float("nan"), float("inf")])
def test_where_all_are_alike_the_head_is_asked(value):
    hidden = torch.full((2, 64), value)
    weight = torch.ones(VOCABULARY, 64)
    assert read_in_bytes(weight).best(hidden, as_it_is) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_row_of_no_numbers_has_the_head_asked_for_all(value):
    make = torch.Generator().manual_seed(5)
    hidden = torch.randn(3, 64, generator=make)
    screen = read_in_bytes(torch.randn(VOCABULARY, 64, generator=make))
    assert screen.best(hidden, as_it_is) is not None
    hidden[1, 7] = value
    assert screen.best(hidden, as_it_is) is None


def test_a_head_of_zeros():
    assert read_in_bytes(torch.zeros(VOCABULARY, 64)).best(torch.ones(1, 64), as_it_is) is None


@pytest.mark.parametrize("size", [1, 8, 640, 1024, 1040, 4096, 16384])
def test_sums_fit_into_32_bits(size):
    half = int8_head._half(size)
    assert half >= 2 or size > 8192
    assert 127 * size * (127 * half + half / 2) < 2**31


def test_small_heads_cards_and_half_precision_have_none():
    small, large = torch.nn.Linear(64, 100, bias=False), torch.nn.Linear(4, 1 << 23, bias=False)
    assert not int8_head.is_worth_it(small, "cpu")
    assert not int8_head.is_worth_it(large, "cuda")
    assert not int8_head.is_worth_it(large.bfloat16(), "cpu")
    assert not int8_head.is_worth_it(torch.nn.Linear(4, 1 << 23), "cpu")


def test_processors_that_cut_sums_at_16_bits_have_none(monkeypatch):
    def cut(one, other):
        """What maddubs does: the first factor unsigned, sums of two products at most 2**15 - 1."""
        pairs = ((one.long() + 128)[:, :, None] * other.long()).unflatten(1, (-1, 2)).sum(2)
        return (pairs.clamp(-(1 << 15), (1 << 15) - 1).sum(1) - 128 * other.long().sum(0)).int()

    large = torch.nn.Linear(4, 1 << 23, bias=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert int8_head.is_worth_it(large, "cpu")
    int8_head._is_exact.cache_clear()
    monkeypatch.setattr(torch, "_int_mm", cut)
    try:
        assert not int8_head.is_worth_it(large, "cpu")
    finally:
        int8_head._is_exact.cache_clear()


@pytest.mark.parametrize("rows", [1, 8])
def test_answers_are_the_same_with_a_screen(tiny_gemma, monkeypatch, rows):
    """Of a model too small to have one by itself; a screen that were never asked would fail."""
    loaded = loading.load(str(tiny_gemma), device="cpu", dtype="float32")
    asked, bare = prompts(), PackedEngine(loaded, max_answer=24)
    assert not any("screened" in note for note in bare.notes)
    monkeypatch.setattr(int8_head, "_LEAST", 0)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    found = []
    ask = int8_head.Screen.best

    def counted(self, hidden, capped):
        found.append(ask(self, hidden, capped))
        return found[-1]

    monkeypatch.setattr(int8_head.Screen, "best", counted)
    engine = PackedEngine(loaded, max_answer=24)
    assert any("screened" in note for note in engine.notes)
    engine.limits = replace(engine.limits, sequences=rows)
    same(answers(engine, asked), answers(bare, asked), off=0.01)
    assert any(each is not None for each in found)
