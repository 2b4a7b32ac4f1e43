"""How much the packed engine computes at once, and how that follows the memory there is.

When memory runs out all sizes are halved; after a number of steps that fit they are doubled again,
up to what they were. Where that fails, twice as many steps have to fit before the next try, so a
machine that has less for good loses little time. Steps are counted, not seconds: the same prompts
are answered in the same steps each time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch

from b2ner_cli.models.loading import Backbone

log = logging.getLogger("b2ner")

_PATIENCE = 256  # steps that have to fit before the first try with more


@dataclass(slots=True)
class MemoryLimits:
    """At most so many `sequences` under way, tokens a step, and positions of all sequences."""

    sequences: int
    step_tokens: int
    batch_tokens: int
    _full: tuple[int, int, int] = field(init=False)
    _patience: int = _PATIENCE
    _fitted: int = 0  # steps since sizes changed
    _grown: bool = False  # whether the last change was for more
    _told: bool = False

    def __post_init__(self) -> None:
        self._full = (self.sequences, self.step_tokens, self.batch_tokens)

    def shrink(self, under_way: int) -> bool:
        """Halve all after memory ran out with that many sequences; False if one was too many."""
        if self.sequences == 1:
            return False
        if self._grown:
            self._patience *= 2
        self._set(
            min(self.sequences, under_way) // 2, self.step_tokens // 2, self.batch_tokens // 2
        )
        self._grown = False
        log.log(
            logging.INFO if self._told else logging.WARNING,  # a line is enough
            "out of memory: going on with %d rows at once, or fewer if need be; nothing is lost",
            self.sequences,
        )
        self._told = True
        return True

    def note_step(self) -> None:
        """Count a step that fit; double what was halved when there were enough of them."""
        now = (self.sequences, self.step_tokens, self.batch_tokens)
        if now == self._full:
            return
        self._fitted += 1
        if self._fitted >= self._patience:
            self._set(*(min(full, 2 * size) for full, size in zip(self._full, now, strict=True)))
            self._grown = True
            log.info("memory sufficed for a while: up to %d rows at once again", self.sequences)

    def _set(self, sequences: int, step_tokens: int, batch_tokens: int) -> None:
        self.sequences, self.step_tokens = max(1, sequences), max(1, step_tokens)
        self.batch_tokens = max(1, batch_tokens)
        self._fitted = 0


def choose_batch_tokens(backbone: Backbone) -> tuple[int, str]:
    """How many positions the sequences under way may hold together, and why."""
    config = backbone.model.config.get_text_config()
    try:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        per_token = 2 * config.num_hidden_layers * heads * size * backbone.model.dtype.itemsize
    except AttributeError:  # no heads, or not the same in each layer: it will not be packed
        return 2048, "nothing is known of the model's states"
    if not backbone.device.startswith("cuda"):
        return min(12288, max(2048, 2**30 // per_token)), "a CPU gains little from more"
    free, _ = torch.cuda.mem_get_info(backbone.device)
    # Answers may take as much again as sequences begin with, and prefixes as much.
    tokens = int(free * 0.25 / per_token)
    return min(tokens, 65536), f"a quarter of {free / 1e9:.0f} GB free, {per_token} bytes a token"
