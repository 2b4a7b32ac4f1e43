"""What each layer of a model may see, for models whose layers differ in it.

Masks are boolean, True where a query may look at a key; eager attention alone adds its mask to the
scores. Models with one kind of layer take one mask; models that mix full and sliding layers take
one for each kind, by name.
"""

from __future__ import annotations

from typing import Any

import torch


def window(config: Any) -> int | None:
    """How many positions back a sliding layer sees, None for a model without such layers."""
    kinds = getattr(config, "layer_types", None)
    size = getattr(config, "sliding_window", None)
    if size is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    return int(size)


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
