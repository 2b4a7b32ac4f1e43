"""A small part of a data set that covers its types with texts that differ in meaning.

Types are served from the rarest to the commonest. Each takes documents until `per_type` of those
kept have it, always the one that is least like anything kept in its set; documents without
entities are a type of their own. How alike two texts are is the cosine of their vectors: the
mean of a model's last hidden states (`by_meaning`), or counts of words and of pairs of Han
characters, which needs no model and sees no meaning. Only which text is least alike counts, so
that all vectors of a model have much in common does no harm.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import torch

from b2ner_cli.datasets.sampling import only
from b2ner_cli.datasets.splits import OnBad, Split, digest
from b2ner_cli.datasets.writing import SplitContent
from b2ner_cli.formats.conll import tokenize

WIDTH = 1024  # of a vector of words
NONE = ""  # the type of documents without entities

Embed = Callable[[Sequence[str]], torch.Tensor]  # texts to (texts, width), in float32


def prune(
    found: Iterable[Split],
    per_type: int,
    embed: Embed,
    on_bad: OnBad,
    show: Callable[[str], None] = lambda line: None,
) -> Iterator[SplitContent]:
    """Keep documents of each split; they come in their order in the file."""
    for split in found:
        types = [
            frozenset(m.label for m in document.mentions or ()) or frozenset([NONE])
            for document in split.readable(on_bad)
        ]
        if not types:
            yield split, iter(())
            continue
        vectors = vectorise((document.text for document in split.readable()), embed)
        kept = choose(types, vectors, per_type)
        show(f"{split.key} {split.name}: {len(kept):,} of {len(types):,} documents kept")
        yield split, only(split, set(kept))


def vectorise(texts: Iterable[str], embed: Embed, batch: int = 512) -> torch.Tensor:
    """Vectors of length one (texts, width)."""
    left, parts = iter(texts), []
    while some := list(islice(left, batch)):
        parts.append(embed(some))
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)


def choose(types: Sequence[frozenset[str]], vectors: torch.Tensor, per_type: int) -> list[int]:
    """Choose documents by their numbers, greedily; the same ones each time."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for number, held in enumerate(types):
        for name in held:
            holders[name].append(number)
    have: Counter[str] = Counter()
    kept: dict[int, None] = {}
    nearest = torch.full((len(types),), -2.0)  # the highest cosine to anything kept
    for name in sorted(holders, key=lambda each: (len(holders[each]), each)):
        rows = torch.tensor([row for row in holders[name] if row not in kept])
        while have[name] < per_type and len(rows):
            at = int(torch.argmin(nearest[rows]))
            row = int(rows[at])
            kept[row] = None
            have.update(types[row])
            rows = torch.cat([rows[:at], rows[at + 1 :]])
            nearest = torch.maximum(nearest, vectors @ vectors[row])
    return sorted(kept)


def by_words(texts: Sequence[str]) -> torch.Tensor:
    """Vectors of counts of words, hashed; Han characters count in pairs. Common ones count less."""
    vectors = torch.zeros(len(texts), WIDTH)
    for row, text in enumerate(texts):
        slots = array("q", (digest(word) % WIDTH for word in _words(text)))
        for slot, times in Counter(slots).items():
            vectors[row, slot] = 1 + math.log(times)
    return vectors


def _words(text: str) -> Iterator[str]:
    tokens = [text[start:end].casefold() for start, end in tokenize(text, "auto")]
    yield from tokens
    for one, two in pairwise(tokens):
        if len(one) == len(two) == 1 and not one.isascii():
            yield one + two


def by_meaning(backbone: Any, batch_tokens: int = 4096, max_tokens: int = 512) -> Embed:
    """Vectors from a loaded model: the mean of its last hidden states over a text's tokens.

    Texts are cut at `max_tokens` tokens; rows of like length share a batch.
    """

    def embed(texts: Sequence[str]) -> torch.Tensor:
        tokenizer = backbone.tokenizer
        most = min(max_tokens, backbone.context) - len(tokenizer.bos)
        ids = [[*tokenizer.bos, *own[:most]] for own in tokenizer.encode(texts)]
        order = sorted(range(len(texts)), key=lambda row: -len(ids[row]))
        made: dict[int, torch.Tensor] = {}
        while order:
            width = max(len(ids[order[0]]), 1)
            count = max(1, batch_tokens // width)
            rows, order = order[:count], order[count:]
            made.update(zip(rows, _states(backbone, [ids[row] for row in rows]), strict=True))
        return torch.stack([made[row] for row in range(len(texts))])

    return embed


def _states(backbone: Any, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Mean last hidden states (rows, width) of rows of ids, padded on the right."""
    width = max(1, *map(len, ids))
    pad = backbone.tokenizer.pad
    tokens = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    with torch.inference_mode():
        states = backbone.model.base_model(
            input_ids=tokens.to(backbone.device), attention_mask=mask.to(backbone.device)
        ).last_hidden_state
    weights = mask[:, :, None].to(states.device)
    means = (states.float() * weights).sum(1) / weights.sum(1).clamp(min=1)
    return means.cpu().clone()
