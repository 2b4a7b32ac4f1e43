"""The models that the B2NER paper released, by name; where their files are, and when they fit.

    --model internlm2.5-7b    internlm/internlm2_5-7b with Umean/B2NER-Internlm2.5-7B-LoRA
    --model internlm2-20b     internlm/internlm2-20b with Umean/B2NER-Internlm2-20B-LoRA

Revisions are pinned where they are known in full: both adapters were trained on the weights of
July 2024. Knows names and small files; loads nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on the hub; `revision` None is its newest state."""

    name: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class Released:
    """A base model and the adapter that was trained on it."""

    base: Repository
    adapter: Repository


RELEASED = {
    "internlm2.5-7b": Released(
        # the state of July 2024; what came after changed remote code alone
        Repository("internlm/internlm2_5-7b", "7bee5c5d7c4591d7f081f5976610195fdd1f1e35"),
        # the first state whose configuration names the base instead of a local path
        Repository("Umean/B2NER-Internlm2.5-7B-LoRA", "c225d778d594bc61bd3079b83b164a3172632576"),
    ),
    "internlm2-20b": Released(
        # The main branch holds pickles alone. This is the hub's own conversion of the same
        # weights (of March 2024, the ones there in July 2024) to safetensors.
        Repository("internlm/internlm2-20b", "adceed6f8e7661241721aed0a82818d97b3e3b25"),
        Repository("Umean/B2NER-Internlm2-20B-LoRA", None),
    ),
}

_CHAT_END = "<|im_end|>"


def pinned(name: str) -> str | None:
    """The revision at which a repository of the table is taken, None for any other."""
    for released in RELEASED.values():
        for repository in (released.base, released.adapter):
            if repository.name == name:
                return repository.revision
    return None


def doubts(model: str, directory: Path, adapter: Path) -> list[str]:
    """Why an adapter may be on the wrong model although its shapes fit, a sentence each.

    Looks for a chat model under an adapter of a base model, for another name than the adapter's
    base has, and for a tokenizer beside the adapter that is not the model's.
    """
    config = small_object(adapter / "adapter_config.json")
    base = str(config.get("base_model_name_or_path") or "")
    found = []
    if "chat" not in base.lower():
        ends = small_object(directory / "generation_config.json").get("eos_token_id")
        named = "chat" in model.lower() or "chat" in directory.name.lower()
        if named or (isinstance(ends, list) and _chat_end(directory) in ends):
            found.append(
                f"{model} looks like a chat model, but adapter {adapter} was trained on "
                f"{base or 'a base model'}: answers will be worse than they should be"
            )
    local = Path(base).exists() or Path(model).exists()
    if not local and is_hub_name(base) and is_hub_name(model) and base.lower() != model.lower():
        found.append(f"adapter {adapter} was trained on {base}, not on {model}")
    brought, own = adapter / "tokenizer.model", directory / "tokenizer.model"
    if brought.is_file() and own.is_file() and brought.read_bytes() != own.read_bytes():
        found.append(
            f"adapter {adapter} brings another vocabulary (tokenizer.model) than {model} has: "
            "it was trained on other weights"
        )
    return found


def _chat_end(directory: Path) -> int | None:
    tokens = small_object(directory / "tokenizer_config.json").get("added_tokens_decoder")
    for number, token in tokens.items() if isinstance(tokens, dict) else ():
        if isinstance(token, dict) and token.get("content") == _CHAT_END and number.isdecimal():
            return int(number)
    return None


def is_hub_name(name: str) -> bool:
    """Whether a name has the form of a repository's on the hub, a revision behind it or not."""
    name = name.partition("@")[0]
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def small_object(path: Path) -> dict[str, Any]:
    """A small JSON object, empty where there is none to read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
