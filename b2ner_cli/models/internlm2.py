"""InternLM2 and InternLM2.5 on the stock Llama implementation; no code of the model is run.

    file                                    module
    model.tok_embeddings                    model.embed_tokens
    ...layers.N.attention.wqkv              ...layers.N.self_attn.{q,k,v}_proj
    ...layers.N.attention.wo                ...layers.N.self_attn.o_proj
    ...layers.N.feed_forward.{w1,w3,w2}     ...layers.N.mlp.{gate,up,down}_proj
    ...layers.N.attention_norm, ffn_norm    ...layers.N.input_layernorm, post_attention_layernorm
    output                                  lm_head

The rows of wqkv are grouped by key-value head: the queries that share it, the key, the value,
each `head size` rows (InternLM/InternLM, tools/convert2llama.py). The rotary layout is Llama's.
transformers converts weight by weight while loading, and back while saving. Knows nothing of
adapters and tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming

MODEL_TYPE = "internlm2"

# Modules of a layer that are renamed, the fused one left out; file name -> Llama's.
RENAMED = {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
FUSED = "attention.wqkv"
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
OUTSIDE = {"tok_embeddings": "embed_tokens", "output": "lm_head"}


@dataclass(frozen=True, slots=True)
class Heads:
    """What the rows of a fused projection are: key-value heads, queries to each, rows to a head."""

    groups: int
    queries: int
    size: int

    @classmethod
    def of(cls, config: Any) -> Heads:
        """The heads of an InternLM2 or Llama configuration."""
        groups = config.num_key_value_heads or config.num_attention_heads
        return cls(groups, config.num_attention_heads // groups, config.head_dim)

    @property
    def rows(self) -> int:
        """Rows of the fused projection."""
        return self.groups * (self.queries + 2) * self.size

    @property
    def shares(self) -> dict[str, int]:
        """Rows of q, k and v, by the module's name."""
        one = self.groups * self.size
        return dict(zip(PARTS, (one * self.queries, one, one), strict=True))


def split_rows(fused: torch.Tensor, heads: Heads) -> tuple[torch.Tensor, ...]:
    """The rows of q, k and v of a fused weight, bias or LoRA B, each a tensor of its own.

    *Shapes:* (groups * (queries + 2) * size, ...) to (groups * queries * size, ...) and twice
    (groups * size, ...). Raises ValueError for another number of rows.
    """
    if fused.shape[0] != heads.rows:
        raise ValueError(
            f"wqkv has {fused.shape[0]} rows, not the {heads.rows} of {heads.groups} key-value "
            f"heads with {heads.queries} queries each and {heads.size} rows to a head"
        )
    rest = fused.shape[1:]
    grouped = fused.reshape(heads.groups, heads.queries + 2, heads.size, *rest)
    q, k, v = grouped.split([heads.queries, 1, 1], dim=1)
    return tuple(part.reshape(-1, *rest).contiguous() for part in (q, k, v))


def fuse_rows(parts: Sequence[torch.Tensor], heads: Heads) -> torch.Tensor:
    """The inverse of `split_rows`."""
    rest = parts[0].shape[1:]
    counts = (heads.queries, 1, 1)
    grouped = [
        part.reshape(heads.groups, count, heads.size, *rest)
        for part, count in zip(parts, counts, strict=True)
    ]
    return torch.cat(grouped, dim=1).reshape(-1, *rest)


def is_fused(module: str) -> bool:
    """Whether a module's name is one of InternLM2's files that Llama does not have."""
    return module == "output" or module.endswith(tuple(f".{n}" for n in (FUSED, *RENAMED)))


def split_module(module: str, b: torch.Tensor, heads: Heads) -> list[tuple[str, torch.Tensor]]:
    """The Llama modules of one in InternLM2's files, each with its rows of `b`."""
    if module == "output":
        return [("lm_head", b)]
    if module.endswith(f".{FUSED}"):
        layer = module.removesuffix(FUSED)
        return [(layer + p, rows) for p, rows in zip(PARTS, split_rows(b, heads), strict=True)]
    for old, new in RENAMED.items():
        if module.endswith(f".{old}"):
            return [(module.removesuffix(old) + new, b)]
    return [(module, b)]


def fused_module(module: str) -> str:
    """The module in InternLM2's files that one of Llama's is there, alone or as a part."""
    if module == "lm_head":
        return "output"
    for old, new in (*((FUSED, part) for part in PARTS), *RENAMED.items()):
        if module.endswith(f".{new}"):
            return module.removesuffix(new) + old
    return module


def llama_name(name: str) -> str:
    """The name in Llama of a tensor in InternLM2's files; a fused one keeps its own."""
    module, _, kind = name.rpartition(".")
    for old, new in (*RENAMED.items(), *OUTSIDE.items()):
        if module == old or module.endswith(f".{old}"):
            return f"{module.removesuffix(old)}{new}.{kind}"
    return name


class InternLM2Config(LlamaConfig):  # type: ignore[misc]
    """config.json of an InternLM2 model, read as a Llama configuration."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read what a file says; the attention implementation is the caller's choice alone."""
        config = dict(config_dict)
        config.pop("attn_implementation", None)
        config.pop("auto_map", None)
        return super().from_dict(config, **kwargs)

    def __init__(self, bias: bool | None = None, **kwargs: Any) -> None:
        if bias is not None:  # of wqkv and wo alone, as Llama's attention_bias
            kwargs["attention_bias"] = bias
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As InternLM2 files name it, so that what is saved can be read by others as well."""
        values: dict[str, Any] = super().to_dict()
        values["bias"] = values.pop("attention_bias", False)
        return values

    def llama(self) -> LlamaConfig:
        """The same architecture as a plain Llama configuration."""
        values = super().to_dict()
        for key in ("model_type", "architectures", "transformers_version", "auto_map"):
            values.pop(key, None)
        return LlamaConfig(**values, architectures=["LlamaForCausalLM"])


class InternLM2ForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """Llama, under the name that InternLM2's files are found by."""

    config_class = InternLM2Config


class GroupedRows(ConversionOps):  # type: ignore[misc]
    """While a model is loaded, one fused tensor to q, k and v; while it is saved, the way back."""

    def __init__(self, fuse: bool = False) -> None:
        self.fuse = fuse

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str],
        **context: Any,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """The tensors under the names of the other side; `context` holds the model's config."""
        given = [input_dict[name] for name in source_patterns]
        tensors = [each[0] if isinstance(each, list) else each for each in given]
        heads = Heads.of(context["config"])
        made = [fuse_rows(tensors, heads)] if self.fuse else split_rows(tensors[0], heads)
        return dict(zip(target_patterns, made, strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        """The way back."""
        return GroupedRows(not self.fuse)


@cache
def register() -> None:
    """Make transformers' Auto classes load InternLM2 directories; does nothing the second time."""
    transforms: list[Any] = [
        WeightRenaming(rf"\.{re.escape(old)}\.", f".{new}.") for old, new in RENAMED.items()
    ]
    transforms += [
        WeightRenaming(r"^model\.tok_embeddings\.", "model.embed_tokens."),
        WeightRenaming(r"^output\.", "lm_head."),
        WeightConverter(
            rf"\.{re.escape(FUSED)}", [f".{part}" for part in PARTS], operations=[GroupedRows()]
        ),
    ]
    register_checkpoint_conversion_mapping(MODEL_TYPE, transforms, overwrite=True)
    AutoConfig.register(MODEL_TYPE, InternLM2Config, exist_ok=True)
    AutoModelForCausalLM.register(InternLM2Config, InternLM2ForCausalLM, exist_ok=True)
