"""Backbones: from files to a loaded causal LM with its adapter merged in.

Only safetensors and GGUF are read, and no code that comes with a model is ever run. Every
automatic choice comes back with its reason. Knows nothing of prompts or documents; where the
files are is `model_files`' matter.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from b2ner_cli import adapters, internlm2, internlm2_tokenizer, placement, released
from b2ner_cli.device_errors import fitting_memory
from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.model_files import Source, locate, read_json, stored_tensors

log = logging.getLogger("b2ner")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Choice(NamedTuple):
    """An automatic choice and why it was made."""

    value: str
    reason: str


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
    with _quiet_loading(), _load_errors(source.name), torch.device("meta"):
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
    with _quiet_loading(), _load_errors(source.name):
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
    if _model_type(source) != internlm2.MODEL_TYPE:
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


def load_tokenizer(source: Source) -> Tokenizer:
    """A model's tokenizer alone."""
    if not source.gguf_file and _model_type(source) == internlm2.MODEL_TYPE:
        return _internlm2_tokenizer(source.directory)
    gguf: dict[str, Any] = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    with _quiet_loading(), _load_errors(source.name):
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


def _model_type(source: Source) -> str:
    def unreadable(why: str) -> ModelError:
        return ModelError(f"cannot load model {source.name}: {why}", "get the file again")

    config = read_json(source.directory / "config.json", unreadable)
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def choose_devices(device: str) -> Choice:
    """What `--device` names where there may be several, with commas between them.

    "cuda:all" is every card there is, "cpu,cpu" two processes on the CPU. Raises UsageError for
    devices that are not there or cannot share a run.
    """
    if device == "cuda:all":
        count = torch.cuda.device_count()
        if not count:
            raise UsageError("no device cuda:all: no CUDA devices here", "try --device cpu")
        names, reason = [f"cuda:{index}" for index in range(count)], "all cards here"
    elif "," in device:
        names, reason = [part.strip() for part in device.split(",")], "asked for"
        if "auto" in names:
            raise UsageError(f"auto is one device of its own choice, not among {device}")
        names = [choose_device(name).value for name in names]
    else:
        return Choice(device, f"device {device}")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise UsageError(
            f"{device}: CPU and cards differ in the last digits of scores",
            "name devices of one kind: a run must not depend on which one was faster",
        )
    if twice := next((name for name in names if name != "cpu" and names.count(name) > 1), None):
        raise UsageError(f"{device}: {twice} comes twice", "a card takes one process")
    return Choice(",".join(names), f"devices {', '.join(names)}: {reason}")


def choose_device(device: str) -> Choice:
    """`auto` is the first CUDA card if there is one, else the CPU."""
    if "," in device or device == "cuda:all":
        raise UsageError(
            f"one device is needed here, not {device}", "only tag and predict take several"
        )
    if device == "auto":
        if torch.cuda.is_available():
            return Choice("cuda:0", f"device cuda:0: {torch.cuda.get_device_name(0)}")
        return Choice("cpu", f"device cpu: no CUDA device; {torch.get_num_threads()} threads")
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        index = device.removeprefix("cuda").removeprefix(":") or "0"
        if not index.isdecimal() or int(index) >= count:
            raise UsageError(f"no device {device}: {count} CUDA devices here", "try --device cpu")
        return Choice(f"cuda:{int(index)}", f"device {device}: asked for")
    if device != "cpu":
        raise UsageError(f"unknown device {device!r}", "choose auto, cpu, cuda or cuda:N")
    return Choice("cpu", "device cpu: asked for")


def choose_dtype(dtype: str, device: str) -> Choice:
    """`auto` is bfloat16 where the device multiplies it faster than float32, else float32."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype!r}", f"choose auto, {', '.join(DTYPES)}")
        return Choice(dtype, f"dtype {dtype}: asked for")
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported():
            return Choice("bfloat16", "dtype bfloat16: the card has it in hardware")
        return Choice("float32", "dtype float32: the card has no bfloat16")
    if _cpu_has_bfloat16():
        return Choice("bfloat16", "dtype bfloat16: the CPU has it in hardware")
    return Choice("float32", "dtype float32: the CPU has no fast bfloat16")


def _cpu_has_bfloat16() -> bool:
    # Matrix tiles (AMX) or AMD's full-rate AVX512-BF16. Intel's AVX512-BF16 without tiles runs
    # at about 0.6 of its float32 speed, so there it does not count.
    if torch.cpu._is_amx_tile_supported():
        return True
    return bool(torch.cpu._is_avx512_bf16_supported()) and _cpu_vendor() == "AuthenticAMD"


def _cpu_vendor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("vendor_id"):
                return line.split(":")[1].strip()
    except OSError:
        pass
    return ""


@contextmanager
def _load_errors(name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable model into a ModelError."""
    try:
        with fitting_memory(name):
            yield
    except ModelError:
        raise
    except Exception as error:  # tokenizers, safetensors and configurations raise bare ones
        lines = str(error).strip().splitlines() or [type(error).__name__]
        hint = "its files are damaged or of a kind that is not read: get them again"
        if "trust_remote_code" in str(error) or "does not recognize" in str(error):
            hint = "its architecture is not in transformers, and code from a model is never run"
        raise ModelError(f"cannot load model {name}: {lines[0]}", hint) from error


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """No progress bars and warnings of the library on the user's terminal unless debugging."""
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
