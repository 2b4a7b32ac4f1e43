"""InternLM2's tokenizer, built from `tokenizer.model` and what lies over it.

    tokenizer.model          sentencepiece BPE: pieces, their scores and types, a few flags
    tokenizer_config.json    control tokens that take the place of unused pieces; may be absent

Equal, id by id, to the fast tokenizer that comes as code with the model and that B2NER was
trained with; that code is not run, and under present libraries it gives other ids. Of the flags
it heeds the one for a space in front of a text and no other, and so does this. Knows nothing of
prompts.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf
from transformers.tokenization_utils_base import import_protobuf_decode_error

from b2ner_cli.errors import ModelError

_SPACE = "▁"
_BASICS = ["<unk>", "<s>", "</s>"]  # ids 0, 1 and 2 in every file
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
_AGAIN = "get it again from where the model came from; a few lines of text are a git LFS pointer"


def build(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the model in `folder`: one <s> in front, padded with </s> on the left.

    Raises ModelError when a file is missing, cut off or not InternLM2's.
    """
    path, overlay = folder / "tokenizer.model", folder / "tokenizer_config.json"
    proto = _read(path)
    control = dict(enumerate(map(_special, _BASICS))) | _overlays(overlay)
    core = Tokenizer(_bpe(path, proto, control))
    core.add_special_tokens([token for _, token in sorted(control.items())])
    for place, token in control.items():
        if core.token_to_id(token.content) != place:
            raise ModelError(
                f"{overlay} puts {token.content} at {place}, but tokenizer.model ends at "
                f"{len(proto.pieces) - 1}",
                "get both files again, from one model",
            )
    unknown, bos, eos = (control[place].content for place in range(3))
    prefix = [normalizers.Prepend(_SPACE)] if proto.normalizer_spec.add_dummy_prefix else []
    core.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", _SPACE)])
    # The reference drops a space in front of what it decodes, with or without such a prefix.
    first = decoders.Strip(" ", left=1, right=0)
    core.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), first]
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1", special_tokens=[(bos, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=unknown,
        bos_token=bos,
        eos_token=eos,
        pad_token=eos,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def inner(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast | None:
    """A built tokenizer for texts that stand behind others: no space is put in front of them.

    None where `tokenizer` puts none in front of any text.
    """
    if tokenizer.backend_tokenizer.normalizer.normalize_str("a") == "a":
        return None
    within = copy.deepcopy(tokenizer)
    within.backend_tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    return within


def _read(path: Path) -> Any:
    schema = import_protobuf()  # sentencepiece's, which transformers brings along
    try:
        proto = schema.ModelProto.FromString(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no tokenizer.model", _AGAIN) from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", _AGAIN) from None
    except import_protobuf_decode_error():
        raise ModelError(f"{path} is cut off or not a sentencepiece model", _AGAIN) from None
    if not proto.pieces:
        raise ModelError(f"{path} holds no pieces", _AGAIN)
    if not proto.HasField("trainer_spec") or not proto.HasField("normalizer_spec"):
        raise ModelError(f"{path} is cut off after {len(proto.pieces):,} pieces", _AGAIN)
    if proto.trainer_spec.model_type != proto.trainer_spec.BPE:
        raise ModelError(f"{path} is not a BPE model, as InternLM2's is", _AGAIN)
    if [piece.piece for piece in proto.pieces[:3]] != _BASICS:
        raise ModelError(f"{path} does not begin with {', '.join(_BASICS)}", _AGAIN)
    return proto


def _overlays(path: Path) -> dict[int, AddedToken]:
    """The control tokens a tokenizer_config.json names, by id."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {
            int(place): _special(token["content"], token)
            for place, token in config.get("added_tokens_decoder", {}).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = str(error)
    except (TypeError, KeyError, AttributeError):
        reason = "its added_tokens_decoder is malformed"
    raise ModelError(f"cannot read {path}: {reason}", "get it again from where the model came from")


def _special(content: str, entry: dict[str, Any] | None = None) -> AddedToken:
    flags = {flag: bool((entry or {}).get(flag)) for flag in _FLAGS}
    return AddedToken(content, special=True, **flags)


def _bpe(path: Path, proto: Any, control: dict[int, AddedToken]) -> models.BPE:
    names = [
        control[place].content if place in control else piece.piece
        for place, piece in enumerate(proto.pieces)
    ]
    vocabulary = {name: place for place, name in enumerate(names)}
    if len(vocabulary) < len(names):
        twice = next(name for place, name in enumerate(names) if vocabulary[name] != place)
        raise ModelError(f"{path} holds the piece {twice!r} twice", _AGAIN)
    kinds = proto.pieces[0]
    reserved = {kinds.UNKNOWN, kinds.CONTROL, kinds.BYTE}
    # Letters must not come together to a control token: where a document spells one out, and
    # is not to be read so, it stays spelled out.
    scores = {
        names[place]: piece.score
        for place, piece in enumerate(proto.pieces)
        if piece.type not in reserved and place not in control
    }
    return models.BPE(
        vocabulary, _merges(scores), unk_token=names[0], fuse_unk=True, byte_fallback=True
    )


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, best score first.

    In one score the order of the file decides, as in the reference: of the pieces, then of their
    left and their right halves. (transformers' own `generate_merges` goes by lengths there.)
    """
    pieces = list(scores)
    order = {piece: place for place, piece in enumerate(pieces)}
    found = sorted(
        (-scores[piece], place, order[piece[:cut]], order[piece[cut:]])
        for place, piece in enumerate(pieces)
        for cut in range(1, len(piece))
        if piece[:cut] in order and piece[cut:] in order
    )
    return [(pieces[left], pieces[right]) for _, _, left, right in found]
