"""Keys and values of the answers in flight, and attention over them for packed tokens.

    packed    one token of row 0, of row 1, ...    own tokens of a new row, of the next, ...
    sees      its prefix, its row so far           its prefix and, causally, its own

A row is an answer in flight: its own part of the prompt and its answer so far hold positions
0, 1, ... of the row, behind the prefix of its label set, which is held once however many rows
share it. No linear layer sees padding; attention over new rows does, and masks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

KeyValue = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """A label set's shared tokens, computed. *Shape:* a layer (key-value heads, length, head)"""

    layers: list[KeyValue] = field(repr=False)
    length: int


class Slots:
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


@dataclass(frozen=True, slots=True)
class How:
    """What a model tells a layer's attention; `window` is how many positions back it sees."""

    scaling: float
    window: int | None
    softcap: float | None


class Step:
    """One forward pass: a token for each row under way, then all own tokens of each new row.

    `lengths` are the positions that each row under way has already; `sizes` the own tokens of
    each new row, which stand behind those in `slots`. `prefixes` has one entry for every row.
    """

    def __init__(
        self,
        slots: Slots,
        prefixes: Sequence[Prefix],
        lengths: Sequence[int],
        sizes: Sequence[int],
    ) -> None:
        self.slots, self.prefixes = slots, prefixes
        self.lengths, self.sizes = lengths, sizes
        self.starts: list[int] = []  # the packed token at which each new row begins
        self.positions = [p.length + n for p, n in zip(prefixes, lengths, strict=False)]
        for prefix, size in zip(prefixes[len(lengths) :], sizes, strict=True):
            self.starts.append(len(self.positions))
            self.positions += range(prefix.length, prefix.length + size)
        ends = [start + size - 1 for start, size in zip(self.starts, sizes, strict=True)]
        self.last = [*range(len(lengths)), *ends]  # the token after which a row's next one comes
        self._layouts: dict[torch.device, _Layout] = {}
        self.windows: dict[int, int | None] = {}  # what each layer said of its own

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

    def __init__(self, step: Step, device: torch.device) -> None:
        self._slots = step.slots
        self._count = count = len(step.lengths)
        self._rows = torch.arange(count, device=device)
        self._places = torch.tensor(step.lengths, dtype=torch.long, device=device)
        self._going = [
            _Going(prefix, rows, self._places, step.lengths)
            for prefix, rows in _by_prefix(step.prefixes[:count])
        ]
        self._new = [
            _New(prefix, rows, count, step.starts, step.sizes, device)
            for prefix, rows in _by_prefix(step.prefixes[count:])
        ]

    def attend(self, layer: int, states: Sequence[torch.Tensor], how: How) -> torch.Tensor:
        queries, held = states[0], self._slots.layers[layer]
        out = torch.empty_like(queries)
        for store, new in zip(held, states[1:], strict=True):
            store[self._rows, :, self._places] = new[: self._count]
        for going in self._going:
            out[going.rows] = going.attend(queries[: self._count], layer, held, how)
        for new_rows in self._new:
            new_rows.attend(out, states, layer, held, how)
        return out


def _by_prefix(prefixes: Sequence[Prefix]) -> list[tuple[Prefix, list[int]]]:
    """Rows of the same prefix, by its identity."""
    found: dict[int, tuple[Prefix, list[int]]] = {}
    for row, prefix in enumerate(prefixes):
        found.setdefault(id(prefix), (prefix, []))[1].append(row)
    return list(found.values())


class _Going:
    """Rows of one prefix that are under way. R rows, P prefix positions, S own positions."""

    def __init__(
        self, prefix: Prefix, rows: list[int], places: torch.Tensor, lengths: Sequence[int]
    ) -> None:
        self._prefix = prefix
        # all rows as a view, some of them as a copy
        self.rows: Any = slice(0, len(rows)) if len(rows) == len(lengths) else rows
        self._places = places[self.rows]
        self._reach = max(lengths[row] for row in rows) + 1
        self._hidden: dict[int | None, torch.Tensor] = {}

    def attend(self, queries: torch.Tensor, layer: int, held: KeyValue, how: How) -> torch.Tensor:
        rows = len(self._places)
        prefix_keys, prefix_values = self._prefix.layers[layer]  # (K, P, D)
        heads, length, size = prefix_keys.shape
        keys, values = (states[self.rows, :, : self._reach] for states in held)  # (R, K, S, D)
        asked = queries[self.rows].view(rows, heads, -1, size)  # (R, K, G, D)
        # The prefix is the same for all rows: one product for all of their queries.
        together = asked.transpose(0, 1).reshape(heads, -1, size)  # (K, R G, D)
        shared = (together @ prefix_keys.mT).view(heads, rows, -1, length).transpose(0, 1)
        scores = torch.cat([shared, asked @ keys.mT], -1)  # (R, K, G, P + S)
        weights = _weights(scores, self._hide(how.window), how)
        shared = weights[..., :length].transpose(0, 1).reshape(heads, -1, length)
        out = (shared @ prefix_values).view(heads, rows, -1, size).transpose(0, 1)
        return (out + weights[..., length:] @ values).reshape(rows, -1, size)

    def _hide(self, window: int | None) -> torch.Tensor:
        """What a row may not see, being other rows' or too far back. *Shape:* (R, 1, 1, P + S)"""
        if window not in self._hidden:
            unseen = _unseen(self._places, self._prefix.length, self._reach, window)
            self._hidden[window] = unseen[:, None, None]
        return self._hidden[window]


class _New:
    """New rows of one prefix, laid out as padded rows for attention alone. U own positions."""

    def __init__(
        self,
        prefix: Prefix,
        rows: list[int],
        before: int,
        starts: Sequence[int],
        sizes: Sequence[int],
        device: torch.device,
    ) -> None:
        self._prefix = prefix
        self._slots = [before + row for row in rows]
        self._width = width = max(sizes[row] for row in rows)
        columns = torch.arange(width, device=device)
        mine = torch.tensor([sizes[row] for row in rows], device=device)[:, None]
        first = torch.tensor([starts[row] for row in rows], device=device)[:, None]
        self._real = columns < mine  # (R, U)
        self._index = first + torch.minimum(columns, mine - 1)  # (R, U) into the packed tokens
        self._hidden: dict[int | None, torch.Tensor] = {}

    def attend(
        self,
        out: torch.Tensor,
        states: Sequence[torch.Tensor],
        layer: int,
        held: KeyValue,
        how: How,
    ) -> None:
        padded = [each[self._index].transpose(1, 2) for each in states]  # (R, heads, U, D)
        seen = []
        for store, own, shared in zip(held, padded[1:], self._prefix.layers[layer], strict=True):
            store[self._slots, :, : self._width] = own
            seen.append(torch.cat([shared.expand(len(own), -1, -1, -1), own], 2))
        hidden = self._hide(how.window)
        if how.softcap is None:
            found = functional.scaled_dot_product_attention(
                padded[0], seen[0], seen[1], attn_mask=~hidden, scale=how.scaling, enable_gqa=True
            )
        else:
            rows, heads = seen[0].shape[:2]
            asked = padded[0].reshape(rows, heads, -1, *padded[0].shape[2:])  # (R, K, G, U, D)
            weights = _weights(asked @ seen[0].mT[:, :, None], hidden, how)
            found = (weights @ seen[1][:, :, None]).reshape(padded[0].shape)
        out[self._index[self._real]] = found.transpose(1, 2)[self._real]

    def _hide(self, window: int | None) -> torch.Tensor:
        """What an own position may not see. *Shape:* (U, P + U)"""
        if window not in self._hidden:
            places = torch.arange(self._width, device=self._index.device)
            self._hidden[window] = _unseen(places, self._prefix.length, self._width, window)
        return self._hidden[window]


def _unseen(places: torch.Tensor, prefix: int, reach: int, window: int | None) -> torch.Tensor:
    """What queries at these own positions may not see. *Shape:* (queries, prefix + reach)"""
    keys = torch.arange(-prefix, reach, device=places.device)
    back = places[:, None] - keys
    return (back < 0) if window is None else (back < 0) | (back >= window)


def _weights(scores: torch.Tensor, hidden: torch.Tensor, how: How) -> torch.Tensor:
    """Attention weights, computed in float32 as the models' own code does."""
    scores = scores * how.scaling
    if how.softcap is not None:
        scores = torch.tanh(scores / how.softcap) * how.softcap
    scores = scores.masked_fill(hidden, -torch.inf)
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


# What a model's layers call -----------------------------------------------------------------------

PACKED = "b2ner_packed"  # the name under which transformers finds it


def _packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer over a step. *Shapes:* (1, heads, tokens, head) in, heads third out"""
    if s_aux is not None:
        raise NotImplementedError("attention sinks")
    states = [each[0].transpose(0, 1) for each in (query, key, value)]
    how = How(scaling or query.shape[-1] ** -0.5, sliding_window, softcap)
    return step.attend(module.layer_idx, states, how)[None], None


AttentionInterface.register(PACKED, _packed_attention)
