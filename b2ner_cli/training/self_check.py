"""Whether the packed loss of a model is its own: tried once, on a few tokens, before training.

Not every architecture is a stack of layers under one mask with one matrix on top: logits may
be scaled, states may stand beside attention, layers may not hand on what attention is told,
and a window in a configuration may be one that no layer minds. Rather than list them, two
documents behind one prefix go through both ways. What differs is trained in a plainer way, and a
model for which none is right is refused: it would be trained on something else than its answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from b2ner_cli.errors import NOTICE, ModelError
from b2ner_cli.models import attention
from b2ner_cli.models.device_errors import is_device_failure, is_out_of_memory
from b2ner_cli.models.output_head import logits_of
from b2ner_cli.training.packing import AnswerLoss, PackedRow, collate

log = logging.getLogger("b2ner")

_PREFIX, _OWNS, _ANSWER = 9, (14, 6), 4  # tokens: the prefix, each document's own, answers of them
_WINDOW = 5  # of layers that slide, meanwhile: far less than these tokens
_NO_WINDOW = 2**30  # some configurations take no None
# Of the loss or of logits, and far above what rounds off: of weights in float32, and in 16 bits.
_TOLERANCE, _TOLERANCE_16 = 1e-4, 2e-2


def check(module: AnswerLoss) -> None:
    """Have a model trained in the fastest way that is right; raise ModelError where none is.

    A window that the configuration has and the layers ignore becomes one past all positions.
    """
    sampled, module.sampled_softmax = module.sampled_softmax, 0
    with torch.no_grad(), _evaluating(module):
        why = _trouble(module)
        if why and module.grouped:
            module.use_masks()
            packed, why = why, _trouble(module)
            if not why:
                log.log(NOTICE, "attention is the model's own, under one mask: %s", packed)
        if why:
            raise ModelError(
                f"this model cannot be trained on packed documents: {why}",
                "take a causal model of plain attention layers, such as Llama, Qwen or Gemma",
            )
        if sampled and not _head_is_linear(module):
            log.log(NOTICE, "the loss is over the whole vocabulary: logits are more than a product")
            sampled = 0
    module.sampled_softmax = sampled


def _trouble(module: AnswerLoss) -> str:
    """Why packed documents would not be trained right, "" where they are."""
    config = module.network.get_base_model().config
    if attention.window(config) is None:
        return _difference(module)
    # windows are longer than these few tokens; of a shorter one it shows whether it is minded
    with _set(config, "sliding_window", _WINDOW):
        why = _difference(module)
    if not why:
        return ""
    with _set(config, "sliding_window", _NO_WINDOW):
        if _difference(module):
            return why
    log.info("the layers of this model see all that is before them, whatever sliding_window says")
    config.sliding_window = _NO_WINDOW
    return ""


@contextmanager
def _set(config: Any, name: str, value: object) -> Iterator[None]:
    kept = getattr(config, name)
    setattr(config, name, value)
    try:
        yield
    finally:
        setattr(config, name, kept)


@contextmanager
def _evaluating(module: AnswerLoss) -> Iterator[None]:
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, training in modes.items():
            each.training = training


def _difference(module: AnswerLoss) -> str:
    """How packed loss and the model's own differ, "" where they do not."""
    try:
        packed, alone = _losses(module)
    except Exception as error:
        if is_out_of_memory(error) or is_device_failure(error):
            raise
        return f"{type(error).__name__}: {error}"  # whatever its code raises at this use of it
    if abs(packed - alone) <= _tolerance(module) * abs(alone):  # NaN is not
        return ""
    return f"their loss would be {packed:.4g}, of each alone it is {alone:.4g}"


def _losses(module: AnswerLoss) -> tuple[float, float]:
    """The mean loss of the answers to two documents: packed, and by the model as it comes."""
    prefix, *owns = _texts(module)
    row = PackedRow()
    shared = row.append(prefix, 0, None)
    for own in owns:
        row.append(own[:-1], len(prefix), shared)
        row.sources.extend(range(len(row.ids) - _ANSWER, len(row.ids)))
        row.targets.extend(own[-_ANSWER:])
    causal = module.network.get_base_model()
    device = causal.get_output_embeddings().weight.device
    packed = module(collate([row], device), 0)
    alone = torch.zeros((), device=device)
    with _set(causal.config, "_attn_implementation", module.stock_attention):
        for own in owns:
            prompt = torch.tensor([[*prefix, *own]], device=device)
            logits = causal(input_ids=prompt, use_cache=False).logits[0].float()
            said = logits[-_ANSWER - 1 : -1]
            alone += functional.cross_entropy(said, prompt[0, -_ANSWER:], reduction="sum")
    return packed.item(), alone.item() / len(row.targets)


def _head_is_linear(module: AnswerLoss) -> bool:
    """Whether logits of some tokens can be computed without those of all."""
    causal = module.network.get_base_model()
    weight = causal.get_output_embeddings().weight
    prompt = torch.tensor([_texts(module)[1]], device=weight.device)
    with _set(causal.config, "_attn_implementation", module.stock_attention):
        body = getattr(causal, causal.base_model_prefix)
        states = body(input_ids=prompt, use_cache=False).last_hidden_state[0]
        expected = causal(input_ids=prompt, use_cache=False).logits[0].float()
    some = torch.arange(0, len(weight), max(1, len(weight) // 1000), device=weight.device)
    found, expected = logits_of(causal, states, some), expected[:, some]
    return bool((found - expected).norm() <= _tolerance(module) * expected.norm())


def _tolerance(module: AnswerLoss) -> float:
    weight = module.network.get_base_model().get_output_embeddings().weight
    return _TOLERANCE if weight.dtype == torch.float32 else _TOLERANCE_16


def _texts(module: AnswerLoss) -> list[list[int]]:
    """Tokens of the prefix, and of each document with its answer."""
    vocabulary = len(module.network.get_base_model().get_output_embeddings().weight)
    size = min(vocabulary, 1000)
    ids = iter([(37 * place + 11) % size for place in range(_PREFIX + sum(_OWNS))])
    return [[next(ids) for _ in range(length)] for length in (_PREFIX, *_OWNS)]
