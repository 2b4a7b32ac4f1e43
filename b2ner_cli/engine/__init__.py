"""Engines answer prompts: the fast one, and transformers' own `generate` it is checked against.

Both are greedy, take prompts in any order and give (index, completion) in the order that suits
them. They know tokens and tensors, nothing of documents.
"""

from __future__ import annotations

import logging

from b2ner_cli.backbone import Backbone
from b2ner_cli.engine import probe
from b2ner_cli.engine.packed import PackedEngine
from b2ner_cli.engine.plain import PlainEngine

log = logging.getLogger("b2ner")

__all__ = ["PackedEngine", "PlainEngine", "open_engine"]


def open_engine(
    name: str,
    backbone: Backbone,
    *,
    max_answer: int = 256,
    batch_tokens: int | None = None,
    constrain: bool = False,
) -> PackedEngine | PlainEngine:
    """Give the engine of that name, fast or plain. `batch_tokens` None leaves the batch size to
    the engine; `constrain` holds answers to the labels asked for and the words of the text. A model
    that the fast engine cannot run is given to the plain one, with a warning that says why.
    """
    if name == PackedEngine.name:
        fast = PackedEngine(
            backbone, max_answer=max_answer, batch_tokens=batch_tokens, constrain=constrain
        )
        reason = probe.trouble(fast)
        if not reason:
            return fast
        log.warning("engine plain, the slow one: the fast one cannot run this model: %s", reason)
    return PlainEngine(
        backbone, max_answer=max_answer, batch_tokens=batch_tokens, constrain=constrain
    )
