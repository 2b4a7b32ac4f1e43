"""Attention of one layer, and what each layer of a model may see where they differ in it.

Masks are boolean, True where a query may look at a key; eager attention alone adds its mask to the
scores. Models with one kind of layer take one mask; models that mix full and sliding layers take
one for each kind, by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class How:
    """What a model tells a layer's attention; `window` is how many positions back it sees."""

    scaling: float
    window: int | None
    softcap: float | None


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    seen: torch.Tensor,
    how: How,
) -> torch.Tensor:
    """Attention where `seen`, which holds the layer's window already, is true.

    *Shapes:* queries (..., queries, head); keys and values (..., keys, head); seen broadcasts to
    (..., queries, keys)
    """
    if how.softcap is None:
        return functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=seen, scale=how.scaling
        )
    return weights(queries @ keys.mT, ~seen, how) @ values


def weights(scores: torch.Tensor, hidden: torch.Tensor, how: How) -> torch.Tensor:
    """Attention weights, computed in float32 as the models' own code does."""
    scores = scores * how.scaling
    if how.softcap is not None:
        scores = torch.tanh(scores / how.softcap) * how.softcap
    scores = scores.masked_fill(hidden, -torch.inf)
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


def window(config: Any) -> int | None:
    """How many positions back a sliding layer sees, None for a model without such layers."""
    kinds = getattr(config, "layer_types", None)
    size = getattr(config, "sliding_window", None)
    if size is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    return int(size)


def layer_window(config: Any, layer: int) -> int | None:
    """How many positions back that layer sees, None for all."""
    kinds = getattr(config, "layer_types", None)
    return window(config) if not kinds or kinds[layer] == "sliding_attention" else None


def masks(config: Any, visible: torch.Tensor, distance: torch.Tensor) -> Any:
    """What a transformers model takes as `attention_mask` when the caller knows all of it.

    *Shapes:* visible (rows or 1, 1, queries, keys); distance the same, the query's position
    minus the key's.
    """
    size = window(config)
    if size is None:
        return _as_taken(config, visible)
    near = _as_taken(config, visible & (distance < size))
    if not getattr(config, "layer_types", None):
        return near  # every layer slides
    return {"full_attention": _as_taken(config, visible), "sliding_attention": near}


def _as_taken(config: Any, visible: torch.Tensor) -> torch.Tensor:
    if config._attn_implementation != "eager":
        return visible
    # The least number, not infinity: a padded query that sees nothing must not become NaN.
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, lowest)
