"""Whether the packed engine computes what a model computes: tried once, on a few tokens.

Not every architecture leaves its attention to whom it is told: some have sinks, chunks, biases
by distance or states of another kind. Rather than list them, a few tokens go through both ways;
a model for which they differ is answered by `generate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from b2ner_cli.engine import next_token
from b2ner_cli.engine.kv_cache import KVCache, PackedStep, Prefix
from b2ner_cli.models import attention

if TYPE_CHECKING:
    from b2ner_cli.engine.packed import PackedEngine

_PREFIX, _OWNS = 7, (19, 4)  # tokens: of the shared prefix, and of two rows behind it
_TOLERANCE = {"float32": 1e-3}  # of the norm of a hidden state; rounding is far below it
_ROUGH = 0.08  # in fewer bits
_NEAR = 3.0  # a log-probability may be off by so many times the tolerance


def trouble(engine: PackedEngine) -> str:
    """Why a model cannot be answered by the packed engine, "" where it can.

    Raises whatever its layers do.
    """
    with torch.inference_mode():
        return _compare(engine)


def _compare(engine: PackedEngine) -> str:
    """Two rows behind one prefix: their own tokens first, then one more token each."""
    backbone = engine.backbone
    config = backbone.model.config.get_text_config()
    size = min(int(config.vocab_size), 1000)
    ids = [(37 * place + 11) % size for place in range(_PREFIX + sum(_OWNS) + 2)]
    shared, rest = ids[:_PREFIX], ids[_PREFIX:]
    owns = [rest[: _OWNS[0]], rest[_OWNS[0] : sum(_OWNS)]]
    more = rest[-2:]
    prefix: Prefix = engine.compute_prefix(shared)
    cache = KVCache()
    cache.resize(len(owns), max(_OWNS) + 1, 0, prefix)
    prefixes = [prefix] * len(owns)
    first = PackedStep(cache, prefixes, [0, 0], list(_OWNS))
    found = [engine.forward(owns[0] + owns[1], first)[first.last]]
    second = PackedStep(cache, prefixes, list(_OWNS), [1, 1])
    found.append(engine.forward(more, second))
    if known := _known_trouble(engine, second):
        return known
    limit = _TOLERANCE.get(backbone.dtype, _ROUGH)
    for row, own in enumerate(owns):
        prompt = torch.tensor([[*shared, *own, more[row]]], device=backbone.device)
        body = backbone.model.base_model
        whole = body(input_ids=prompt, use_cache=False).last_hidden_state[0].to(backbone.device)
        logits = backbone.model(input_ids=prompt, use_cache=False).logits[0, -1].float()
        tokens, logprobs = next_token.best(backbone.model, whole[-1:])
        expected = logits.log_softmax(-1)[tokens[0]].item()
        if not abs(expected - logprobs[0]) < _NEAR * limit or tokens[0] != int(logits.argmax()):
            return "its output head is more than one matrix"
        for step, place in enumerate((-2, -1)):
            expected = whole[place].float()
            distance = (found[step][row].float() - expected).norm() / expected.norm()
            if not distance < limit:  # NaN is not
                return f"its attention is not what packed tokens get (off by {distance:.2g})"
    return ""


def _known_trouble(engine: PackedEngine, step: PackedStep) -> str:
    """What a few tokens do not show: frequencies that change with length, long windows."""
    config = engine.backbone.model.config.get_text_config()
    rotary = getattr(config, "rope_parameters", None) or {}
    if "longrope" in str(rotary):
        return "its rotary embeddings change with the longest prompt of a step"
    kinds = getattr(config, "layer_types", None)
    if kinds and set(kinds) - {"full_attention", "sliding_attention"}:
        return f"it has layers of another kind ({', '.join(sorted(set(kinds)))})"
    window = attention.window(config)
    if window is None:
        return ""
    # Windows are longer than these few tokens: each must at least have been announced.
    expected = kinds.count("sliding_attention") if kinds else config.num_hidden_layers
    told = [size for size in step.windows.values() if size is not None]
    if len(told) != expected or set(told) != {window}:
        return "its layers do not say how far back they see"
    return ""
