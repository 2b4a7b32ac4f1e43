"""Attention in training: a document sees its prefix and itself, and nothing else is computed.

    packed    prefix 1 | document | document | prefix 2 | document | prefix 3 and its only document
    blocks    prefix 1, prefix 2, ... ; documents of prefix 1 ; documents of prefix 2 ; ...

Segments follow one another without padding, and so all but attention sees none. A block is what
attention takes at once: segments as padded rows, behind the prefix that they share. The first
block has those with none before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import AttentionInterface

from b2ner_cli.errors import ModelError
from b2ner_cli.models import attention

GROUPED = "b2ner_grouped"  # the name under which transformers finds it


@dataclass(frozen=True, slots=True)
class Segment:
    """So many tokens that see each other causally, behind segment `prefix` if there is one."""

    size: int
    prefix: int | None = None


class Layout:
    """Where the segments of a step stand, and which of them see which."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = list(segments)
        self.sizes = [segment.size for segment in segments]
        behind: dict[int | None, list[int]] = {}
        for place, segment in enumerate(segments):
            behind.setdefault(segment.prefix, []).append(place)
        self._blocks = [_Block(self.sizes, places, prefix) for prefix, places in behind.items()]

    def attend(self, states: Sequence[torch.Tensor], how: attention.How) -> torch.Tensor:
        """Attend to all that each token may see.

        *Shapes:* states (queries, keys, values), each (tokens, heads, head); the result likewise
        """
        queries, keys, values = (each.split(self.sizes) for each in states)
        found: dict[int, torch.Tensor] = {}
        for block in self._blocks:
            found |= zip(block.places, block.attend(queries, keys, values, how), strict=True)
        return torch.cat([found[place] for place in range(len(self.sizes))])

    def visible(self) -> torch.Tensor:
        """The same as a mask, True where a token may look. *Shape:* (1, 1, tokens, tokens)"""
        sizes = torch.tensor(self.sizes)
        own = torch.arange(len(sizes)).repeat_interleave(sizes)
        prefixes = [i if s.prefix is None else s.prefix for i, s in enumerate(self.segments)]
        prefix = torch.tensor(prefixes).repeat_interleave(sizes)
        before = torch.ones(len(own), len(own), dtype=torch.bool).tril()
        seen = ((own[:, None] == own) | (prefix[:, None] == own)) & before
        return seen[None, None]


def segments_of(numbers: Sequence[int], prefixes: Sequence[int], first: int = 0) -> list[Segment]:
    """The segments of tokens that bear the number of their own segment and of its prefix.

    A prefix makes one segment with the document behind it if that is its only one: they see the
    same. `first` is the place of the first of them in a layout.
    """
    runs = [(own, len(list(run))) for own, run in groupby(zip(numbers, prefixes, strict=True))]
    documents = Counter(prefix for (number, prefix), _ in runs if number != prefix)
    found: list[Segment] = []
    places: dict[int, int] = {}
    for (number, prefix), size in runs:
        if number == prefix:
            places[number] = len(found)
            found.append(Segment(size))
        elif documents[prefix] == 1:
            found[places[prefix]] = Segment(found[places[prefix]].size + size)
        else:
            found.append(Segment(size, first + places[prefix]))
    return found


class _Block:
    """Segments behind one prefix, or behind none. R of them, U tokens the longest, P the prefix's.

    Heads that share keys are further queries of theirs: nothing is copied for each head.
    """

    def __init__(self, sizes: Sequence[int], places: Sequence[int], prefix: int | None) -> None:
        self.places = places
        self._prefix = prefix
        self._width = max(sizes[place] for place in places)
        self._before = 0 if prefix is None else sizes[prefix]
        self._fill = [self._width - sizes[place] for place in places]
        # a segment and its padding in turns
        self._ends = [
            n for place, fill in zip(places, self._fill, strict=True) for n in (sizes[place], fill)
        ]
        self._seen: dict[tuple[int | None, int], torch.Tensor] = {}

    def attend(
        self,
        queries: Sequence[torch.Tensor],
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        how: attention.How,
    ) -> tuple[torch.Tensor, ...]:
        """The results of the block's segments. *Shape:* each (its tokens, heads, head)"""
        asked = self._rows(queries)  # (R, heads, U, D)
        behind = [self._behind_prefix(parts) for parts in (keys, values)]  # each (R, K, P + U, D)
        rows, heads, width, size = asked.shape
        shared = behind[0].shape[1]
        grouped = asked.reshape(rows, shared, -1, size)  # (R, K, G U, D)
        seen = self._visible(how.window, heads // shared, asked.device)
        out = attention.attend(grouped, behind[0], behind[1], seen, how)
        # some kernels give their result in another order in memory, which a view cannot take
        packed = out.reshape(rows, heads, width, -1).transpose(1, 2).flatten(0, 1)
        found: tuple[torch.Tensor, ...] = packed.split(self._ends)[::2]
        return found

    def _rows(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Segments as padded rows. *Shape:* (R, heads, U, D)"""
        # Put end to end, not copied in place: the gradient of that is a mere slice.
        zeros = parts[0].new_zeros(max(self._fill), *parts[0].shape[1:])
        pieces = [
            piece
            for place, fill in zip(self.places, self._fill, strict=True)
            for piece in (parts[place], zeros[:fill])
        ]
        rows = torch.cat(pieces).view(len(self.places), self._width, *zeros.shape[1:])
        return rows.transpose(1, 2)

    def _behind_prefix(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        rows = self._rows(parts)
        if self._prefix is None:
            return rows
        shared = parts[self._prefix].transpose(0, 1).expand(len(rows), -1, -1, -1)
        return torch.cat([shared, rows], 2)

    def _visible(self, window: int | None, groups: int, device: torch.device) -> torch.Tensor:
        """What a token may see; padding stands behind all. *Shape:* (G U, P + U)"""
        if (window, groups) not in self._seen:
            places = torch.arange(self._width, device=device)[:, None]
            back = places - torch.arange(-self._before, self._width, device=device)
            seen = back >= 0 if window is None else (back >= 0) & (back < window)
            self._seen[window, groups] = seen.repeat(groups, 1)
        return self._seen[window, groups]


# What a model's layers call -----------------------------------------------------------------------


def is_possible(model: Any) -> bool:
    """Whether a model leaves attention to whom it is told, and has no more to it than a mask."""
    kinds = getattr(model.config, "layer_types", None) or ()
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and set(kinds) <= {"full_attention", "sliding_attention"}
        and not any(name.endswith("sinks") for name, _ in model.named_parameters())
    )


_SELECTIVE = ("s_aux", "indices", "block_indices")  # what such layers hand to attention


def _grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    softcap: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer over a step. *Shapes:* (1, heads, tokens, head) in, heads third out

    Raises ModelError for layers that decide themselves what is seen.
    """
    masked = attention_mask is not None and attention_mask.numel() > 1
    if masked or any(more.get(name) is not None for name in _SELECTIVE):
        raise ModelError(
            f"{type(module).__name__} decides for itself what each token sees, which training "
            "cannot do for many documents at once",
            "train a model of another architecture",
        )
    states = [each[0].transpose(0, 1) for each in (query, key, value)]
    window = attention.layer_window(module.config, module.layer_idx)
    how = attention.How(scaling or query.shape[-1] ** -0.5, window, softcap)
    return layout.attend(states, how)[None], None


AttentionInterface.register(GROUPED, _grouped_attention)
