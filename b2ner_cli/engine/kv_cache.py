"""Keys and values of the answers in flight, and attention over them for packed tokens.

    packed    the next token of a row: decode      several tokens of a row: prefill
    sees      its prefix, its row so far           its prefix, its row so far, causally its own

A row is a sequence in flight: its own part of the prompt and its answer so far hold positions
0, 1, ... of the row, behind the prefix of its label set, which is held once however many rows
share it. A row takes several tokens at once when it begins, and when its next ones are drafted.
No linear layer sees padding; attention over such rows does, and masks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

from b2ner_cli.models.attention import How, attend, weights

KeyValue = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """A label set's shared tokens, computed. *Shape:* a layer (key-value heads, length, head)"""

    layers: list[KeyValue] = field(repr=False)
    length: int


class KVCache:
    """Keys and values of all rows. *Shape:* a layer (rows, key-value heads, positions, head)"""

    def __init__(self) -> None:
        self.layers: list[KeyValue] = []
        self.rows = 0
        self.positions = 0

    def resize(self, rows: int, positions: int, used: int, like: Prefix) -> None:
        """Make room for `rows` of `positions`; the first `used` rows are kept."""
        kept = min(positions, self.positions)
        for index, states in enumerate(like.layers):
            # Zeros, since what is not seen has weight 0, and 0 times whatever was there may be NaN.
            grown = [s.new_zeros(rows, s.shape[0], positions, s.shape[2]) for s in states]
            if used:
                for new, old in zip(grown, self.layers[index], strict=True):
                    new[:used, :, :kept] = old[:used, :, :kept]
            self.layers[index : index + 1] = [(grown[0], grown[1])]
        self.rows, self.positions = rows, positions

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy rows over others."""
        if sources:
            for keys, values in self.layers:
                keys[targets] = keys[sources]
                values[targets] = values[sources]

    def clear(self) -> None:
        """Give the memory back."""
        self.layers, self.rows, self.positions = [], 0, 0


class PackedStep:
    """One forward pass: `sizes[i]` tokens of row i, behind the `lengths[i]` positions it has.

    `positions` are those of the packed tokens, `starts` says where each row's begin.
    """

    def __init__(
        self,
        cache: KVCache,
        prefixes: Sequence[Prefix],
        lengths: Sequence[int],
        sizes: Sequence[int],
    ) -> None:
        self.cache, self.prefixes = cache, prefixes
        self.lengths, self.sizes = lengths, sizes
        self.starts: list[int] = []
        self.positions: list[int] = []
        for prefix, length, size in zip(prefixes, lengths, sizes, strict=True):
            self.starts.append(len(self.positions))
            first = prefix.length + length
            self.positions += range(first, first + size)
        self._layouts: dict[torch.device, _Layout] = {}
        self.windows: dict[int, int | None] = {}  # what each layer said of its own

    @property
    def last(self) -> list[int]:
        """The last packed token of each row."""
        return [start + size - 1 for start, size in zip(self.starts, self.sizes, strict=True)]

    def attend(self, layer: int, states: Sequence[torch.Tensor], how: How) -> torch.Tensor:
        """Keep a layer's new keys and values, and attend to all that each token may see.

        *Shapes:* states (queries, keys, values), each (tokens, heads, head); the result likewise
        """
        device = states[0].device  # the layers of a large model may be on several cards
        layout = self._layouts.get(device)
        if layout is None:
            layout = self._layouts[device] = _Layout(self, device)
        self.windows[layer] = how.window
        return layout.attend(layer, states, how)


class _Layout:
    """Where a step's tokens stand, as tensors on one device."""

    def __init__(self, step: PackedStep, device: torch.device) -> None:
        self._cache = step.cache
        rows, places = list[int](), list[int]()
        for row, (length, size) in enumerate(zip(step.lengths, step.sizes, strict=True)):
            rows += [row] * size
            places += range(length, length + size)
        self._rows = torch.tensor(rows, device=device)
        self._places = torch.tensor(places, device=device)
        decoding: dict[int, list[int]] = {}
        prefilling: dict[tuple[int, bool], list[int]] = {}
        for row, (prefix, length, size) in enumerate(
            zip(step.prefixes, step.lengths, step.sizes, strict=True)
        ):
            # Rows of one prefix go together; new ones apart, as they need not look back.
            if size == 1:
                decoding.setdefault(id(prefix), []).append(row)
            else:
                prefilling.setdefault((id(prefix), length > 0), []).append(row)
        self._parts: list[_DecodeAttention | _PrefillAttention] = [
            *(_DecodeAttention(step, rows, device) for rows in decoding.values()),
            *(_PrefillAttention(step, rows, device) for rows in prefilling.values()),
        ]

    def attend(self, layer: int, states: Sequence[torch.Tensor], how: How) -> torch.Tensor:
        """As `PackedStep.attend`, for a layer on this device."""
        queries, held = states[0], self._cache.layers[layer]
        out = torch.empty_like(queries)
        for store, new in zip(held, states[1:], strict=True):
            store[self._rows, :, self._places] = new
        for part in self._parts:
            out[part.tokens] = part.attend(queries, layer, held, how)
        return out


def _indices(numbers: Sequence[int]) -> Any:
    """Numbers to index with: a slice, which copies nothing, where they follow one another."""
    first, count = numbers[0], len(numbers)
    return slice(first, first + count) if numbers[-1] - first == count - 1 else list(numbers)


class _RowAttention:
    """Rows of one prefix, at own positions `places`. R rows, P prefix positions, S own ones."""

    def __init__(self, step: PackedStep, rows: Sequence[int], places: torch.Tensor) -> None:
        self._prefix = step.prefixes[rows[0]]
        self._count = len(rows)
        self._rows = _indices(rows)
        self._places = places
        self._max_kv_len = max(step.lengths[row] + step.sizes[row] for row in rows)
        self._masks: dict[int | None, torch.Tensor] = {}

    def _masked(self, window: int | None) -> torch.Tensor:
        """What is not seen, being other rows', later, or too far back. *Shape:* (*places, P + S)"""
        if window not in self._masks:
            keys = torch.arange(-self._prefix.length, self._max_kv_len, device=self._places.device)
            back = self._places[..., None] - keys
            self._masks[window] = back < 0 if window is None else (back < 0) | (back >= window)
        return self._masks[window]


class _DecodeAttention(_RowAttention):
    """Rows with one token each."""

    def __init__(self, step: PackedStep, rows: Sequence[int], device: torch.device) -> None:
        places = torch.tensor([step.lengths[row] for row in rows], device=device)
        super().__init__(step, rows, places[:, None, None])
        self.tokens = _indices([step.starts[row] for row in rows])

    def attend(self, queries: torch.Tensor, layer: int, held: KeyValue, how: How) -> torch.Tensor:
        """The result for these rows' tokens. *Shape:* (R, heads, head)"""
        rows = self._count
        prefix_keys, prefix_values = self._prefix.layers[layer]  # (K, P, D)
        heads, length, size = prefix_keys.shape
        keys, values = (each[self._rows, :, : self._max_kv_len] for each in held)  # (R, K, S, D)
        asked = queries[self.tokens].view(rows, heads, -1, size)  # (R, K, G, D)
        # The prefix is the same for all rows: one product for all of their queries.
        together = asked.transpose(0, 1).reshape(heads, -1, size)  # (K, R G, D)
        shared = (together @ prefix_keys.mT).view(heads, rows, -1, length).transpose(0, 1)
        scores = torch.cat([shared, asked @ keys.mT], -1)  # (R, K, G, P + S)
        found = weights(scores, self._masked(how.window), how)
        shared = found[..., :length].transpose(0, 1).reshape(heads, -1, length)
        out = (shared @ prefix_values).view(heads, rows, -1, size).transpose(0, 1)
        return (out + found[..., length:] @ values).reshape(rows, -1, size)


class _PrefillAttention(_RowAttention):
    """Rows with several tokens, U at most, laid out as padded rows for attention alone."""

    def __init__(self, step: PackedStep, rows: Sequence[int], device: torch.device) -> None:
        sizes = torch.tensor([step.sizes[row] for row in rows], device=device)[:, None]
        first = torch.tensor([step.starts[row] for row in rows], device=device)[:, None]
        columns = torch.arange(max(step.sizes[row] for row in rows), device=device)
        lengths = torch.tensor([step.lengths[row] for row in rows], device=device)
        # rows that begin are all at the same places
        places = lengths[:, None] + columns if step.lengths[rows[0]] else columns[None]
        super().__init__(step, rows, places[:, None])
        self._real = columns < sizes  # (R, U)
        self._index = first + torch.minimum(columns, sizes - 1)  # (R, U) into the packed tokens
        self.tokens = self._index[self._real]

    def attend(self, queries: torch.Tensor, layer: int, held: KeyValue, how: How) -> torch.Tensor:
        """The result for these rows' tokens. *Shape:* (tokens, heads, head)"""
        asked = queries[self._index].transpose(1, 2)  # (R, heads, U, D)
        keys, values = (
            torch.cat([p.expand(self._count, -1, -1, -1), o[self._rows, :, : self._max_kv_len]], 2)
            for p, o in zip(self._prefix.layers[layer], held, strict=True)
        )  # each (R, K, P + S, D)
        found = attend(asked, keys, values, ~self._masked(how.window), how)
        return found.transpose(1, 2)[self._real]


# What a model's layers call -----------------------------------------------------------------------

PACKED = "b2ner_packed"  # the name under which transformers finds it


def _packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: PackedStep,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer over a step; what it is given and gives is transformers' own matter.

    *Shapes:* query, key and value (1, heads, tokens, head); the result (1, tokens, heads, head).
    Raises NotImplementedError for attention sinks.
    """
    if s_aux is not None:
        raise NotImplementedError("attention sinks")
    states = [each[0].transpose(0, 1) for each in (query, key, value)]
    how = How(scaling or query.shape[-1] ** -0.5, sliding_window, softcap)
    return step.attend(module.layer_idx, states, how)[None], None


AttentionInterface.register(PACKED, _packed_attention)
