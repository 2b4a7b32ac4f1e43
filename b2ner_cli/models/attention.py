"""Attention of one layer, what each layer may see where they differ, and whose attention it is.

Masks are boolean, True where a query may look at a key; eager attention alone adds its mask to the
scores. Models with one kind of layer take one mask; models that mix full and sliding layers take
one for each kind, by name.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn
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

    Heads that share keys become further queries of theirs: nothing is copied for each head.

    *Shapes:* queries (rows, heads, queries, head); keys and values (rows, fewer heads, keys, head);
    seen broadcasts to (rows, 1, queries, keys); the result is that of the queries, in any order in
    memory
    """
    rows, heads, count, size = queries.shape
    groups = heads // keys.shape[1]
    grouped = queries.reshape(rows, heads // groups, groups * count, size)
    if groups > 1:
        seen = seen.repeat(1, 1, groups, 1)
    if how.softcap is None:
        found = functional.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=seen, scale=how.scaling
        )
    else:
        found = weights(grouped @ keys.mT, ~seen, how) @ values
    return found.reshape(rows, heads, count, values.shape[-1])


def weights(scores: torch.Tensor, masked: torch.Tensor, how: How) -> torch.Tensor:
    """Attention weights, computed in float32 as the models' own code does.

    *Shapes:* masked, true where a key is not seen, broadcasts to scores; the result is theirs
    """
    scores = scores * how.scaling
    if how.softcap is not None:
        scores = torch.tanh(scores / how.softcap) * how.softcap
    scores = scores.masked_fill(masked, -torch.inf)
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


def view(network: Any, implementation: str) -> Any:
    """The same modules and weights, with a configuration that names another attention.

    What is changed is the view's own: others may use the network itself at the same time.
    """
    config = network.config.get_text_config()
    own = copy.copy(config)
    own._attn_implementation = implementation
    return _view(network, config, own)


def _view(module: nn.Module, config: Any, own: Any) -> nn.Module:
    twin = copy.copy(module)  # which has the very parameters, buffers and hooks
    kept = vars(twin)
    kept["_modules"] = {
        name: child if child is None else _view(child, config, own)
        for name, child in module._modules.items()
    }
    if kept.get("config") is config:
        kept["config"] = own
    for name in ("forward", "_old_forward"):  # where accelerate moves a layer's tensors
        match kept.get(name):
            case functools.partial(func=wrapper, args=(first, *more)) if first is module:
                kept[name] = functools.partial(wrapper, twin, *more)
            case MethodType(__self__=first, __func__=function) if first is module:
                kept[name] = MethodType(function, twin)
    return twin


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
