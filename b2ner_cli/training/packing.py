"""Groups of documents as tensors: rows that share prefixes, and the loss on their answers.

    row    prefix | document 1, answer 1 | document 2, answer 2 | other prefix | document 3, ...
    sees   itself | prefix and itself    | prefix and itself    | itself       | its prefix, ...

A document's positions go on from its prefix, as if it stood alone behind it, so a row gives
exactly the loss and gradients of its documents one by one, at the cost of one prefix a group.
Prompt and answer are token lists put end to end: which positions carry loss is known by
construction.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import torch
from torch import nn

from b2ner_cli.models import attention
from b2ner_cli.models.output_head import logits_of
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.prompts import rendering
from b2ner_cli.training import attention as training_attention
from b2ner_cli.training import groups
from b2ner_cli.training.attention import Layout, Segment, segments_of
from b2ner_cli.training.augmentation import Augmentation
from b2ner_cli.training.groups import Group, PromptChoices
from b2ner_cli.training.recipes import Recipe
from b2ner_cli.training.selection import Selection

Bundle = tuple[Group, ...]

_REPLAYED = Augmentation(subset=0.3, rename=0.3)  # as the shipped adapter met these documents


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Groups as token ids. *Shapes:* (row,), but sources and targets (answer tokens,).

    Prefixes and documents are numbered as they come: `segments` names the one a token is of,
    `prefixes` the prefix that it belongs to, itself for a prefix. The hidden state at
    `sources[i]` has to predict `targets[i]`.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    prefixes: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    @property
    def documents(self) -> int:
        return len({self.segments[source] for source in self.sources})

    @property
    def longest(self) -> int:
        """Tokens of the longest document, without prefix and answer."""
        first: dict[int, int] = {}
        for source in self.sources:  # the first source of a document is its last token
            first.setdefault(self.segments[source], source)
        return max((end + 1 - self.segments.index(s) for s, end in first.items()), default=0)

    def append(self, ids: list[int], position: int, prefix: int | None) -> int:
        """Add a segment that begins at `position`, behind `prefix`; gives its number."""
        segment = self.segments[-1] + 1 if self.segments else 0
        self.ids.extend(ids)
        self.positions.extend(range(position, position + len(ids)))
        self.segments.extend([segment] * len(ids))
        self.prefixes.extend([segment if prefix is None else prefix] * len(ids))
        return segment


def pack(bundle: Sequence[Group], tokenizer: Tokenizer, max_tokens: int) -> PackedRow:
    """Lay groups out as a row; documents over `max_tokens` with prompt and answer are left out."""
    row = PackedRow()
    for group in bundle:
        _add(row, group, tokenizer, max_tokens)
    return row


def _add(row: PackedRow, group: Group, tokenizer: Tokenizer, max_tokens: int) -> None:
    labels, language, form = group.labels, group.language, group.form
    asked = [rendering.own(labels, text, language, form) for text in group.texts]
    said = [rendering.answer(mentions, form.task) for mentions in group.targets]
    encoded = tokenizer.encode([*asked, *said], continued=True)
    longest = max(map(len, encoded[: len(asked)])) + max(map(len, encoded[len(asked) :])) + 1
    prefix = _prefix(group, tokenizer, max_tokens - longest)
    shared = row.append(prefix, 0, None)
    pairs = zip(encoded[: len(asked)], encoded[len(asked) :], strict=True)
    for own, answer in pairs:
        target = [*answer, tokenizer.eos]
        if len(prefix) + len(own) + len(target) > max_tokens:
            continue
        start = len(row.ids) + len(own) - 1
        row.append(own + target[:-1], len(prefix), shared)
        row.sources.extend(range(start, start + len(target)))
        row.targets.extend(target)


def _prefix(group: Group, tokenizer: Tokenizer, room: int) -> list[int]:
    """The ids of a group's prefix, with as many of its examples as there is room for."""
    form = group.form
    while True:
        text = rendering.prefix(group.labels, group.language, form)
        ids = [*tokenizer.bos, *tokenizer.encode([text])[0]]
        if len(ids) <= room or not form.examples:
            return ids
        form = replace(form, examples=form.examples[:-1])


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which groups make which step, the same for the same seed, so that any step can be resumed.

    Groups of like length stand in one step, and label lists are drawn anew for each epoch, as the
    recipe says. `replayed` are gone through beside the others, each epoch where the last one ended.
    """

    selections: Sequence[Selection]
    recipe: Recipe
    choices: PromptChoices
    replayed: Sequence[Selection] = ()

    @property
    def steps(self) -> int:
        return max(1, self._asked_steps(), self.recipe.min_steps)

    @property
    def epoch_ends(self) -> frozenset[int]:
        """The steps after which an epoch is done, the last one whatever it ends.

        Where `min_steps` makes many of few epochs, steps as if there were no more than `epochs`.
        """
        span = self._steps_per_epoch()
        if self.steps > self._asked_steps():
            span = -(-self.steps // max(1, round(self.recipe.epochs)))
        return frozenset(range(span, self.steps, span)) | {self.steps}

    @property
    def epochs(self) -> float:
        """How often each document is trained on, replayed ones aside."""
        return self.steps / self._steps_per_epoch()

    def _asked_steps(self) -> int:
        return round(self._steps_per_epoch() * self.recipe.epochs)

    def batches(self, start: int = 0) -> Iterator[tuple[int, list[Bundle]]]:
        """Yield (step, its bundles, a row each) from step `start` on."""
        per_epoch = self._steps_per_epoch()
        for epoch in range(start // per_epoch, -(-self.steps // per_epoch)):
            for index, bundles in enumerate(self._epoch(epoch)):
                step = epoch * per_epoch + index
                if start <= step < self.steps:
                    yield step, bundles

    def _epoch(self, epoch: int) -> list[list[Bundle]]:
        recipe, asked = self.recipe, self.recipe.experiments
        draw = f"{recipe.seed}/{epoch if asked.resample_each_epoch else 0}"
        bundles = list(groups.bundles(self.selections, recipe.group, self.choices, draw))
        bundles += self._replay(epoch)
        rng = random.Random(f"order/{recipe.seed}/{epoch}")
        if self.replayed or not asked.resample_each_epoch:
            rng.shuffle(bundles)
        size, window = recipe.batch // recipe.group, asked.length_bucket_window
        batches = []
        for begin in range(0, len(bundles), size * max(1, window)):
            near = bundles[begin : begin + size * max(1, window)]
            if window:
                near.sort(key=_width)
            steps = [near[i : i + size] for i in range(0, len(near), size)]
            if window:
                rng.shuffle(steps)
            batches += steps
        return batches

    def _replay(self, epoch: int) -> Iterator[Bundle]:
        """The bundles that an epoch replays."""
        size = self._replayed_per_epoch()
        if not size:
            return
        choices = replace(self.choices, augmentation=_REPLAYED, few_shot=groups.NO_EXAMPLES)
        lap = sum(groups.count_bundles(each, self.recipe.group) for each in self.replayed)
        begin, skipped = divmod(epoch * size, lap)
        drawn = (
            bundle
            for turn in count(begin)
            for bundle in groups.bundles(
                self.replayed, self.recipe.group, choices, f"replay/{self.recipe.seed}/{turn}"
            )
        )
        for bundle in islice(drawn, skipped, skipped + size):
            yield tuple(replace(group, replayed=True) for group in bundle)

    def _replayed_per_epoch(self) -> int:
        return round(self._bundles() * self.recipe.replay) if self.replayed else 0

    def _bundles(self) -> int:
        return sum(groups.count_bundles(each, self.recipe.group) for each in self.selections)

    def _steps_per_epoch(self) -> int:
        bundles = self._bundles() + self._replayed_per_epoch()
        return -(-bundles // (self.recipe.batch // self.recipe.group))


def _width(bundle: Bundle) -> int:
    """How long a row is: UTF-8 bytes stand for tokens well enough."""
    return sum(
        sum(len(text.encode()) for text in group.texts) + 4 * len(", ".join(group.labels.names))
        for group in bundle
    )


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A number of rows as tensors, one behind the other.

    *Shapes:* ids, positions (1, tokens); sources, targets (answer tokens,); weights (answer
    tokens,), the share of each in the step's loss; vocabulary (tokens,), those that occur in the
    step, sorted.
    """

    rows: int
    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    sources: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    vocabulary: torch.Tensor


def collate(
    rows: Sequence[PackedRow],
    device: torch.device,
    step: Sequence[PackedRow] = (),
    shares: Sequence[float] = (),
) -> PackedBatch:
    """Put rows one behind the other; none sees another.

    `step` are all rows of the step where these are a part of it, `shares` what each answer token
    of a row counts; by default all of the step count the same.
    """
    alike = 1 / max(1, sum(len(row.targets) for row in step or rows))
    counts = torch.tensor([len(row.targets) for row in rows])
    weights = torch.tensor(shares or [alike] * len(rows)).repeat_interleave(counts)
    sources, segments, begin = list[int](), list[Segment](), 0
    for row in rows:
        sources += [begin + source for source in row.sources]
        segments += segments_of(row.segments, row.prefixes, len(segments))
        begin += len(row.ids)
    used = {token for row in step or rows for token in (*row.ids, *row.targets)}

    def tensor(numbers: Iterable[int]) -> torch.Tensor:
        return torch.tensor(list(numbers), device=device)

    return PackedBatch(
        len(rows),
        tensor(token for row in rows for token in row.ids)[None],
        tensor(position for row in rows for position in row.positions)[None],
        Layout(segments),
        tensor(sources),
        tensor(target for row in rows for target in row.targets),
        weights.to(device),
        tensor(sorted(used)),
    )


class AnswerLoss(nn.Module):  # type: ignore[misc]
    """A causal LM with its training loss: cross-entropy of the answer tokens, by their weights.

    Logits are computed at answer positions only. With `sampled_softmax` > 0 they are those of the
    step's own tokens and that many random vocabulary entries; the random ones stand for all the
    rest, each counted as often as it was unlikely to be drawn, which estimates the full softmax
    without bias in its denominator. What of this a model allows, `self_check.check` finds out.
    """

    def __init__(self, network: Any, sampled_softmax: int) -> None:
        super().__init__()
        self.network = network
        self.sampled_softmax = sampled_softmax
        causal = network.get_base_model()
        self.stock_attention = causal.config._attn_implementation
        self.grouped = training_attention.is_possible(causal)
        if self.grouped:  # for good: layers that are computed again ask for it once more
            causal.config._attn_implementation = training_attention.GROUPED

    def use_masks(self) -> None:
        """Leave attention to the model's own, under one large mask."""
        self.grouped = False
        self.network.get_base_model().config._attn_implementation = self.stock_attention

    def forward(self, batch: PackedBatch, seed: int) -> torch.Tensor:
        causal = self.network.get_base_model()
        asked = {
            "input_ids": batch.ids,
            "position_ids": batch.positions,
            "use_cache": False,
            **self._seen(causal.config, batch),
        }
        size = causal.get_output_embeddings().weight.shape[0]
        if not self.sampled_softmax or self.sampled_softmax >= size:
            scores = causal(**asked, logits_to_keep=batch.sources).logits[0].float()
            return _weighed(scores, batch.targets, batch.weights)
        hidden = getattr(causal, causal.base_model_prefix)(**asked).last_hidden_state
        own = batch.vocabulary
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(size, (self.sampled_softmax,), generator=generator)
        drawn = torch.unique(drawn).to(own.device)
        drawn = drawn[~torch.isin(drawn, own)]
        scores = logits_of(causal, hidden[0, batch.sources], torch.cat([own, drawn]))
        weight = (size - len(own)) / max(1, len(drawn))
        scores[:, len(own) :] += torch.tensor(weight).log()
        return _weighed(scores, torch.searchsorted(own, batch.targets), batch.weights)

    def _seen(self, config: Any, batch: PackedBatch) -> dict[str, Any]:
        """What tells the layers which tokens see which: the layout, or else masks made of it."""
        if self.grouped:
            every = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=batch.ids.device)
            masks = attention.masks(config, every, torch.zeros_like(every))
            return {"attention_mask": masks, "layout": batch.layout}
        distance = torch.zeros((), device=batch.ids.device)
        if attention.window(config) is not None:
            distance = batch.positions[:, None, :, None] - batch.positions[:, None, None, :]
        visible = batch.layout.visible().to(batch.ids.device)
        return {"attention_mask": attention.masks(config, visible, distance)}


def _weighed(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    # a sum of products, as autocast would take `@` in bfloat16
    return (nn.functional.cross_entropy(scores, targets, reduction="none") * weights).sum()
