"""InternLM2's models and adapters in Llama's layout, which every engine reads.

    adapter     A of wqkv stands in q_proj, k_proj and v_proj; B's rows are shared out to them
    model       the same tensors, wqkv split, under Llama's names and configuration
    merged      a model with its adapter added in float32 and rounded once

Nothing is rounded but a merged weight. What is written is whole or not there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save_file

from b2ner_cli import adapters, backbone, internlm2
from b2ner_cli.adapters import Update
from b2ner_cli.errors import ModelError, OutputError
from b2ner_cli.model_files import Source, base_of, locate, read_json

_TARGETS = "target_modules"


def convert(
    source: str,
    target: Path,
    *,
    model: str | None = None,
    revision: str | None = None,
    merged: Path | None = None,
    dtype: str = "auto",
    force: bool = False,
) -> list[str]:
    """Write an adapter, or a model, of InternLM2 in Llama's layout; what was done, line by line.

    `source` is an adapter, a released name or a model; `model` the adapter's base where it is not
    the one that the adapter names. `merged` is where base and adapter go as one model, in `dtype`,
    by default as the base is stored. Raises ModelError for what cannot be converted and
    OutputError for what cannot be written.
    """
    for folder in (target, merged):
        if folder is not None and folder.exists() and not force:
            raise OutputError(f"{folder} exists", "choose another place, or --force to replace it")
    found = _locate(source, model, revision, weights=merged is not None)
    kind = _object(found.directory / "config.json").get("model_type")
    if kind not in (internlm2.MODEL_TYPE, "llama"):
        raise ModelError(
            f"{found.name} is {kind}, not InternLM2: there is nothing to convert",
            "other engines read it, and adapters of it, as they are",
        )
    if found.adapter is None:
        if merged is not None:
            raise ModelError(f"{source} is a model: there is no adapter to merge", "drop --merged")
        found = locate(found.name, "none", revision)
        return [*found.reasons, write_model(found, target, dtype)]
    done = [*found.reasons, write_adapter(found, target)]
    if merged is not None:
        done.append(write_model(found, merged, dtype))
    return done


def write_adapter(source: Source, target: Path) -> str:
    """Write a source's adapter in Llama's layout in peft's format; one line about it."""
    assert source.adapter is not None
    adapter = source.adapter
    skeleton = backbone.skeleton(source)
    adapters.check(skeleton, adapter)
    fused = adapters.read(adapter)
    updates = adapters.for_model(fused, skeleton.config, adapter)
    config = _object(adapter / "adapter_config.json")
    base, _ = base_of(adapter)
    values = llama_adapter_config(config, fused, updates, skeleton.config.num_hidden_layers)
    tensors = {}
    for update in updates:
        key = f"base_model.model.{update.module}"
        tensors[f"{key}.lora_A.weight"] = update.a.clone()  # shared storage cannot be saved
        tensors[f"{key}.lora_B.weight"] = update.b.contiguous()
    with _folder(target) as work:
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        (work / "adapter_config.json").write_text(text, encoding="utf-8")
        save_file(tensors, work / "adapter_model.safetensors", metadata={"format": "pt"})
    return f"{target}: adapter of {base}, {len(fused)} layers of it now {len(updates)} of Llama's"


def llama_adapter_config(
    config: dict[str, Any], fused: list[Update], updates: list[Update], layers: int
) -> dict[str, Any]:
    """A LoRA's configuration with the names of `updates` for those of `fused`.

    Patterns are spelled out per module where rank or alpha is not the default, since three
    modules stand for one; module names are short where every layer has them.
    """
    rank, alpha = int(config.get("r", 8)), config.get("lora_alpha", 8)
    ranks, alphas = {}, {}
    names: dict[str, list[str]] = {}
    given = iter(updates)
    for old in fused:
        own = adapters.alpha_of(config, old.module)
        for _ in range(3 if old.module.endswith(internlm2.FUSED) else 1):
            update = next(given)
            names.setdefault(update.module.rpartition(".")[2], []).append(update.module)
            if update.a.shape[0] != rank:
                ranks[update.module] = update.a.shape[0]
            if own != alpha:
                alphas[update.module] = own
    everywhere = all(len(modules) == layers or modules == [name] for name, modules in names.items())
    targets = list(names) if everywhere else [m for modules in names.values() for m in modules]
    none = {"layers_to_transform": None, "layers_pattern": None, "exclude_modules": None}
    values = config | {_TARGETS: targets, "rank_pattern": ranks, "alpha_pattern": alphas}
    return values | {key: value for key, value in none.items() if key in config}


def write_model(source: Source, target: Path, dtype: str = "auto") -> str:
    """Write a source's model, its adapter merged if it has one, as Llama; one line about it."""
    stored = backbone.stored_dtype(source)
    wanted = (
        stored if dtype == "auto" else backbone.DTYPES[backbone.choose_dtype(dtype, "cpu").value]
    )
    network, tokenizer = backbone.load_parts(source, stored if source.adapter else wanted)
    if source.adapter:
        adapters.merge(network, source.adapter, wanted)
    with _folder(target) as work:
        _as_llama(network, wanted).save_pretrained(work)
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


def _locate(source: str, model: str | None, revision: str | None, *, weights: bool) -> Source:
    """A source of either kind: an adapter and its base, or a model."""
    path = Path(source)
    if path.is_dir() and not (path / "adapter_config.json").is_file():
        return locate(source, "none", revision, weights=False)
    if not path.is_dir() and "/" not in source:
        return locate(source, None, revision, weights=weights)  # a released name
    return locate(model, source, revision, weights=weights)


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
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


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path, ModelError)
    return value if isinstance(value, dict) else {}
