"""Logits of some tokens alone, without those of the whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch


def logits_of(model: Any, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The logits of `tokens`, for a model whose head is a linear layer, with a soft cap or without.

    *Shapes:* hidden (rows, hidden); tokens (tokens,); the result (rows, tokens), float32
    """
    head = model.get_output_embeddings()
    bias = None if getattr(head, "bias", None) is None else head.bias[tokens]
    return capped(model, torch.nn.functional.linear(hidden, head.weight[tokens], bias)).float()


def capped(model: Any, logits: torch.Tensor) -> torch.Tensor:
    """Logits after the soft cap that some models put on them."""
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
