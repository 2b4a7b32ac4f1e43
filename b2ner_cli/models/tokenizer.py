"""Text to token ids and back, with the tokens that begin and end an answer.

Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from b2ner_cli.errors import ModelError
from b2ner_cli.models import internlm2, internlm2_tokenizer
from b2ner_cli.models.files import Source, model_type
from b2ner_cli.models.library import load_errors, quiet_loading


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The tokenizer as prompts need it: text to ids without control tokens, ids to text.

    `bos` stands once before a prompt and `eos` ends an answer; both are put there by id, so a
    document that spells a control token is tokenised as ordinary characters. `inner` tokenises
    what stands within a text, where that makes a difference.
    """

    hf: Any
    bos: tuple[int, ...]
    eos: int
    stops: tuple[int, ...]
    pad: int
    inner: Any = None

    def encode(self, texts: Sequence[str], *, continued: bool = False) -> list[list[int]]:
        """Token ids of each text, no control tokens added or recognised.

        `continued` texts stand behind others: a tokenizer that puts a space before a text does
        not put one before those, if it is known how to keep it from that.
        """
        if not texts:
            return []
        hf = self.inner if continued and self.inner is not None else self.hf
        ids: list[list[int]] = hf(list(texts), add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self.encode([text])[0])

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids spell, as it is: no clean-up of spaces."""
        text: str = self.hf.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def load_tokenizer(source: Source) -> Tokenizer:
    """A model's tokenizer alone."""
    if not source.gguf_file and model_type(source) == internlm2.MODEL_TYPE:
        return _internlm2_tokenizer(source.directory)
    gguf: dict[str, Any] = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    with quiet_loading(), load_errors(source.name):
        hf = transformers.AutoTokenizer.from_pretrained(
            source.directory, trust_remote_code=False, **gguf
        )
    eos = hf.eos_token_id
    if eos is None:
        raise ModelError(f"{source.name}: its tokenizer has no end-of-sequence token")
    pad = hf.pad_token_id if hf.pad_token_id is not None else eos
    bos = () if hf.bos_token_id is None else (hf.bos_token_id,)
    return Tokenizer(hf, bos, eos, (eos,), pad)


def _internlm2_tokenizer(directory: Path) -> Tokenizer:
    """Ends where training ended answers, and where chat models end turns, which harms nothing."""
    hf = internlm2_tokenizer.build(directory)
    turn = hf.convert_tokens_to_ids(_TURN_END)
    stops = (hf.eos_token_id,) if turn == hf.unk_token_id else (hf.eos_token_id, turn)
    inner = internlm2_tokenizer.inner(hf)
    return Tokenizer(hf, (hf.bos_token_id,), hf.eos_token_id, stops, hf.pad_token_id, inner)


_TURN_END = "<|im_end|>"
