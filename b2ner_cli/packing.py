"""Groups of documents as tensors: rows that share a prefix, and the loss on their answers.

    row    prefix | document 1, answer 1 | document 2, answer 2 | ...
    sees   itself | prefix and itself     | prefix and itself     | ...

A document's positions go on from the prefix, as if it stood alone behind it, so a row gives
exactly the loss and gradients of its documents one by one, at the cost of one prefix. Prompt and
answer are token lists put end to end: which positions carry loss is known by construction.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from b2ner_cli import attention, corpus, prompts
from b2ner_cli.backbone import Tokenizer


@dataclass(frozen=True, slots=True)
class Row:
    """One group as token ids. *Shapes:* (row,), but sources and targets (answer tokens,).

    `segments` is 0 for the prefix and k for document k. The hidden state at `sources[i]` has to
    predict `targets[i]`.
    """

    ids: list[int]
    positions: list[int]
    segments: list[int]
    sources: list[int]
    targets: list[int]

    @property
    def documents(self) -> int:
        return max(self.segments, default=0)

    @property
    def longest(self) -> int:
        """Tokens of the longest document, without prefix and answer."""
        prefix, lengths = self.segments.count(0), dict[int, int]()
        for source in self.sources:  # the first source of a document is its last token
            lengths.setdefault(self.segments[source], self.positions[source] - prefix + 1)
        return max(lengths.values(), default=0)


def pack(group: corpus.Group, tokenizer: Tokenizer, max_tokens: int) -> Row:
    """Lay a group out as a row; documents over `max_tokens` with prompt and answer are left out."""
    asked = [prompts.render(group.labels, text, group.language) for text in group.texts]
    said = [prompts.answer(mentions) for mentions in group.targets]
    encoded = tokenizer.encode([*(p.own for p in asked), *said], continued=True)
    prefix = [*tokenizer.bos, *tokenizer.encode([asked[0].prefix])[0]]
    row = Row(list(prefix), list(range(len(prefix))), [0] * len(prefix), [], [])
    pairs = zip(encoded[: len(asked)], encoded[len(asked) :], strict=True)
    for own, answer in pairs:
        target = [*answer, tokenizer.eos]
        if len(prefix) + len(own) + len(target) > max_tokens:
            continue
        start = len(row.ids)
        segment = row.documents + 1
        tokens = own + target[:-1]
        row.ids.extend(tokens)
        row.positions.extend(range(len(prefix), len(prefix) + len(tokens)))
        row.segments.extend([segment] * len(tokens))
        row.sources.extend(range(start + len(own) - 1, start + len(tokens)))
        row.targets.extend(target)
    return row


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which groups make which step, the same for the same seed, so that any step can be resumed."""

    picks: Sequence[corpus.Pick]
    batch: int
    group: int
    asking: corpus.Asking
    epochs: float
    seed: int

    @property
    def steps(self) -> int:
        return max(1, round(self._steps_per_epoch() * self.epochs))

    @property
    def documents(self) -> int:
        return round(sum(len(pick.documents) for pick in self.picks) * self.epochs)

    def batches(self, start: int = 0) -> Iterator[tuple[int, list[corpus.Group]]]:
        """Yield (step, its groups) from step `start` on."""
        per_epoch = self._steps_per_epoch()
        for epoch in range(start // per_epoch, -(-self.steps // per_epoch)):
            for index, groups in enumerate(self._epoch(epoch)):
                step = epoch * per_epoch + index
                if start <= step < self.steps:
                    yield step, groups

    def _epoch(self, epoch: int) -> list[list[corpus.Group]]:
        groups = list(corpus.group(self.picks, self.group, self.asking, f"{self.seed}/{epoch}"))
        rng = random.Random(f"order/{self.seed}/{epoch}")
        size = self.batch // self.group
        batches = []
        for begin in range(0, len(groups), size * 8):
            window = sorted(groups[begin : begin + size * 8], key=_width)
            near = [window[i : i + size] for i in range(0, len(window), size)]
            rng.shuffle(near)
            batches += near
        return batches

    def _steps_per_epoch(self) -> int:
        together = (documents for pick in self.picks for documents in corpus.by_labels(pick))
        groups = sum(-(-len(documents) // self.group) for documents in together)
        size = self.batch // self.group
        full, rest = divmod(groups, size * 8)
        return full * 8 + -(-rest // size)


def _width(group: corpus.Group) -> int:
    """Rows are padded to the longest of a step: UTF-8 bytes stand for tokens well enough."""
    return sum(len(text.encode()) for text in group.texts) + 4 * len(", ".join(group.labels.names))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as tensors. *Shapes:* ids, positions (rows, width); visible (rows, 1, width, width);
    sources (answer tokens, 2) as (row, position); targets (answer tokens,).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    sources: torch.Tensor
    targets: torch.Tensor


def collate(rows: Sequence[Row], pad: int, device: torch.device) -> Batch:
    """Stack rows, padded on the right, where no token before the padding looks."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    segments = torch.full((len(rows), width), -1)
    sources, targets = [], []
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids)
        positions[index, :length] = torch.tensor(row.positions)
        segments[index, :length] = torch.tensor(row.segments)
        sources += [(index, source) for source in row.sources]
        targets += row.targets
    query, key = segments[:, :, None], segments[:, None, :]
    before = torch.ones(width, width, dtype=torch.bool).tril()
    visible = ((key == 0) | (key == query)) & before
    return Batch(
        ids.to(device),
        positions.to(device),
        visible[:, None].to(device),
        torch.tensor(sources, device=device),
        torch.tensor(targets, device=device),
    )


class AnswerLoss(nn.Module):  # type: ignore[misc]
    """A causal LM with its training loss: mean cross-entropy of the answer tokens.

    The output head is evaluated at answer positions only. With `candidates` > 0 it is evaluated
    on the batch's own tokens and that many random vocabulary entries; the random ones stand for
    all the rest, each counted as often as it was unlikely to be drawn, which estimates the full
    softmax without bias in its denominator.
    """

    def __init__(self, network: Any, candidates: int) -> None:
        super().__init__()
        self.network = network
        self.candidates = candidates

    def forward(self, batch: Batch, seed: int) -> torch.Tensor:
        causal = self.network.get_base_model()
        hidden = getattr(causal, causal.base_model_prefix)(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=_masks(causal.config, batch),
            use_cache=False,
        ).last_hidden_state
        states = hidden[batch.sources[:, 0], batch.sources[:, 1]]
        head = causal.get_output_embeddings().weight
        if not self.candidates or self.candidates >= head.shape[0]:
            return nn.functional.cross_entropy(_cap(causal, states @ head.T).float(), batch.targets)
        own = torch.unique(torch.cat([batch.ids.flatten(), batch.targets]))
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(head.shape[0], (self.candidates,), generator=generator)
        drawn = torch.unique(drawn).to(own.device)
        drawn = drawn[~torch.isin(drawn, own)]
        scores = _cap(causal, states @ head[torch.cat([own, drawn])].T).float()
        weight = (head.shape[0] - len(own)) / max(1, len(drawn))
        scores[:, len(own) :] += torch.tensor(weight).log()
        return nn.functional.cross_entropy(scores, torch.searchsorted(own, batch.targets))


def _masks(config: Any, batch: Batch) -> Any:
    distance = batch.positions[:, None, :, None] - batch.positions[:, None, None, :]
    return attention.masks(config, batch.visible, distance)


def _cap(causal: Any, scores: torch.Tensor) -> torch.Tensor:
    cap = getattr(causal.config, "final_logit_softcapping", None)
    return torch.tanh(scores / cap) * cap if cap else scores
