"""A prompt and its answer, from waiting to the end: a sequence of the packed engine's steps.

A sequence may have to give up its positions in the KV cache before its answer ends; it waits again
then, and goes on behind what it has. Knows tokens, no tensors but those of its prefix.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, field

from b2ner_cli.core.engine import Prompt, Stop
from b2ner_cli.engine.drafting import Drafter
from b2ner_cli.engine.grammar import GrammarState
from b2ner_cli.engine.kv_cache import Prefix


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt, in tokens `prefix_ids` and its own `prompt_ids`, and the answer to it so far.

    `prefix` and `grammar`, None where answers are free, are set when it first begins. `draft` are
    tokens that may follow, to be checked; `stop` says why the answer is at its end.
    """

    index: int
    prompt: Prompt
    prefix_ids: tuple[int, ...]
    prompt_ids: list[int]
    max_new_tokens: int
    prefix: Prefix = field(init=False)
    grammar: GrammarState | None = None
    output_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    prefilled: bool = False  # whether its positions are in the cache
    stop: Stop | None = None

    @property
    def width(self) -> int:
        """Tokens of the whole prompt."""
        return len(self.prefix_ids) + len(self.prompt_ids)

    @property
    def tokens(self) -> list[int]:
        """What the next step computes: all there is, later the last token said and a draft."""
        if self.prefilled:
            return [self.output_ids[-1], *self.draft]
        return [*self.prompt_ids, *self.output_ids]

    @property
    def length(self) -> int:
        """Positions it has in the cache: all but those of the last token, which comes next."""
        return len(self.prompt_ids) + len(self.output_ids) - 1 if self.prefilled else 0

    @property
    def needed(self) -> int:
        """Positions that it has after the next step."""
        if self.prefilled:
            return len(self.prompt_ids) + len(self.output_ids) + len(self.draft)
        return len(self.prompt_ids) + len(self.output_ids)

    def wait(self) -> None:
        """Give up its positions, and keep what was said."""
        self.prefilled, self.draft = False, []

    def restart(self) -> None:
        """Forget what was said, too."""
        self.wait()
        self.output_ids, self.logprobs, self.grammar, self.stop = [], [], None, None

    def guess(self, drafter: Drafter, most: int) -> None:
        """Draft up to `most` tokens, of those that the grammar allows."""
        most = min(most, self.max_new_tokens - len(self.output_ids) - 1)
        self.draft = drafter.guess(self.prompt_ids, self.output_ids, most)
        if self.grammar is not None:
            del self.draft[len(self.grammar.follow(self.draft)) - 1 :]

    def take_all(
        self,
        tokens: abc.Sequence[int],
        logprobs: abc.Sequence[float],
        stops: abc.Collection[int],
    ) -> None:
        """Go on with what the model says after the last token and after each of the draft's."""
        draft, self.draft, self.prefilled = self.draft, [], True
        for token, logprob, drafted in zip(tokens, logprobs, [*draft, None], strict=True):
            self._take(token, logprob, stops)
            if self.stop or token != drafted:
                return

    def _take(self, token: int, logprob: float, stops: abc.Collection[int]) -> None:
        if self.grammar is not None:
            ended = self.grammar.ends(token)
            if ended:
                del self.output_ids[self.grammar.length :], self.logprobs[self.grammar.length :]
        else:
            ended = token in stops
        if ended:
            self.stop = "eos"
            return
        self.output_ids.append(token)
        self.logprobs.append(logprob)
        if len(self.output_ids) >= self.max_new_tokens:
            self.stop = "length"
