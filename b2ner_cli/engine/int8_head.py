"""A large output head read in 8 bits: which tokens can be the most likely, at a quarter the bytes.

    screen    logits of 8-bit weights and 16-bit hidden states, all products exact in integers
    bound     how far such a logit can be from the real one: |hidden| x |what rounding took|
    answer    real logits of the tokens whose bound reaches the best one's, most often one token

So the token is exactly the one that the real head puts first. Its log-probability takes the other
tokens' share from the screen, which is off by some 0.0005, 0.01 at most. A CPU step of few rows
mostly waits for the head's weights; with many rows it computes, and the screen saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

_BLOCK = 1 << 17  # logits at once, so that they stay in the CPU's cache
_CODED = 8192  # vocabulary entries rounded at once
_LEAST = 1 << 25  # weights of a head that is worth it
MOST_ROWS = 24  # with more a step computes, and no longer waits for memory
_MOST_LEFT = 1 / 8  # of the vocabulary, after which the real head is no slower
_SLACK = 1.001  # of the bound, for rounding in float32

Cap = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """A head's weights in 8 bits. V vocabulary entries, H hidden units.

    `codes` (H, V) times `scales` (V,) are the weights, of which each unit was multiplied by
    `units` (H,) first, for all units to matter alike; `lost` (V,) is the norm of what rounding
    took, and no entry's weights are longer than `max_norm`.
    """

    weight: torch.Tensor
    codes: torch.Tensor
    scales: torch.Tensor
    lost: torch.Tensor
    units: torch.Tensor
    max_norm: float

    def best(self, hidden: torch.Tensor, capped: Cap) -> tuple[list[int], list[float]] | None:
        """Most likely token of each row, and its log-probability; None where too many are left.

        `capped` is what the model does to logits. *Shape:* hidden (rows, H)
        """
        states = hidden / self.units
        half = _half(len(self.units))
        bytes_, steps, missed = _in_bytes(states, half)
        # A logit is off by no more than `reach` times what its entry lost, and `missed`.
        reach = states.norm(dim=1, keepdim=True) * _SLACK
        missed *= self.max_norm * _SLACK
        rows, entries = len(hidden), len(self.scales)
        least = hidden.new_full((rows, 1), -torch.inf)
        parts = [slice(at, at + _BLOCK // rows) for at in range(0, entries, _BLOCK // rows)]
        blocks, tops, totals = [], [], []
        for part in parts:
            both = torch._int_mm(bytes_, self.codes[:, part])
            block = torch.add(both[rows:], both[:rows], alpha=half) * self.scales[part]
            top, where = block.mul_(steps).max(1, keepdim=True)
            least = torch.maximum(least, top - reach * self.lost[part][where] - missed)
            blocks.append(block)
            tops.append(top)
            totals.append(capped(block).logsumexp(1))
        if not least.isfinite().all():
            return None  # hidden states that are no numbers
        left, guesses = [], []
        least = capped(least)  # where a cap makes equals of several, all of them are left
        for part, block, top in zip(parts, blocks, tops, strict=True):
            lost = self.lost[part]
            if (capped(top + reach * lost.max() + missed) >= least).any():
                at_most = capped(block + reach * lost + missed)
                near = (at_most >= least).any(0).nonzero()[:, 0]
                left.append(near + part.start)
                guesses.append(block[:, near])
        if not left or sum(map(len, left)) > _MOST_LEFT * entries:
            return None
        tokens = torch.cat(left)
        real = capped(torch.nn.functional.linear(hidden, self.weight[tokens]))
        score, place = real.max(1)
        others = (torch.stack(totals).logsumexp(0) - score).exp()
        others -= (capped(torch.cat(guesses, 1)) - score[:, None]).exp().sum(1)
        total = others.clamp(min=0) + (real - score[:, None]).exp().sum(1)
        return tokens[place].tolist(), (-total.log()).tolist()


def _half(size: int) -> int:
    """How many low steps make a high one: as many as 32 bits hold in a sum over H units."""
    return 1 << min(7, ((1 << 31) // (128 * 128 * size)).bit_length() - 1)


def _in_bytes(states: torch.Tensor, half: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states in two bytes each, all high ones above all low ones.

    Then what a low step is worth, and the norm of what rounding missed, each *of shape* (rows, 1).
    """
    steps = states.abs().amax(1, keepdim=True).clamp(min=1e-30) / (127 * half)
    whole = torch.round(states / steps)
    missed = (states - whole * steps).norm(dim=1, keepdim=True)
    high = torch.round(whole / half)
    return torch.cat([high, whole - high * half]).to(torch.int8), steps, missed


def is_worth_it(head: Any, device: str) -> bool:
    """Whether a screen is faster than the head itself, on this processor and with few rows."""
    return (
        device == "cpu"
        and isinstance(head, torch.nn.Linear)
        and head.bias is None
        and head.weight.device.type == "cpu"
        and head.weight.dtype == torch.float32
        and head.weight.numel() >= _LEAST
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
        and _is_exact()
    )


@cache
def _is_exact() -> bool:
    """Whether products of bytes are: without VNNI some processors cut sums of two at 16 bits."""
    signs = torch.tensor([1, 1, -1, -1] * 64)
    one, other = (127 * signs).repeat(32, 1), 127 * torch.stack([signs.abs()] * 32 + [signs] * 32)
    found = torch._int_mm(one.to(torch.int8), other.to(torch.int8).t())
    return bool(torch.equal(found.long(), one @ other.t()))


def read_in_bytes(weight: torch.Tensor) -> Screen:
    """The screen of a head's weights. *Shape:* weight (V, H)"""
    entries, size = weight.shape
    codes = torch.empty((entries, size), dtype=torch.int8)
    scales, lost = torch.empty(entries), torch.empty(entries)
    squares = sum(weight[at : at + _CODED].square().sum(0) for at in range(0, entries, _CODED))
    units = (squares / entries).sqrt().clamp(min=1e-12).rsqrt()
    max_norm = 0.0
    for start in range(0, entries, _CODED):
        part = slice(start, start + _CODED)
        block = weight[part] * units
        scales[part] = block.abs().amax(1).clamp(min=1e-30) / 127
        whole = torch.round(block / scales[part, None])
        lost[part] = (block - whole * scales[part, None]).norm(dim=1)
        codes[part] = whole.to(torch.int8)
        max_norm = max(max_norm, block.norm(dim=1).max().item() + lost[part].max().item())
    return Screen(weight, codes.t(), scales, lost, units, max_norm)
