"""InternLM2's models and adapters in Llama's layout, which every engine reads, and back.

    adapter     A of wqkv stands in q_proj, k_proj and v_proj; B's rows are shared out to them
    and back    wqkv has the three A, one above the other, and B in blocks: three times the rank
    model       the same tensors, wqkv split, under Llama's names and configuration
    merged      a model with its adapter added in float32 and rounded once

Nothing is rounded but a merged weight. What is written is whole or not there.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save_file

from b2ner_cli.errors import ModelError, OutputError, UsageError
from b2ner_cli.models import adapters, devices, internlm2, loading
from b2ner_cli.models.adapters import Update
from b2ner_cli.models.files import Source, base_of, locate, read_object

LAYOUTS = ("llama", "internlm2")

# What says what an adapter is and how to ask it; goes with it.
_BESIDE = ("README.md", "run.json")

# Settings of a plain LoRA that peft knows since 0.11, which the reference asks for; it refuses a
# file with any that it does not know, and InternLM2's own code wants libraries of that time.
_KNOWN_SETTINGS = (
    "peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "lora_dropout", "target_modules", "bias", "use_rslora",
    "rank_pattern", "alpha_pattern",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is to be converted, and into what.

    `source` is an adapter, a released name or a model; `model` the adapter's base where it is not
    the one that the adapter names. `merged` is where base and adapter go as one model, in `dtype`,
    by default as the base is stored. With `layout` "internlm2" an adapter is written in the
    original layout instead.
    """

    source: str
    target: Path
    model: str | None = None
    revision: str | None = None
    merged: Path | None = None
    dtype: str = "auto"
    layout: str = "llama"
    force: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError(
                f"there is no layout {self.layout!r}", f"choose {' or '.join(LAYOUTS)}"
            )
        if self.merged is not None and self.layout != "llama":
            raise UsageError(
                f"--merged writes Llama's layout, not {self.layout}'s", "leave out one of the two"
            )


def convert(job: Conversion) -> list[str]:
    """Write an adapter, or a model, of InternLM2 in another layout; what was done, line by line.

    Raises ModelError for what cannot be converted and OutputError for what cannot be written.
    """
    for folder in (job.target, job.merged):
        if folder is not None and folder.exists() and not job.force:
            raise OutputError(f"{folder} exists", "choose another place, or --force to replace it")
    found = _locate(job)
    kind = read_object(found.directory / "config.json").get("model_type")
    if kind not in (internlm2.MODEL_TYPE, "llama"):
        raise ModelError(
            f"{found.name} is {kind}, not InternLM2: there is nothing to convert",
            "other engines read it, and adapters of it, as they are",
        )
    if found.adapter is not None:
        done = [*found.reasons, write_adapter(found, job.target, job.layout)]
        return [*done, write_model(found, job.merged, job.dtype)] if job.merged else done
    if job.layout != "llama":
        raise ModelError(
            f"{job.source} is a model: only adapters are written in InternLM2's layout",
            "give the folder of an adapter",
        )
    if job.merged is not None:
        raise ModelError(f"{job.source} is a model: there is no adapter to merge", "drop --merged")
    found = locate(found.name, "none", job.revision)
    return [*found.reasons, write_model(found, job.target, job.dtype)]


def write_adapter(source: Source, target: Path, layout: str = "llama") -> str:
    """Write a source's adapter in a layout in peft's format; one line about it."""
    assert source.adapter is not None
    adapter = source.adapter
    skeleton = loading.skeleton(source)
    adapters.check(skeleton, adapter)
    given = adapters.read(adapter)
    translate = adapters.for_model if layout == "llama" else adapters.for_internlm2
    updates = translate(given, skeleton.config, adapter)
    base, _ = base_of(adapter)
    config = read_object(adapter / "adapter_config.json")
    values = adapter_config(config, updates, skeleton.config.num_hidden_layers)
    if layout == "internlm2":
        values = {key: values[key] for key in _KNOWN_SETTINGS if key in values}
    tensors = {}
    for update in updates:
        key = f"base_model.model.{update.module}"
        tensors[f"{key}.lora_A.weight"] = update.a.clone()  # shared storage cannot be saved
        tensors[f"{key}.lora_B.weight"] = update.b.contiguous()
    with replacing(target) as work:
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        (work / "adapter_config.json").write_text(text, encoding="utf-8")
        save_file(tensors, work / "adapter_model.safetensors", metadata={"format": "pt"})
        for name in _BESIDE:
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, work / name)
    whose = "Llama's" if layout == "llama" else "InternLM2's"
    return f"{target}: adapter of {base}, {len(given)} layers of it now {len(updates)} of {whose}"


def adapter_config(config: dict[str, Any], updates: list[Update], layers: int) -> dict[str, Any]:
    """A LoRA's configuration with the modules, ranks and alphas of `updates`.

    The rank and alpha that most modules have stand for all; the others are under a module's short
    name where all of that name agree, else spelled out. Targets are short names where every layer
    has them.
    """
    shapes = {}
    names: dict[str, list[str]] = {}
    for update in updates:
        rank = update.a.shape[0]
        shapes[update.module] = (rank, adapters.alpha_for(config, update.scaling, rank))
        names.setdefault(update.module.rpartition(".")[2], []).append(update.module)
    (rank, alpha), _ = Counter(shapes.values()).most_common(1)[0]
    patterns: dict[str, tuple[int, float]] = {}
    for name, modules in names.items():
        own = {module: shapes[module] for module in modules}
        patterns |= {name: shapes[modules[0]]} if len(set(own.values())) == 1 else own
    everywhere = all(len(modules) == layers or modules == [name] for name, modules in names.items())
    none = {"layers_to_transform": None, "layers_pattern": None, "exclude_modules": None}
    return {
        **config,
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": list(names) if everywhere else list(shapes),
        "rank_pattern": {name: own for name, (own, _) in patterns.items() if own != rank},
        "alpha_pattern": {name: own for name, (_, own) in patterns.items() if own != alpha},
        **{key: value for key, value in none.items() if key in config},
    }


def write_model(source: Source, target: Path, dtype: str = "auto") -> str:
    """Write a source's model, its adapter merged if it has one, as Llama; one line about it."""
    stored = loading.stored_dtype(source)
    wanted = stored if dtype == "auto" else devices.DTYPES[devices.choose_dtype(dtype, "cpu").value]
    network, tokenizer = loading.load_parts(source, stored if source.adapter else wanted)
    if source.adapter:
        adapters.merge(network, source.adapter, wanted)
    with replacing(target) as work:
        llama = _as_llama(network, wanted)
        llama.generation_config.eos_token_id = list(tokenizer.stops)  # more than its own, maybe
        llama.save_pretrained(work)
        tokenizer.hf.save_pretrained(work)
    name = str(wanted).removeprefix("torch.")
    return f"{target}: {source.name}{' with its adapter' if source.adapter else ''} as {name} Llama"


def _as_llama(network: Any, dtype: torch.dtype) -> Any:
    """The same weights, not copied, in a plain Llama model."""
    config = network.config
    plain = config.llama() if isinstance(config, internlm2.InternLM2Config) else config
    plain.dtype = dtype
    with torch.device("meta"):
        llama = transformers.LlamaForCausalLM(plain)
    llama.load_state_dict(network.state_dict(), assign=True)
    llama.tie_weights()
    llama.generation_config = network.generation_config
    return llama


def _locate(job: Conversion) -> Source:
    """A source of either kind: an adapter and its base, or a model."""
    path, weights = Path(job.source), job.merged is not None
    if path.is_dir() and not (path / "adapter_config.json").is_file():
        return locate(job.source, "none", job.revision, weights=False)
    if not path.is_dir() and "/" not in job.source:
        return locate(job.source, None, job.revision, weights=weights)  # a released name
    return locate(job.model, job.source, job.revision, weights=weights)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when all is written."""
    target = target.resolve()
    known = ("config.json", "adapter_config.json")
    alien = target.exists() and not any((target / name).is_file() for name in known)
    if alien and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(
            f"{target} holds neither a model nor an adapter, and is not replaced",
            "name a new folder",
        )
    if target == Path.cwd() or target in Path.cwd().parents:
        raise OutputError(f"{target} is the folder you are in", "name a new folder")
    work, old = (target.with_name(f".{target.name}.{end}") for end in ("part", "old"))
    for left in (work, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        yield work
        if target.exists():
            target.rename(old)
        work.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {target}: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
