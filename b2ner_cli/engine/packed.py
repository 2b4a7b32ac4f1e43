"""The fast engine: one packed sequence of tokens a step, no padding, places refilled at once.

    prefix     keys and values once per label set, shared by all of its sequences
    step       one token of every answer under way, and the own tokens of sequences just begun
    sequence   leaves when its answer ends; the next prompt takes its place in the next step

The model's modules are transformers' own; attention and the key-value store are ours. The output
head is evaluated where a next token is due, and nowhere else. In float32 the answers are those of
`generate`, one prompt at a time, token for token.
"""

from __future__ import annotations

from collections import OrderedDict, abc
from functools import cached_property
from inspect import signature
from typing import Any

import torch

from b2ner_cli.core.engine import Completion, Prompt
from b2ner_cli.engine import int8_head, next_token
from b2ner_cli.engine.drafting import MAX_DRAFT, Drafter, draft_budget
from b2ner_cli.engine.kv_cache import PACKED, KeyValue, PackedStep, Prefix
from b2ner_cli.engine.memory_limits import MemoryLimits, choose_batch_tokens
from b2ner_cli.engine.model_engine import ModelEngine, too_large
from b2ner_cli.engine.scheduler import Scheduler
from b2ner_cli.engine.sequences import Sequence
from b2ner_cli.models import attention
from b2ner_cli.models.device_errors import failing_clearly, is_out_of_memory
from b2ner_cli.models.loading import Backbone

_PREFIXES = 64  # prefixes kept computed, if they are no longer together than the sequences


class PackedEngine(ModelEngine):
    """Answers prompts, those of a label set together and the longest of them first.

    `limits` say how many at once. While no more than `draft_budget` tokens are in a step, the next
    ones of its sequences are drafted, too.
    """

    name = "fast"

    def __init__(
        self,
        backbone: Backbone,
        *,
        max_answer: int = 256,
        batch_tokens: int | None = None,
        constrain: bool = False,
    ) -> None:
        super().__init__(backbone, max_answer, constrain)
        self.batch_tokens, reason = (
            (batch_tokens, "asked for") if batch_tokens else choose_batch_tokens(backbone)
        )
        sequences, tokens = (512, 2048) if backbone.device.startswith("cuda") else (128, 512)
        self.limits = MemoryLimits(sequences, tokens, self.batch_tokens)
        head = backbone.model.get_output_embeddings()
        self._screened = not constrain and int8_head.is_worth_it(head, backbone.device)
        self.draft_budget, why = draft_budget(backbone.device, constrain or self._screened)
        self.notes: tuple[str, ...] = (
            f"engine fast: {self.batch_tokens} tokens at once: {reason}",
            f"answers drafted, up to {self.draft_budget} tokens in a step: {why}",
        )
        if self._screened:
            most = int8_head.MOST_ROWS
            why = f"to read all of its {head.weight.numel():,} weights takes longer"
            self.notes += (f"output head screened in 8 bits, up to {most} rows in a step: {why}",)
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._body = backbone.model.base_model
        self._packed_body = attention.view(self._body, PACKED)

    def generate(
        self, prompts: abc.Sequence[Prompt], answered: abc.Collection[int] = ()
    ) -> abc.Iterator[tuple[int, Completion]]:
        """Answer prompts greedily; yields (index, completion) as they finish.

        All prompts are asked, in the same steps whatever is in `answered`, until those that are
        not in it have their answers. Raises B2nerError when one prompt does not fit into memory,
        or the device fails.
        """
        missing = set(range(len(prompts))).difference(answered)
        if not missing:
            return
        scheduler = Scheduler(self._sequences(prompts), self.limits, self.context)
        drafter = Drafter()  # knows these answers alone: the steps are the same every time
        while missing:
            finished: list[Sequence] | None = None
            try:
                under_way = f"with {len(scheduler.active)} answers under way"
                with failing_clearly(self.backbone.device, under_way), torch.inference_mode():
                    finished = self._step(scheduler, drafter)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if finished is None:  # out here the error no longer holds the step's tensors
                self._make_do(scheduler)
                continue
            self.limits.note_step()
            for sequence in finished:
                missing.discard(sequence.index)
                yield sequence.index, self._completion(sequence)

    def _sequences(self, prompts: abc.Sequence[Prompt]) -> abc.Iterator[Sequence]:
        for index, (prompt, ids) in enumerate(zip(prompts, self._encode(prompts), strict=True)):
            room = self.context - len(ids[0]) - len(ids[1])
            yield Sequence(index, prompt, *ids, min(self.max_answer, room))

    def _completion(self, sequence: Sequence) -> Completion:
        return self._detokenizer.completion(
            sequence.output_ids, sequence.logprobs, sequence.stop or "eos", sequence.width
        )

    # One step -------------------------------------------------------------------------------------

    def _step(self, scheduler: Scheduler, drafter: Drafter) -> list[Sequence]:
        """Run the model once; gives the sequences whose answers are at their end."""
        self._draft(scheduler, drafter)
        for sequence in scheduler.admit():
            sequence.prefix = self._prefix(sequence.prefix_ids)
            if sequence.grammar is None:
                sequence.grammar = self._grammar(sequence.prompt)
        scheduler.make_room()
        active = scheduler.active
        step = PackedStep(
            scheduler.cache,
            [sequence.prefix for sequence in active],
            [sequence.length for sequence in active],
            [len(sequence.tokens) for sequence in active],
        )
        hidden = self.forward([token for each in active for token in each.tokens], step)
        asked = [
            place
            for sequence, last in zip(active, step.last, strict=True)
            for place in range(last - len(sequence.draft), last + 1)
        ]
        tokens, logprobs = self._best(hidden[asked], active)
        stops, start = self.backbone.tokenizer.stops, 0
        for sequence in active:
            drafted, before = len(sequence.draft), len(sequence.output_ids)
            part = slice(start, start + drafted + 1)
            start = part.stop
            sequence.take_all(tokens[part], logprobs[part], stops)
            if drafted:
                drafter.note(drafted, max(0, len(sequence.output_ids) - before - 1))
            if sequence.stop:
                drafter.learn(sequence.output_ids)
        return scheduler.remove_finished()

    def _draft(self, scheduler: Scheduler, drafter: Drafter) -> None:
        """Draft the next tokens of each sequence where a step has room to spare."""
        if scheduler.waiting or not scheduler.active:
            return  # prompts that wait fill a step with what has to be computed anyway
        most = self.draft_budget // len(scheduler.active) - 1
        if most > 0 and drafter.active():
            for sequence in scheduler.active:
                sequence.guess(drafter, min(most, MAX_DRAFT))

    def forward(self, tokens: list[int], step: PackedStep) -> torch.Tensor:
        """Hidden states of packed tokens. *Shape:* (tokens, hidden)"""
        body, device = self._packed_body, self.backbone.device
        seen = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)  # the step knows better
        hidden: torch.Tensor = body(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([step.positions], device=device),
            attention_mask=attention.masks(
                body.config.get_text_config(), seen, torch.zeros_like(seen)
            ),
            use_cache=False,
            step=step,
        ).last_hidden_state
        return hidden[0].to(device)  # the last layers may be on another card

    def _best(
        self, hidden: torch.Tensor, active: abc.Sequence[Sequence]
    ) -> tuple[list[int], list[float]]:
        if self._grammars is None:
            few = self._screened and len(hidden) <= int8_head.MOST_ROWS
            return next_token.best(self.backbone.model, hidden, self._screen if few else None)
        allowed = [
            moves
            for sequence in active
            if sequence.grammar is not None
            for moves in sequence.grammar.follow(sequence.draft)
        ]
        return next_token.best_allowed(self.backbone.model, hidden, allowed)

    @cached_property
    def _screen(self) -> int8_head.Screen:
        return int8_head.read_in_bytes(self.backbone.model.get_output_embeddings().weight)

    # Prefixes and memory --------------------------------------------------------------------------

    def _prefix(self, ids: tuple[int, ...]) -> Prefix:
        """Keys and values of a prefix in every layer, computed once and kept."""
        known = self._prefixes.get(ids)
        if known is None:
            known = self._prefixes[ids] = self.compute_prefix(ids)
            most = self.limits.batch_tokens
            while len(self._prefixes) > 1 and (
                len(self._prefixes) > _PREFIXES or sum(map(len, self._prefixes)) > most
            ):
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(ids)
        return known

    def compute_prefix(self, ids: abc.Sequence[int]) -> Prefix:
        """Keys and values of some tokens at the start of a prompt."""
        device, capture = self.backbone.device, _Capture()
        positions = torch.arange(len(ids), device=device)
        distance = (positions[:, None] - positions)[None, None]
        self._body(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=positions[None],
            attention_mask=attention.masks(
                self._body.config.get_text_config(), distance >= 0, distance
            ),
            use_cache=True,
            **{_cache_argument(self._body): capture},
        )
        return Prefix(capture.layers, len(ids))

    def _make_do(self, scheduler: Scheduler) -> None:
        """Begin again with less at once, after memory ran out. Raises B2nerError if one is all."""
        under_way = len(scheduler.active) or self.limits.sequences
        scheduler.restart()
        self._prefixes.clear()
        if self.backbone.device.startswith("cuda"):
            with failing_clearly(self.backbone.device, "when memory ran out"):
                torch.cuda.empty_cache()
        if not self.limits.shrink(under_way):
            raise too_large(scheduler.waiting[0].width)


def _cache_argument(body: Any) -> str:
    """What a model calls the argument that keeps its keys and values."""
    known = signature(body.forward).parameters  # `cache` from transformers 5.24 on
    return "cache" if "cache" in known else "past_key_values"


class _Capture:
    """Stands in for a transformers cache and keeps what each layer puts in."""

    def __init__(self) -> None:
        self.layers: list[KeyValue] = []

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> KeyValue:
        """Keep a layer's keys and values. *Shape:* each (1, heads, tokens, head)"""
        self.layers.append((keys[0], values[0]))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions that were there before: none."""
        return 0
