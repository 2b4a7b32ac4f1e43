"""Search the taxonomy by meaning: which labels a model takes for the same as a description.

A model that reads `The words "music band" mean in one word: "` holds, at its last token, what it
would say next; labels whose state there points the same way mean the same to it. The mean of all
labels is taken off first, as it says only that something is a label. One short prompt a label:
seconds on a CPU with `mini`. Ask a model without its adapter: training to tag takes away from what
it knows of other words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from b2ner_cli.labels.taxonomy import TaxonomyLabel
from b2ner_cli.models.loading import Backbone

_PROMPT = 'The words "{}" mean in one word: "'
_ROWS = 64  # prompts at once


def search(
    query: str, known: Sequence[TaxonomyLabel], most: int, backbone: Backbone
) -> list[tuple[TaxonomyLabel, float]]:
    """The entries nearest to a query, best first, each with its cosine."""
    if not known:
        return []
    # A name that languages share is asked about once.
    labels = list(dict.fromkeys(entry.label for entry in known))
    states = _states([query, *labels], backbone)
    centred = torch.nn.functional.normalize(states - states[1:].mean(0), dim=-1)
    near = dict(zip(labels, (centred[1:] @ centred[0]).tolist(), strict=True))
    ranked = sorted(known, key=lambda entry: (-near[entry.label], entry.language, entry.label))
    return [(entry, round(near[entry.label], 4)) for entry in ranked[:most]]


def _states(texts: Sequence[str], backbone: Backbone) -> torch.Tensor:
    """The last state of each text's prompt, in the order of the texts."""
    tokenizer = backbone.tokenizer
    prompts = tokenizer.encode([_PROMPT.format(text) for text in texts])
    rows = [[*tokenizer.bos, *prompt] for prompt in prompts]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    states: dict[int, torch.Tensor] = {}
    for batch in _batches(order):
        states |= zip(batch, _last_states([rows[row] for row in batch], backbone), strict=True)
    return torch.stack([states[row] for row in range(len(rows))])


def _batches(order: Sequence[int]) -> Iterator[Sequence[int]]:
    return (order[start : start + _ROWS] for start in range(0, len(order), _ROWS))


def _last_states(rows: Sequence[Sequence[int]], backbone: Backbone) -> torch.Tensor:
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=backbone.device)
    lengths = torch.tensor([len(row) for row in rows], device=backbone.device)
    mask = (torch.arange(width, device=backbone.device) < lengths[:, None]).long()
    # The decoder alone: nobody needs the scores of the whole vocabulary at every token.
    with torch.inference_mode():
        decoder = backbone.model.get_decoder()
        hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    last: torch.Tensor = hidden[torch.arange(len(rows), device=backbone.device), lengths - 1]
    return last.float().cpu()
