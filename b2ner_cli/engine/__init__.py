"""Engines answer prompts: the fast one, and transformers' own `generate` it is checked against.

Both are greedy, take prompts in any order and give (index, completion) in the order that suits
them. They know tokens and tensors, nothing of documents.
"""

from __future__ import annotations

import logging

from b2ner_cli.engine import self_check
from b2ner_cli.engine.packed import PackedEngine
from b2ner_cli.engine.reference import PlainEngine
from b2ner_cli.models.device_errors import (
    failing_clearly,
    fitting_memory,
    is_device_failure,
    is_out_of_memory,
)
from b2ner_cli.models.loading import Backbone

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
        with (
            fitting_memory(str(backbone.source.name)),
            failing_clearly(backbone.device, "when the model was tried out"),
        ):
            fast = _fast(backbone, max_answer, batch_tokens, constrain)
        if not isinstance(fast, str):
            return fast
        log.warning("engine plain, the slow one: the fast one cannot run this model: %s", fast)
    return PlainEngine(
        backbone, max_answer=max_answer, batch_tokens=batch_tokens, constrain=constrain
    )


def _fast(
    backbone: Backbone, max_answer: int, batch_tokens: int | None, constrain: bool
) -> PackedEngine | str:
    """The fast engine, or why a model cannot be run by it. Whatever it raises says so, too."""
    try:
        fast = PackedEngine(
            backbone, max_answer=max_answer, batch_tokens=batch_tokens, constrain=constrain
        )
        return self_check.trouble(fast) or fast
    except Exception as error:  # models of any make: a configuration may lack anything
        if is_out_of_memory(error) or is_device_failure(error):
            raise  # the plain one would fare no better
        kind = type(error).__name__
        log.info("tried out, the fast engine raised %s: %s", kind, error)
        log.debug("it was raised here", exc_info=error)
        return f"its layers do not take packed tokens ({kind})"
