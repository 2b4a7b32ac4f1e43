"""Guesses at the next tokens of an answer, for the model to check: several at the price of one.

Answers quote their document and repeat labels, so the tokens that followed the last two in the
document, earlier in the answer, or in an answer before, are often right. A guess never changes an
answer: a step computes what the model says after each guessed token, and all from the first wrong
one on is thrown away. With few answers under way a step takes hardly longer for it; with many it
would. Knows token numbers, no tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_DRAFT = 6  # tokens guessed at once
_REMEMBERED = 20_000  # pairs of tokens
_LEAST = 0.15  # share of guesses that must be right for guessing to go on
_TRIED = 24  # guesses after which that is looked at
_PAUSE = 100  # steps without guessing where it was not

Bigram = tuple[int, int]
_START = -1  # stands before an answer's first token


@dataclass(slots=True)
class Drafter:
    """What followed which two tokens in answers before, and how well its guesses did."""

    _followers: OrderedDict[Bigram, tuple[int, ...]] = field(default_factory=OrderedDict)
    _guessed: int = 0
    _right: int = 0
    _paused: int = 0

    def learn(self, output_ids: Sequence[int]) -> None:
        """Remember a finished answer."""
        tokens = [_START, *output_ids]
        for place in range(2, len(tokens)):
            pair = (tokens[place - 2], tokens[place - 1])
            self._followers[pair] = tuple(tokens[place : place + MAX_DRAFT])
            self._followers.move_to_end(pair)
        while len(self._followers) > _REMEMBERED:
            self._followers.popitem(last=False)

    def guess(self, prompt_ids: Sequence[int], output_ids: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow an answer so far to a prompt's own tokens."""
        if not output_ids or most < 1:
            return []
        before = output_ids[-2] if len(output_ids) > 1 else _START
        following = (
            _after(prompt_ids, before, output_ids[-1])
            or _after(output_ids, before, output_ids[-1])
            or self._followers.get((before, output_ids[-1]))
            or _after(prompt_ids, None, output_ids[-1])
        )
        return list(following[:most])

    def active(self) -> bool:
        """Whether guessing is worth it now; to be asked once a step."""
        if self._paused:
            self._paused -= 1
        return not self._paused

    def note(self, guessed: int, right: int) -> None:
        """Count guessed tokens and those that were right; stop for a while if few were."""
        self._guessed += guessed
        self._right += right
        if self._guessed >= _TRIED:
            if self._right < _LEAST * self._guessed:
                self._paused = _PAUSE
            self._guessed = self._right = 0


def _after(ids: Sequence[int], before: int | None, token: int) -> Sequence[int]:
    """What followed a token, after `before` if that is given, the last time but the very end."""
    for place in range(len(ids) - 2, -1, -1):
        if ids[place] == token and (before is None or (place and ids[place - 1] == before)):
            return ids[place + 1 : place + 1 + MAX_DRAFT]
    return ()


def draft_budget(device: str, light: bool) -> tuple[int, str]:
    """How many tokens a step may hold and still cost hardly more than one, and why.

    `light` is a head of which not all weights are read.

    Not measured at start-up: scores depend on a step's tokens in their last bits, and a run that
    resumes has to end with the same bytes.
    """
    if device.startswith("cuda"):
        return 128, "a card reads its weights once for all"
    if light:
        return 5, "5 take a CPU 1.4 times as long as one"
    return 2, "2 take a CPU no longer than one; of more the output head does"
