"""What the engines share that run a loaded model in this process: tokens, grammars, identity."""

from __future__ import annotations

from collections.abc import Sequence

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine.detokenizer import Detokenizer
from b2ner_cli.engine.grammar import GRAMMAR_VERSION, AnswerGrammar, GrammarState, label_grammars
from b2ner_cli.errors import B2nerError
from b2ner_cli.models.loading import Backbone

# To be raised by one whenever a change makes some answer in float32 another: which token is taken,
# where an answer ends, how tokens become text, `ends` and log-probabilities. Part of each answer's
# key in the cache, so that none from before the change is taken for one of today.
DECODING_VERSION = 1


class ModelEngine:
    """A model that answers greedily, with at most `max_answer` tokens.

    Raises ModelError where `constrain` needs a vocabulary that spells bytes.
    """

    name: str

    def __init__(self, backbone: Backbone, max_answer: int, constrain: bool) -> None:
        self.backbone = backbone
        self.max_answer = max_answer
        self.context = backbone.context
        self.identity = identity(self.name, backbone, constrain)
        self._detokenizer = Detokenizer(backbone.tokenizer)
        self._grammars = label_grammars(backbone.tokenizer) if constrain else None

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return self.backbone.tokenizer.count(text)

    def _encode(self, prompts: Sequence[Prompt]) -> list[tuple[tuple[int, ...], list[int]]]:
        """Each prompt's tokens: those of its prefix, which begin with the model's own, and others.

        Prompts of one prefix get the very same tuple.
        """
        tokenizer = self.backbone.tokenizer
        texts = list(dict.fromkeys(prompt.prefix for prompt in prompts))
        encoded = zip(texts, tokenizer.encode(texts), strict=True)
        prefixes = {text: (*tokenizer.bos, *ids) for text, ids in encoded}
        owns = tokenizer.encode([prompt.own for prompt in prompts], continued=True)
        return [(prefixes[p.prefix], own) for p, own in zip(prompts, owns, strict=True)]

    def _grammar(self, prompt: Prompt) -> GrammarState | None:
        """The grammar at the start of a prompt's answer, None where answers are free."""
        if self._grammars is None:
            return None
        return GrammarState(AnswerGrammar(self._grammars(prompt.labels), prompt.about))


def identity(engine: str, backbone: Backbone, constrain: bool) -> str:
    """Name all that answers depend on, but for the most tokens that they may have.

    In float32 engines say the same, so their answers may stand for each other's; in fewer bits
    rounding differs, and the engine is named.
    """
    decoding = f"greedy {DECODING_VERSION}"
    if constrain:
        decoding = f"constrained {DECODING_VERSION}.{GRAMMAR_VERSION}"
    own = () if backbone.dtype == "float32" else (engine,)
    return "/".join((backbone.source.fingerprint, backbone.dtype, *own, decoding))


def too_large(tokens: int) -> B2nerError:
    """The error that says that a prompt of so many tokens does not fit into memory, even alone."""
    return B2nerError(
        f"out of memory for a single prompt of {tokens} tokens",
        "use --device cpu, a smaller --max-answer, or --dtype bfloat16",
    )
