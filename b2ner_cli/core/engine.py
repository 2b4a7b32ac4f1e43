"""What every engine takes and gives: prompts in, completions out, in any order.

An engine knows tokens; documents, labels and files are the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

Stop = Literal["eos", "length"]


class _CompletionFields(NamedTuple):
    text: str
    logprobs: tuple[float, ...] = ()
    ends: tuple[int, ...] = ()
    stop: Stop = "eos"
    prompt_tokens: int = 0


class Completion(_CompletionFields):
    """One answer of a model.

    `logprobs[i]` is the log-probability of answer token i and `ends[i]` the offset in `text`
    just past it; both have one element an answer token, the end-of-sequence token not counted.
    """

    __slots__ = ()

    def __new__(
        cls,
        text: str,
        logprobs: tuple[float, ...] = (),
        ends: tuple[int, ...] = (),
        stop: Stop = "eos",
        prompt_tokens: int = 0,
    ) -> Self:
        if len(logprobs) != len(ends):
            raise ValueError(f"{len(logprobs)} log-probabilities for {len(ends)} tokens")
        return tuple.__new__(cls, (text, logprobs, ends, stop, prompt_tokens))


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads: the part all documents of a label set share, then the document's own.

    The cut falls before the space that precedes the document, a token boundary, so the two parts
    can be tokenised apart and the first computed once. `labels` and `about` say once more which
    labels are asked for and in which text, for engines that hold answers to them.
    """

    prefix: str
    own: str
    labels: tuple[str, ...] = ()
    about: str = ""

    @property
    def text(self) -> str:
        return self.prefix + self.own


class Engine(Protocol):
    """What answers prompts; `identity` names all that answers depend on but `max_answer`."""

    identity: str
    context: int
    max_answer: int
    batch_tokens: int

    def count(self, text: str) -> int:
        """Number of tokens of a text."""

    def generate(
        self, prompts: Sequence[Prompt], answered: Collection[int] = ()
    ) -> Iterable[tuple[int, Completion]]:
        """Answer prompts, in any order, each with its index.

        Batches are formed of all prompts; one whose indices are all in `answered` is left out.
        """
