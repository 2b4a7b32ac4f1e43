"""The slow path: transformers' `generate` over whole prompts, nothing shared.

It is what the fast engine's answers are compared with, and what its speed is measured against.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from b2ner_cli.core.engine import Completion, Prompt
from b2ner_cli.engine.grammar import GrammarState
from b2ner_cli.engine.model_engine import ModelEngine, too_large
from b2ner_cli.models.device_errors import failing_clearly, is_out_of_memory
from b2ner_cli.models.loading import Backbone

log = logging.getLogger("b2ner")


class PlainEngine(ModelEngine):
    """Left-padded batches of `rows` prompts in the order given, answered by `generate`."""

    name = "plain"

    def __init__(
        self,
        backbone: Backbone,
        *,
        max_answer: int = 256,
        batch_tokens: int | None = None,
        constrain: bool = False,
        rows: int = 4,
    ) -> None:
        super().__init__(backbone, max_answer, constrain)
        self.batch_tokens = batch_tokens or 512 * rows
        self.rows = max(1, batch_tokens // 512) if batch_tokens else rows
        self.notes = (f"engine plain: generate in batches of {self.rows}",)
        # A model's own settings (a repetition penalty, say) would be mixed into ours.
        self._model = copy.copy(backbone.model)
        self._model.generation_config = GenerationConfig()
        self._halved = False

    def generate(
        self, prompts: Sequence[Prompt], answered: Collection[int] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer prompts greedily; yields (index, completion) in order.

        A batch whose indices are all in `answered` is left out. Raises B2nerError when one prompt
        does not fit into memory, or the device fails.
        """
        for start in range(0, len(prompts), self.rows):
            batch = prompts[start : start + self.rows]
            if all(index in answered for index in range(start, start + len(batch))):
                continue
            ids = [[*prefix, *own] for prefix, own in self._encode(batch)]
            # Near the end of the context each prompt has room of its own, so it is asked alone.
            together = max(map(len, ids)) + self.max_answer <= self.context
            rows = list(zip(ids, batch, strict=True))
            with failing_clearly(self.backbone.device, f"with {len(rows)} answers under way"):
                parts = [self._in_memory(p) for p in ([rows] if together else [[r] for r in rows])]
            yield from enumerate((completion for part in parts for completion in part), start)

    def _in_memory(self, asked: list[tuple[list[int], Prompt]]) -> list[Completion]:
        """Answer a batch, or its halves where it does not fit into memory."""
        try:
            return self._answer(asked)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if len(asked) == 1:
            raise too_large(len(asked[0][0]))
        if not self._halved:
            self._halved = True
            log.warning("out of memory: batches that do not fit are answered by halves")
        half = len(asked) // 2
        return self._in_memory(asked[:half]) + self._in_memory(asked[half:])

    def _answer(self, asked: list[tuple[list[int], Prompt]]) -> list[Completion]:
        tokenizer, device = self.backbone.tokenizer, self.backbone.device
        ids = [row for row, _ in asked]
        width = max(map(len, ids))
        padded = [[tokenizer.pad] * (width - len(row)) + row for row in ids]
        seen = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
        confidence = _Confidence()
        processors: list[LogitsProcessor] = [confidence]
        answers = [state for _, prompt in asked if (state := self._grammar(prompt)) is not None]
        if answers:
            allow = _Allow(answers, width, tokenizer.eos)
            processors.insert(0, allow)
        output = self._model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(seen, device=device),
            generation_config=GenerationConfig(
                do_sample=False,
                num_beams=1,
                max_new_tokens=max(1, min(self.max_answer, self.context - width)),
                eos_token_id=list(tokenizer.stops),
                pad_token_id=tokenizer.pad,
                bos_token_id=tokenizer.bos[0] if tokenizer.bos else None,
            ),
            logits_processor=LogitsProcessorList(processors),
        )
        completions = []
        for row, answered in enumerate(output[:, width:].tolist()):
            stops = [i for i, token in enumerate(answered) if token in tokenizer.stops]
            said, ended = (answered[: stops[0]], True) if stops else (answered, False)
            if answers:
                ended = allow.see(row, answered[-1]) or ended
                said = said[: answers[row].length]
            logprobs = [float(step[row]) for step in confidence.steps[: len(said)]]
            completions.append(
                self._detokenizer.completion(
                    said, logprobs, "eos" if ended else "length", len(ids[row])
                )
            )
        return completions


class _Confidence(LogitsProcessor):  # type: ignore[misc]
    """Notes the log-probability of each step's best token; changes nothing."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        floats = scores.float()
        self.steps.append((floats.amax(-1) - floats.logsumexp(-1)).cpu())
        return scores


class _Allow(LogitsProcessor):  # type: ignore[misc]
    """Leaves each row the tokens that its answer's grammar allows; after its end, the stop."""

    def __init__(self, answers: list[GrammarState], width: int, stop: int) -> None:
        self._answers = answers
        self._width = width
        self._stop = stop
        self._over = [False] * len(answers)

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        forbidden = torch.full(scores.shape, -torch.inf)
        for row, answer in enumerate(self._answers):
            if input_ids.shape[1] > self._width:
                self.see(row, int(input_ids[row, -1]))
            allowed = [self._stop] if self._over[row] else list(answer.allowed())
            forbidden[row, allowed] = 0.0
        return scores + forbidden.to(scores.device)

    def see(self, row: int, token: int) -> bool:
        """Note the last token of a row, unless its answer is over; say whether it is now."""
        if not self._over[row]:
            self._over[row] = self._answers[row].ends(token)
        return self._over[row]
