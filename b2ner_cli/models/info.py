"""What a model is, what it needs and what would be chosen for it, without loading a weight.

Shapes come from the model's own configuration, built without memory; what is stored comes from
the headers of the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from b2ner_cli.errors import ModelError
from b2ner_cli.models import adapters, devices, loading, released
from b2ner_cli.models.files import Source, base_of, locate, read_object, stored_tensors
from b2ner_cli.models.tokenizer import load_tokenizer
from b2ner_cli.prompts.confidence import DECODINGS

_BLOCK = 64  # weights that share a scale of a byte in 4 bits; in 8 bits a row shares one of 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a model is. Memory in bytes, `token` that of one position's keys and values."""

    parameters: int
    memory: dict[str, int]
    token: int


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What an adapter changes, and by how much."""

    directory: Path
    base: str
    ranks: tuple[int, ...]
    scalings: tuple[float, ...]
    targets: tuple[str, ...]
    layers: int
    parameters: int
    calibrated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Info:
    """All that `b2ner model info` says."""

    source: Source
    architecture: str
    shape: dict[str, Any]
    stored: str
    sizes: Sizes
    adapter: AdapterFacts | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON's values."""
        adapter = self.adapter and asdict(self.adapter)
        return {
            "model": self.source.name,
            "directory": str(self.source.directory),
            "architecture": self.architecture,
            **self.shape,
            "stored": self.stored,
            "parameters": self.sizes.parameters,
            "memory": self.sizes.memory,
            "memory_per_token": self.sizes.token,
            "adapter": adapter and {**adapter, "directory": str(adapter["directory"])},
            "fingerprint": self.source.fingerprint,
            "chosen": self.reasons,
            "warnings": self.warnings,
        }


def describe(
    model: str | None,
    adapter: str | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Info:
    """Look at a model and its adapter. Of a model on the hub no weights are fetched.

    Raises ModelError as loading would, for files that are missing, cut off or do not fit.
    """
    where = devices.choose_device(device)
    kind = devices.choose_dtype(dtype, where.value)
    source = locate(model, adapter, revision, weights=False)
    weights = any(source.directory.glob("*.safetensors"))
    if weights:  # they are here, whole or not
        source = locate(model, adapter, revision)
    if source.gguf_file:
        raise ModelError(
            f"{source.name} is a GGUF file, whose shapes show only when it is loaded",
            "give a directory with config.json",
        )
    network = loading.skeleton(source)
    facts, doubts = None, []
    if source.adapter:
        adapters.check(network, source.adapter)
        facts = _adapter_facts(source.adapter)
        doubts = released.doubts(source.name, source.directory, source.adapter)
    tokenizer = load_tokenizer(source)
    config = network.config.get_text_config()
    reasons = (
        *source.reasons,
        where.reason,
        kind.reason,
        f"an answer ends at token {' or '.join(map(str, tokenizer.stops))}: the tokenizer's end"
        + (", and a chat turn's" if len(tokenizer.stops) > 1 else ""),
    )
    shape = {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "key_value_heads": _key_value_heads(config),
        "vocabulary": config.vocab_size,
        "context": getattr(config, "max_position_embeddings", None),
        "rope": _rope(config),
    }
    implementation = type(network).__mro__[1 if config.model_type == "internlm2" else 0].__name__
    return Info(
        source,
        f"{config.model_type} on {implementation}",
        shape,
        _stored(source) if weights else "not looked at",
        _sizes(network),
        facts,
        reasons,
        tuple(doubts),
    )


def _context(shape: Mapping[str, Any]) -> str:
    return f"{shape['context']:,} tokens" if shape["context"] else "not limited by the model"


def rows(info: Info) -> Sequence[tuple[str, str]]:
    """What is known as pairs of a name and a line."""
    shape, sizes = info.shape, info.sizes
    lines = [
        ("model", f"{info.source.name}  ({info.source.directory})"),
        ("architecture", info.architecture),
        (
            "shape",
            f"{shape['layers']} layers, hidden {shape['hidden']:,}, {shape['heads']} heads, "
            f"{shape['key_value_heads']} key-value heads, vocabulary {shape['vocabulary']:,}",
        ),
        ("context", f"{_context(shape)}, rotary embedding {shape['rope']}"),
        ("stored as", info.stored),
        ("parameters", f"{sizes.parameters:,}"),
        *(("memory", f"{_spelled(size)} in {name}") for name, size in sizes.memory.items()),
        ("memory", f"{_spelled(sizes.token * 1000)} more for 1,000 tokens in a batch, 16 bit"),
    ]
    if adapter := info.adapter:
        ranks, scalings = (
            ", ".join(f"{value:g}" for value in values)
            for values in (adapter.ranks, adapter.scalings)
        )
        lines += [
            ("adapter", f"{adapter.directory}, of {adapter.base}"),
            (
                "",
                f"rank {ranks}, scaling {scalings}, on {', '.join(adapter.targets)} in "
                f"{adapter.layers} layers; {adapter.parameters:,} parameters",
            ),
            ("scores", _scores(adapter.calibrated)),
        ]
    lines.append(("fingerprint", info.source.fingerprint or "not looked at"))
    lines += [("chosen", reason) for reason in info.reasons]
    return [*lines, *(("warning", reason) for reason in info.warnings)]


def _scores(calibrated: Sequence[str]) -> str:
    if not calibrated:
        return "not calibrated: mean probabilities of tokens, mostly too high"
    return f"calibrated, for answers that are {' or '.join(sorted(calibrated))}"


def _sizes(network: Any) -> Sizes:
    """Count a model without weights: all of it at 4 and 2 bytes, and with smaller linear layers."""
    parameters = sum(parameter.numel() for parameter in network.parameters())  # tied ones once
    head = network.get_output_embeddings()
    linear = [m for m in network.modules() if type(m) is torch.nn.Linear and m is not head]
    small = sum(m.weight.numel() for m in linear)
    scales = 4 * sum(m.weight.shape[0] for m in linear)
    rest = 2 * (parameters - small)
    config = network.config
    head_size = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return Sizes(
        parameters,
        {
            "float32": 4 * parameters,
            "bfloat16 or float16": 2 * parameters,
            "8bit": rest + small + scales,
            "4bit": rest + small // 2 + small // _BLOCK,
        },
        2 * 2 * config.num_hidden_layers * _key_value_heads(config) * head_size,
    )


def _key_value_heads(config: Any) -> int:
    return getattr(config, "num_key_value_heads", None) or int(config.num_attention_heads)


def _spelled(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _stored(source: Source) -> str:
    """What the files hold, by dtype."""
    bits: dict[str, int] = {}
    files = set()
    for tensor in stored_tensors(source.directory, source.name).values():
        bits[tensor.dtype] = bits.get(tensor.dtype, 0) + 1
        files.add(tensor.file)
    kinds = ", ".join(f"{number} tensors {name}" for name, number in sorted(bits.items()))
    return f"{kinds}; {len(files)} file{'s' * (len(files) != 1)}"


def _adapter_facts(directory: Path) -> AdapterFacts:
    updates = adapters.read(directory)
    kept = adapters.recorded(directory, "calibration")
    config = read_object(directory / "adapter_config.json")
    base = base_of(directory)[0] if config.get("base_model_name_or_path") else "a model not named"
    layers = {part for update in updates for part in update.module.split(".") if part.isdecimal()}
    return AdapterFacts(
        directory,
        base,
        tuple(sorted({update.a.shape[0] for update in updates})),
        tuple(sorted({update.scaling for update in updates})),
        tuple(sorted({update.module.rpartition(".")[2] for update in updates})),
        len(layers),
        sum(update.a.numel() + update.b.numel() for update in updates),
        tuple(name for name in DECODINGS if isinstance(kept, dict) and name in kept),
    )


def _rope(config: Any) -> str:
    rope = getattr(config, "rope_parameters", None) or {}
    kind = rope.get("rope_type", "default")
    factor = f" by {rope['factor']:g}" if "factor" in rope else ""
    return "default" if kind == "default" else f"{kind}{factor}"
