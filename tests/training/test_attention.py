"""Attention by groups is attention under one large mask, with the same gradients."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from b2ner_cli.errors import ModelError
from b2ner_cli.models import attention
from b2ner_cli.training.attention import (
    Layout,
    Segment,
    _grouped_attention,
    is_possible,
    segments_of,
)

GROUPS = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=4)), min_size=1, max_size=4
)


def numbered(groups):
    """Numbers of segments and prefixes, a token each, of (prefix, documents) by their sizes."""
    numbers, prefixes, count = [], [], 0
    for prefix, documents in groups:
        shared = count
        for size in (prefix, *documents):
            numbers += [count] * size
            prefixes += [shared] * size
            count += 1
    return numbers, prefixes


def dense(states, seen, how):
    """Attention of all tokens under a mask, every head with keys of its own."""
    queries, keys, values = (each.transpose(0, 1) for each in states)
    copies = len(queries) // len(keys)
    keys, values = (each.repeat_interleave(copies, 0) for each in (keys, values))
    scores = queries @ keys.mT * how.scaling
    if how.softcap is not None:
        scores = torch.tanh(scores / how.softcap) * how.softcap
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return (weights @ values).transpose(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    groups=GROUPS,
    heads=st.sampled_from([(1, 1), (4, 1), (4, 2)]),
    values=st.sampled_from([8, 6]),  # some models' values are of another size than their keys
    window=st.sampled_from([None, 1, 3, 8, 50]),
    softcap=st.sampled_from([None, 2.0]),
    seed=st.integers(0, 99),
)
def test_groups_attend_as_under_a_mask(groups, heads, values, window, softcap, seed):
    numbers, prefixes = numbered(groups)
    layout = Layout(segments_of(numbers, prefixes))
    how = attention.How(0.3, window, softcap)
    generator = torch.Generator().manual_seed(seed)
    states = [
        torch.randn(len(numbers), count, size, generator=generator, dtype=torch.double)
        for count, size in ((heads[0], 8), (heads[1], 8), (heads[1], values))
    ]
    wanted = torch.randn(len(numbers), heads[0], values, generator=generator, dtype=torch.double)

    positions = []
    for prefix, documents in groups:
        positions += range(prefix)
        for size in documents:
            positions += range(prefix, prefix + size)
    back = torch.tensor(positions)[:, None] - torch.tensor(positions)
    seen = layout.visible()[0, 0]
    if window is not None:
        seen = seen & (back < window)

    results = []
    for run in (layout.attend, lambda given, how: dense(given, seen, how)):
        given_states = [each.clone().requires_grad_() for each in states]
        out = run(given_states, how)
        results.append((out, *torch.autograd.grad((out * wanted).sum(), given_states)))
    for ours, expected in zip(*results, strict=True):
        # with a cap, weights are computed in float32 as the models' own code does
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_segments():
    numbers, prefixes = numbered([(3, [2, 4]), (5, [1]), (2, [])])
    assert segments_of(numbers, prefixes, 7) == [
        Segment(3),
        Segment(2, 7),
        Segment(4, 7),
        Segment(6),  # a prefix and its only document see the same
        Segment(2),
    ]


def transposed(*given, **more):
    """Attention with its result in another order in memory, as some kernels for cards give it."""
    found = functional.scaled_dot_product_attention(*given, **more)
    return found.transpose(1, 2).contiguous().transpose(1, 2)


def test_results_may_lie_in_memory_in_any_order(monkeypatch):
    layout = Layout(segments_of(*numbered([(3, [2, 4]), (5, [1])])))
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(15, count, 8, generator=generator) for count in (4, 2, 2)]
    how = attention.How(0.3, None, None)
    expected = layout.attend(states, how)
    kernels = SimpleNamespace(scaled_dot_product_attention=transposed)
    monkeypatch.setattr(attention, "functional", kernels)
    torch.testing.assert_close(layout.attend(states, how), expected)


@pytest.mark.parametrize("more", [{"s_aux": torch.ones(1)}, {"mask": torch.ones(1, 1, 4, 4)}])
def test_layers_that_choose_what_is_seen_are_refused(more):
    states = [torch.zeros(1, 1, 4, 8)] * 3
    mask = more.pop("mask", torch.ones(1, 1, 1, 1))
    layout = Layout([Segment(4)])
    with pytest.raises(ModelError, match="decides for itself what each token sees"):
        _grouped_attention(torch.nn.Identity(), *states, mask, layout=layout, **more)


def test_models_with_more_to_attention_than_a_mask_get_one():
    def model(kinds=None, supports=True, sinks=False):
        made = torch.nn.Module()
        made.config = SimpleNamespace(layer_types=kinds)
        made._supports_attention_backend = supports
        if sinks:
            made.sinks = torch.nn.Parameter(torch.zeros(4))
        return made

    assert is_possible(model())
    assert is_possible(model(["full_attention", "sliding_attention"]))
    assert not is_possible(model(["full_attention", "linear_attention"]))
    assert not is_possible(model(supports=False))
    assert not is_possible(model(sinks=True))
