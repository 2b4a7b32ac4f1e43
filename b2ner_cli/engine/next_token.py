"""The next token of each row: the most likely of all, or of those its answer's grammar allows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import torch

from b2ner_cli.engine.int8_head import Screen
from b2ner_cli.models.output_head import capped, logits_of

_BLOCK = 8192  # vocabulary entries
_FULL = 16  # rows: on a CPU a float32 product of 5 to 15 rows takes longer than one of 16


def best(
    model: Any, hidden: torch.Tensor, screen: Screen | None = None
) -> tuple[list[int], list[float]]:
    """The most likely token of the whole vocabulary for each row, and its log-probability.

    A screen of the head finds the same tokens. *Shape:* hidden (rows, hidden)
    """
    if screen is not None:
        found = screen.best(hidden, partial(capped, model))
        if found is not None:
            return found
    head = model.get_output_embeddings()
    if not _readable(head, hidden):
        logits = capped(model, head(hidden).to(hidden.device)).float()
        scores, tokens = logits.max(-1)
        return tokens.tolist(), (scores - logits.logsumexp(-1)).tolist()
    return _in_blocks(model, head, hidden)


def _readable(head: Any, hidden: torch.Tensor) -> bool:
    """Whether the head's weights are where they are needed, and its own; not moved by hooks."""
    return head.weight.device == hidden.device and not hasattr(head, "_hf_hook")


def _in_blocks(model: Any, head: Any, hidden: torch.Tensor) -> tuple[list[int], list[float]]:
    scores, tokens, totals = [], [], []
    rows = len(hidden)
    if hidden.device.type == "cpu" and 4 < rows < _FULL:
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, _FULL - rows))
    # On a CPU, in blocks whose logits stay in its cache; a card takes the vocabulary whole.
    size = _BLOCK if hidden.device.type == "cpu" else head.weight.shape[0]
    for start in range(0, head.weight.shape[0], size):
        bias = None if head.bias is None else head.bias[start : start + size]
        block = torch.nn.functional.linear(hidden, head.weight[start : start + size], bias)
        block = capped(model, block).float()
        most, where = block.max(-1)
        scores.append(most)
        tokens.append(where + start)
        totals.append(block.logsumexp(-1))
    score, block_of = torch.stack(scores).max(0)
    token = torch.stack(tokens).gather(0, block_of[None])[0]
    sure = score - torch.stack(totals).logsumexp(0)
    return token[:rows].tolist(), sure[:rows].tolist()


def best_allowed(
    model: Any, hidden: torch.Tensor, allowed: Sequence[Collection[int]]
) -> tuple[list[int], list[float]]:
    """The most likely of the tokens allowed to each row; probabilities are among those alone.

    The output head is evaluated on the tokens that are allowed to some row: on a large
    vocabulary that is a small part of it. *Shape:* hidden (rows, hidden)
    """
    columns: dict[int, int] = {}
    for tokens in allowed:
        for token in tokens:
            columns.setdefault(token, len(columns))
    forbidden = torch.full((len(allowed), len(columns)), -torch.inf)
    for row, tokens in enumerate(allowed):
        forbidden[row, [columns[token] for token in tokens]] = 0.0
    head = model.get_output_embeddings()
    chosen = torch.tensor(list(columns), device=hidden.device)
    if _readable(head, hidden):
        logits = logits_of(model, hidden, chosen)
    else:
        logits = capped(model, head(hidden).to(hidden.device)[:, chosen]).float()
    logits = logits + forbidden.to(hidden.device)
    scores, places = logits.max(-1)
    tokens_of = list(columns)
    said = [tokens_of[place] for place in places.tolist()]
    return said, (scores - logits.logsumexp(-1)).tolist()
