"""The fast engine: the prompt's shared prefix is computed once, finished rows leave at once.

    prefix keys and values    once per label set, copied into each batch's buffer
    prefill                   the documents' own tokens, sorted by length, padded on the right
    decode                    one token a row and step; rows that are done are dropped

The model's modules are transformers' own; only the attention masks and the key-value buffer are
ours. The output head is evaluated at the last position of each row alone. In float32 the answers
are those of `generate`, one prompt at a time, token for token.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from b2ner_cli import attention
from b2ner_cli.backbone import Backbone
from b2ner_cli.document import Completion
from b2ner_cli.engine.choosing import Chooser, Constrained, Free
from b2ner_cli.engine.completions import Speller, identity, is_out_of_memory
from b2ner_cli.engine.grammar import Grammars
from b2ner_cli.errors import B2nerError
from b2ner_cli.prompts import Prompt

log = logging.getLogger("b2ner")

_PREFIXES = 64  # prefixes kept computed; one of 100 tokens is 4 MB on mini
_GROWTH = 64  # answer positions by which a buffer grows


@dataclass(frozen=True, slots=True)
class _Request:
    index: int
    prefix: tuple[int, ...]
    own: list[int]
    prompt: Prompt

    @property
    def width(self) -> int:
        return len(self.prefix) + len(self.own)


class SharedPrefixEngine:
    """Answers prompts in length-sorted batches of at most `batch_tokens` tokens."""

    name = "fast"

    def __init__(
        self,
        backbone: Backbone,
        *,
        max_answer: int = 256,
        batch_tokens: int | None = None,
        constrain: bool = False,
    ) -> None:
        self.backbone = backbone
        self.max_answer = max_answer
        self.identity = identity(backbone, max_answer, constrain)
        self.context = backbone.context
        self.batch_tokens, reason = (
            (batch_tokens, "asked for") if batch_tokens else _choose_batch_tokens(backbone)
        )
        self.notes = (f"engine fast: {self.batch_tokens} tokens a batch: {reason}",)
        self._speller = Speller(backbone.tokenizer)
        self._grammars = Grammars(backbone.tokenizer) if constrain else None
        self._prefixes: OrderedDict[tuple[int, ...], list[_KeyValue]] = OrderedDict()
        self._body = getattr(backbone.model, backbone.model.base_model_prefix)

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return self.backbone.tokenizer.count(text)

    def generate(
        self, prompts: Sequence[Prompt], answered: Collection[int] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer prompts greedily; yields (index, completion) as they finish.

        Batches are formed of all prompts; one whose indices are all in `answered` is left out.
        Raises B2nerError when a single prompt does not fit into memory.
        """
        for batch in self._batches(self._requests(prompts)):
            if all(request.index in answered for request in batch):
                continue
            pending = [batch]
            while pending:
                now = pending.pop()
                completions = None
                try:
                    with torch.inference_mode():
                        completions = self._answer(now)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                if completions is None:  # out here the error no longer holds the batch's tensors
                    self._shrink(now)
                    half = len(now) // 2
                    pending += [now[half:], now[:half]]
                    continue
                yield from completions

    def _requests(self, prompts: Sequence[Prompt]) -> list[_Request]:
        tokenizer = self.backbone.tokenizer
        texts = list(dict.fromkeys(prompt.prefix for prompt in prompts))
        encoded = zip(texts, tokenizer.encode(texts), strict=True)
        prefixes = {text: (*tokenizer.bos, *ids) for text, ids in encoded}
        owns = tokenizer.encode([prompt.own for prompt in prompts])
        return [
            _Request(index, prefixes[prompt.prefix], own, prompt)
            for index, (prompt, own) in enumerate(zip(prompts, owns, strict=True))
        ]

    def _batches(self, requests: list[_Request]) -> Iterator[list[_Request]]:
        """Cut requests into batches of one prefix and similar length, the longest first."""
        batch: list[_Request] = []
        for request in sorted(requests, key=lambda r: (r.prefix, -len(r.own), r.index)):
            if batch and (
                batch[0].prefix != request.prefix
                or (len(batch) + 1) * (batch[0].width + _GROWTH) > self.batch_tokens
            ):
                yield batch
                batch = []
            batch.append(request)
        if batch:
            yield batch

    def _answer(self, batch: list[_Request]) -> list[tuple[int, Completion]]:
        """Prefill and decode one batch. Numbered phases; shapes use rows R, own width U."""
        device, tokenizer = self.backbone.device, self.backbone.tokenizer
        prefix = self._prefix(batch[0].prefix)
        start, width = len(batch[0].prefix), max(len(request.own) for request in batch)
        # 1) own tokens, padded on the right: a causal mask keeps padding out of sight
        ids = torch.tensor(
            [r.own + [tokenizer.pad] * (width - len(r.own)) for r in batch], device=device
        )
        lengths = torch.tensor([len(request.own) for request in batch], device=device)
        positions = torch.arange(start, start + width, device=device).expand(len(batch), -1)
        buffer = _Buffer(prefix, len(batch), width)
        keys = torch.arange(start + width, device=device)
        distance = (positions[0, :, None] - keys)[None, None]  # (1, 1, U, keys)
        hidden = self._forward(ids, positions, distance >= 0, distance, buffer)
        hidden = hidden[torch.arange(len(batch), device=device), lengths - 1]  # (R, hidden)
        # 2) decode: column `start + width + t` of the buffer holds each row's t-th answer token
        rows = list(range(len(batch)))
        key_positions = keys.expand(len(batch), -1)  # (R, keys)
        visible = keys < start + lengths[:, None]  # (R, keys)
        said: list[list[int]] = [[] for _ in batch]
        sure: list[list[float]] = [[] for _ in batch]
        room = [min(self.max_answer, self.context - request.width) for request in batch]
        stopped = [False] * len(batch)
        chooser = self._chooser(batch)
        while True:
            tokens, logprobs = chooser.best(hidden, rows)
            going = []
            for place, (row, token, logprob) in enumerate(zip(rows, tokens, logprobs, strict=True)):
                if chooser.ends(row, token):
                    stopped[row] = True
                    continue
                said[row].append(token)
                sure[row].append(logprob)
                if len(said[row]) < room[row]:
                    going.append(place)
            if not going:
                break
            if len(going) < len(rows):
                keep = torch.tensor(going, device=device)
                rows, tokens = [rows[place] for place in going], [tokens[place] for place in going]
                lengths = lengths[keep]
                key_positions, visible = key_positions[keep], visible[keep]
                buffer.keep(keep)
            now = start + lengths + len(said[rows[0]]) - 1  # (R,)
            key_positions = torch.cat([key_positions, now[:, None]], 1)
            visible = torch.nn.functional.pad(visible, (0, 1), value=True)
            distance = (now[:, None] - key_positions)[:, None, None]
            column = torch.tensor(tokens, device=device)[:, None]
            hidden = self._forward(column, now[:, None], visible[:, None, None], distance, buffer)[
                :, 0
            ]
        return [
            (
                request.index,
                self._speller.completion(
                    said[row][: (length := chooser.length(row, len(said[row])))],
                    sure[row][:length],
                    "eos" if stopped[row] else "length",
                    request.width,
                ),
            )
            for row, request in enumerate(batch)
        ]

    def _chooser(self, batch: list[_Request]) -> Chooser:
        model, stops = self.backbone.model, self.backbone.tokenizer.stops
        if self._grammars is None:
            return Free(model, stops)
        prompts = [request.prompt for request in batch]
        return Constrained(model, self._grammars.of(prompts[0].labels), [p.about for p in prompts])

    def _forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor,
        distance: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """Hidden states of `ids`. *Shape:* (rows, queries, hidden)"""
        hidden: torch.Tensor = self._body(
            input_ids=ids,
            position_ids=positions,
            attention_mask=attention.masks(self._body.config, visible, distance),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def _prefix(self, ids: tuple[int, ...]) -> list[_KeyValue]:
        """Keys and values of a prefix in every layer, computed once and kept."""
        known = self._prefixes.get(ids)
        if known is None:
            device = self.backbone.device
            capture = _Capture()
            positions = torch.arange(len(ids), device=device)
            distance = (positions[:, None] - positions)[None, None]
            self._forward(
                torch.tensor([ids], device=device),
                positions[None],
                distance >= 0,
                distance,
                capture,
            )
            known = self._prefixes[ids] = capture.layers
            while len(self._prefixes) > _PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(ids)
        return known

    def _shrink(self, batch: list[_Request]) -> None:
        """Halve the batch size after memory ran out; a single document cannot be halved."""
        if len(batch) == 1:
            raise B2nerError(
                f"out of memory for a single prompt of {batch[0].width} tokens",
                "use --device cpu, a smaller --max-answer, or --dtype bfloat16",
            )
        self._prefixes.clear()
        if self.backbone.device.startswith("cuda"):
            torch.cuda.empty_cache()
        self.batch_tokens = max(1, self.batch_tokens // 2)
        log.warning("out of memory: going on with %d tokens a batch", self.batch_tokens)


_KeyValue = tuple[torch.Tensor, torch.Tensor]


class _Capture:
    """Stands in for a transformers cache and keeps what each layer puts in."""

    def __init__(self) -> None:
        self.layers: list[_KeyValue] = []

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> _KeyValue:
        self.layers.append((keys, values))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


class _Buffer:
    """Keys and values of a batch in one preallocated tensor a layer, grown in steps.

    Stands in for a transformers cache. *Shape:* (rows, key-value heads, positions, head size)
    """

    def __init__(self, prefix: list[_KeyValue], rows: int, width: int) -> None:
        self.length = int(prefix[0][0].shape[2])
        size = self.length + width + _GROWTH
        self.layers = []
        for pair in prefix:
            grown = []
            for states in pair:
                buffer = states.new_empty(rows, states.shape[1], size, states.shape[3])
                buffer[:, :, : self.length] = states
                grown.append(buffer)
            self.layers.append((grown[0], grown[1]))

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> _KeyValue:
        """Append the new positions of one layer and give all of that layer's."""
        held = self.layers[layer_idx]
        end = self.length + keys.shape[2]
        if end > held[0].shape[2]:
            more = end - held[0].shape[2] + _GROWTH
            pad = torch.nn.functional.pad
            held = (pad(held[0], (0, 0, 0, more)), pad(held[1], (0, 0, 0, more)))
            self.layers[layer_idx] = held
        held[0][:, :, self.length : end] = keys
        held[1][:, :, self.length : end] = values
        if layer_idx == len(self.layers) - 1:
            self.length = end
        return held[0][:, :, :end], held[1][:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions held so far."""
        return self.length

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these."""
        self.layers = [(keys[rows], values[rows]) for keys, values in self.layers]


def _choose_batch_tokens(backbone: Backbone) -> tuple[int, str]:
    """How many tokens a batch may hold, and why."""
    if not backbone.device.startswith("cuda"):
        return 6144, "a CPU gains little from more"
    config = backbone.model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * head
    per_token = per_token * backbone.model.dtype.itemsize + 8 * config.hidden_size
    # A row's logits in float32, twice, are shared among the hundred or so tokens of a row.
    per_token += 8 * config.vocab_size // 100
    free, _ = torch.cuda.mem_get_info(backbone.device)
    tokens = int(free * 0.5 / per_token)
    return min(tokens, 65536), f"half of {free / 1e9:.0f} GB free at {per_token} bytes a token"
