"""Prompts that wait for an answer, and answers under way: rows of the packed engine's steps.

A row may have to give up its positions before its answer ends; it waits then as a request that
goes on behind what was said. Knows tokens, no tensors but those of its prefix.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine.drafting import Drafter
from b2ner_cli.engine.grammar import Progress
from b2ner_cli.engine.kv_cache import Prefix


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt that waits. Where its answer was begun already, it goes on behind what was said."""

    index: int
    prefix: tuple[int, ...]
    own: list[int]
    prompt: Prompt
    said: Sequence[int] = ()
    sure: Sequence[float] = ()
    progress: Progress | None = None

    @property
    def width(self) -> int:
        return len(self.prefix) + len(self.own)

    @property
    def size(self) -> int:
        """Tokens that its first step computes."""
        return len(self.own) + len(self.said)


@dataclass(slots=True, eq=False)
class Row:
    """An answer under way. `progress` is its place in the grammar, None where it is free."""

    request: Request
    prefix: Prefix
    room: int
    progress: Progress | None
    said: list[int] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)  # tokens that may follow, to be checked
    stored: bool = False  # whether it has begun

    @property
    def tokens(self) -> list[int]:
        """What the next step computes: a prompt's own tokens, later the last said and a draft."""
        if self.stored:
            return [self.said[-1], *self.draft]
        return [*self.request.own, *self.said] if self.said else self.request.own

    @property
    def length(self) -> int:
        """Positions it has in the store: all that was said but the last token, which comes next."""
        return len(self.request.own) + len(self.said) - 1 if self.stored else 0

    def waiting(self) -> Request:
        """What is left to ask when the row gives up its positions."""
        return replace(self.request, said=self.said, sure=self.sure, progress=self.progress)

    def guess(self, drafter: Drafter, most: int) -> None:
        """Draft up to `most` tokens, of those that the grammar allows."""
        room = min(most, self.room - len(self.said) - 1)
        self.draft = drafter.guess(self.request.own, self.said, room)
        if self.progress is not None:
            del self.draft[len(self.progress.follow(self.draft)) - 1 :]

    def take_all(
        self, tokens: Sequence[int], logprobs: Sequence[float], stops: Collection[int]
    ) -> str | None:
        """Go on with what the model says after the last token and after each of the draft's."""
        draft, self.draft, self.stored = self.draft, [], True
        for token, logprob, drafted in zip(tokens, logprobs, [*draft, None], strict=True):
            stop = self.take(token, logprob, stops)
            if stop or token != drafted:
                return stop
        return None

    def take(self, token: int, logprob: float, stops: Collection[int]) -> str | None:
        """Go on with a token; "eos" or "length" if that ends the answer."""
        if self.progress is not None:
            ended = self.progress.ends(token)
            if ended:
                del self.said[self.progress.length :], self.sure[self.progress.length :]
        else:
            ended = token in stops
        if ended:
            return "eos"
        self.said.append(token)
        self.sure.append(logprob)
        return "length" if len(self.said) >= self.room else None
