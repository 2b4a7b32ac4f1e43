"""From the tokens of an answer to a completion: its text, and where in it each token ends."""

from __future__ import annotations

from collections.abc import Sequence

from b2ner_cli.core.engine import Completion, Stop
from b2ner_cli.models.tokenizer import Tokenizer


class Detokenizer:
    """Spells answer tokens; remembers how many characters each token is."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # A token in front keeps decoders from dropping an answer's leading space.
        self._anchor = tokenizer.encode([":"])[0]
        self._anchor_length = len(tokenizer.decode(self._anchor))
        self._lengths: dict[int, int] = {}

    def completion(
        self, ids: Sequence[int], logprobs: Sequence[float], stop: Stop, prompt_tokens: int
    ) -> Completion:
        """The completion that answer `ids` (end-of-sequence not among them) stand for."""
        text = self._text(ids)
        ends, end = [], 0
        for token in ids:
            end += self._length(token)
            ends.append(end)
        if end != len(text):  # characters spelled by several byte tokens: measure prefix by prefix
            ends = [len(self._text(ids[: i + 1])) for i in range(len(ids))]
            # Half a character may be spelled longer than the whole: it ends where that does.
            for i in range(len(ends) - 1, 0, -1):
                ends[i - 1] = min(ends[i - 1], ends[i])
        # Unpaired surrogates cannot come from a tokenizer's decoder, but must never reach a file.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return Completion(text, tuple(logprobs), tuple(ends), stop, prompt_tokens)

    def _length(self, token: int) -> int:
        length = self._lengths.get(token)
        if length is None:
            length = self._lengths[token] = len(self._text([token]))
        return length

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode([*self._anchor, *ids])[self._anchor_length :]
