"""The next token of each row of a batch: the most likely of all, or of those a grammar allows.

Both answer the same questions of an engine: which token comes next in each row, whether the
row's answer ends with it, and how long that answer is. With a grammar the output head is
evaluated on the tokens that can come up in the batch alone, a small part of a large vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from b2ner_cli.engine.grammar import AnswerGrammar, LabelGrammar, Progress


class Chooser(Protocol):
    """Chooses the tokens of the rows of one batch."""

    def best(self, hidden: torch.Tensor, rows: Sequence[int]) -> tuple[list[int], list[float]]:
        """The next token of each of `rows` and its log-probability. *Shape:* (rows, hidden)"""

    def ends(self, row: int, token: int) -> bool:
        """Go on with a token; True if the row's answer is at its end, the token not part of it."""

    def length(self, row: int, said: int) -> int:
        """How many of the tokens said are the row's answer."""


class Free:
    """Any token may come next, as in `generate`."""

    def __init__(self, model: Any, stops: Sequence[int]) -> None:
        self._model = model
        self._stops = frozenset(stops)

    def best(self, hidden: torch.Tensor, rows: Sequence[int]) -> tuple[list[int], list[float]]:
        """The most likely tokens of the whole vocabulary."""
        logits = _capped(self._model, self._model.get_output_embeddings()(hidden)).float()
        best, tokens = logits.max(-1)
        return tokens.tolist(), (best - logits.logsumexp(-1)).tolist()

    def ends(self, row: int, token: int) -> bool:
        """An answer ends at an end-of-sequence token."""
        return token in self._stops

    def length(self, row: int, said: int) -> int:
        """All of them."""
        return said


class Constrained:
    """Only tokens that the answer grammar allows; probabilities are among those alone."""

    def __init__(self, model: Any, labels: LabelGrammar, texts: Sequence[str]) -> None:
        self._model = model
        grammars = [AnswerGrammar(labels, text) for text in texts]
        self._answers = [Progress(grammar) for grammar in grammars]
        self._tokens = sorted(set().union(*(grammar.tokens() for grammar in grammars)))
        self._columns = {token: column for column, token in enumerate(self._tokens)}
        head = model.get_output_embeddings()
        chosen = torch.tensor(self._tokens, device=head.weight.device)
        self._weight = head.weight[chosen]
        self._bias = None if head.bias is None else head.bias[chosen]

    def best(self, hidden: torch.Tensor, rows: Sequence[int]) -> tuple[list[int], list[float]]:
        """The most likely of the tokens that each row's grammar allows."""
        logits = torch.nn.functional.linear(hidden, self._weight, self._bias)
        logits = _capped(self._model, logits).float()
        forbidden = torch.full(logits.shape, -torch.inf)
        for place, row in enumerate(rows):
            allowed = [self._columns[token] for token in self._answers[row].allowed()]
            forbidden[place, allowed] = 0.0
        logits += forbidden.to(logits.device)
        best, columns = logits.max(-1)
        logprobs = (best - logits.logsumexp(-1)).tolist()
        return [self._tokens[column] for column in columns.tolist()], logprobs

    def ends(self, row: int, token: int) -> bool:
        """An answer ends at end-of-sequence, or where it begins to repeat itself."""
        return self._answers[row].ends(token)

    def length(self, row: int, said: int) -> int:
        """The tokens up to the last pair that is no repetition."""
        return self._answers[row].length


def _capped(model: Any, logits: torch.Tensor) -> torch.Tensor:
    """Logits after the soft cap that some models put on them."""
    cap = getattr(model.config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
