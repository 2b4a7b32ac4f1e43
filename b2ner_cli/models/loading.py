"""Backbones: from files to a loaded causal LM with its adapter merged in.

Only safetensors and GGUF are read, and no code that comes with a model is ever run. Every
automatic choice comes back with its reason. Knows nothing of prompts or documents; where the
files are is `model_files`' matter.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers

from b2ner_cli.errors import ModelError
from b2ner_cli.models import adapters, internlm2, placement, released
from b2ner_cli.models.device_errors import fitting_memory
from b2ner_cli.models.devices import DTYPES, Choice, choose_device, choose_dtype
from b2ner_cli.models.files import Source, locate, model_type, stored_tensors
from b2ner_cli.models.library import load_errors, quiet_loading
from b2ner_cli.models.tokenizer import Tokenizer, load_tokenizer

log = logging.getLogger("b2ner")


@dataclass(frozen=True, slots=True)
class Backbone:
    """A loaded model ready to answer prompts. `context` is its limit in tokens, answer included.

    `device` is where its inputs go; `dtype` names what it computes with, and after a hyphen what
    its linear layers are stored in where that is smaller: "bfloat16-4bit".
    """

    source: Source
    model: Any
    tokenizer: Tokenizer
    device: str
    dtype: str
    context: int
    choices: tuple[Choice, ...]


def load(
    model: str | None = "mini",
    adapter: str | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    device_map: str | None = None,
    load_in: str | None = None,
) -> Backbone:
    """Load a model for answering: adapter merged in float32, then rounded once to `dtype`.

    `model` and `adapter` as in `model_files.locate`. `device_map` "auto" spreads layers over all
    cards; `load_in` "8bit" or "4bit" stores linear layers in that. Raises ModelError with what is
    wrong: files missing, cut off or pickles, unknown architecture, an adapter that does not fit.
    """
    placement.check(device_map, load_in, device)
    where = choose_device(device)
    kind = choose_dtype(dtype, where.value)
    wanted = DTYPES[kind.value]
    source = locate(model, adapter, revision)
    with fitting_memory(source.name):
        if source.adapter:
            _check_adapter(source)
            network, tokenizer = load_parts(source, stored_dtype(source))
            adapters.merge(network, source.adapter, wanted)
            network.config.dtype = wanted
        else:
            network, tokenizer = load_parts(source, wanted)
    network.eval().requires_grad_(False)
    put = placement.place(network, source.name, where.value, wanted, device_map, load_in)
    text = network.config.get_text_config()
    context = getattr(text, "max_position_embeddings", None) or 2048
    choices = [*(Choice("", reason) for reason in source.reasons), where, kind]
    choices += [Choice(put.device, reason) for reason in put.reasons]
    name = f"{kind.value}-{load_in}" if load_in else kind.value
    return Backbone(source, network, tokenizer, put.device, name, context, tuple(choices))


def stored_dtype(source: Source) -> torch.dtype:
    """What all weights are stored as; float32 where they differ or are quantised.

    Merging from it loses nothing, and no second copy of the weights is made to get there.
    """
    if source.gguf_file:
        return torch.float32
    names = {stored.dtype for stored in stored_tensors(source.directory, source.name).values()}
    return _STORED[names.pop()] if len(names) == 1 and names <= _STORED.keys() else torch.float32


_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def skeleton(source: Source) -> Any:
    """The model without weights, to see its shapes. Raises ModelError if there is no such model."""
    internlm2.register()
    with quiet_loading(), load_errors(source.name), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(source.directory, trust_remote_code=False)
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _check_adapter(source: Source) -> None:
    """Refuse an adapter that does not fit before any weight is read; warn of doubts."""
    assert source.adapter is not None
    if not source.gguf_file:
        adapters.check(skeleton(source), source.adapter)
    for reason in released.doubts(source.name, source.directory, source.adapter):
        log.warning(reason)


def load_parts(source: Source, dtype: torch.dtype) -> tuple[Any, Tokenizer]:
    """The bare model on the CPU, without adapter, and its tokenizer.

    Weights are read shard by shard; those already stored in `dtype` stay in the files and are
    mapped into memory.
    """
    internlm2.register()
    gguf: dict[str, Any] = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    tokenizer = load_tokenizer(source)
    if not gguf:
        _check_files(source)
    with quiet_loading(), load_errors(source.name):
        read = functools.partial(
            transformers.AutoModelForCausalLM.from_pretrained,
            source.directory,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **gguf,
        )
        try:
            network, loaded = read(attn_implementation="sdpa")
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            network, loaded = read(attn_implementation="eager")  # soft caps, sinks and the like
        # Weights that are not there would be made up at random, with a warning nobody sees.
        if absent := sorted(loaded["missing_keys"]):
            raise ValueError(f"its files hold no weights for {absent[0]}, {len(absent)} in all")
    rows = network.get_input_embeddings().weight.shape[0]
    if tokenizer.hf.vocab_size > rows:  # without tokens added to it, which nobody may ever use
        raise ModelError(
            f"{source.name}: its tokenizer has {tokenizer.hf.vocab_size:,} tokens, its weights "
            f"only {rows:,}",
            "tokenizer and weights are of different models",
        )
    # A model may name more ends than its tokenizer does (chat models have one for turns).
    configured = network.generation_config.eos_token_id
    also = configured if isinstance(configured, list) else [configured]
    stops = tuple(dict.fromkeys([*tokenizer.stops, *(i for i in also if i is not None)]))
    return network, replace(tokenizer, stops=stops)


def _check_files(source: Source) -> None:
    """Refuse weights that are cut off, missing or of other shapes than config.json says."""
    stored = stored_tensors(source.directory, source.name)
    if model_type(source) != internlm2.MODEL_TYPE:
        return  # the library says so itself, and well enough
    network = skeleton(source)
    rows = internlm2.Heads.of(network.config).rows
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, tensor in stored.items():
        expected = shapes.get(internlm2.llama_name(name), tensor.shape)
        if f".{internlm2.FUSED}." in name:
            expected = (rows, *tensor.shape[1:])
        if expected != tensor.shape:
            raise ModelError(
                f"cannot load model {source.name}: {name} is {tensor.shape} in {tensor.file}, "
                f"but {expected} by config.json",
                "config.json and the weights are of different models: get both again",
            )
