"""InternLM2 in miniature: the fixture, its oracle, and other variants in the original layout."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FIXTURE = Path(__file__).parent / "fixtures" / "internlm2_tiny"
BASE = FIXTURE / "base"
REFERENCE = json.loads((FIXTURE / "reference.json").read_text(encoding="utf-8"))
LENGTHS = ("short", "mid", "prompt_en", "long_over_max_pos")

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}
VARIANTS = {
    "grouped": {},
    "bias": {"bias": True, "rope_scaling": None},
    "linear rope": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "multi-query": {"num_attention_heads": 8, "num_key_value_heads": 1},
    "multi-head": {"num_key_value_heads": 4, "num_hidden_layers": 3},
    "tied": {"tie_word_embeddings": True},
}


def case(model, length):
    """What the original code answered: `model` is base, adapter or adapter_all."""
    return REFERENCE["cases"][f"{model}/{length}"]


def adapter_of(model):
    """The adapter's folder, "none" for the base."""
    return "none" if model == "base" else str(FIXTURE / model)


def tensors_of(directory):
    """All tensors of a checkpoint."""
    found = {}
    for path in sorted(directory.glob("*.safetensors")):
        found |= load_file(path)
    return found


def fused_names(config):
    """Names and shapes of a checkpoint in the original layout."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    rows = (heads + 2 * groups) * (hidden // heads)
    shapes = {"model.tok_embeddings.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        start = f"model.layers.{layer}."
        shapes |= {
            f"{start}attention.wqkv.weight": (rows, hidden),
            f"{start}attention.wo.weight": (hidden, hidden),
            f"{start}feed_forward.w1.weight": (inner, hidden),
            f"{start}feed_forward.w3.weight": (inner, hidden),
            f"{start}feed_forward.w2.weight": (hidden, inner),
            f"{start}attention_norm.weight": (hidden,),
            f"{start}ffn_norm.weight": (hidden,),
        }
        if config["bias"]:
            shapes |= {
                f"{start}attention.wqkv.bias": (rows,),
                f"{start}attention.wo.bias": (hidden,),
            }
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["output.weight"] = (config["vocab_size"], hidden)
    return shapes


def random_model(directory, dtype=torch.float32, **config):
    """A checkpoint in the original layout with random weights, auto_map and all."""
    directory.mkdir(parents=True)
    for name in ("special_tokens_map.json", "tokenizer_config.json", "tokenizer.model"):
        shutil.copy(BASE / name, directory / name)
    settings = json.loads((BASE / "config.json").read_text()) | config
    settings["torch_dtype"] = str(dtype).removeprefix("torch.")
    (directory / "config.json").write_text(json.dumps(settings))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        tensors = {
            name: (torch.ones(shape) if "norm" in name else torch.randn(shape) * 0.2).to(dtype)
            for name, shape in fused_names(settings).items()
        }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def random_adapter(directory, model, targets=("wqkv",), rank=4, **config):
    """A LoRA over modules of the original layout, as peft would have written it there."""
    directory.mkdir(parents=True)
    settings = json.loads((FIXTURE / "adapter" / "adapter_config.json").read_text())
    settings |= {"target_modules": list(targets), "r": rank, "lora_alpha": 2 * rank, **config}
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    shapes = fused_names(json.loads((model / "config.json").read_text()))
    tensors = {}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for name, shape in shapes.items():
            module = name.removesuffix(".weight")
            if module.rpartition(".")[2] not in targets or name == module:
                continue
            own = next((r for end, r in settings["rank_pattern"].items() if module.endswith(end)),
                       rank)  # fmt: skip
            key = f"base_model.model.{module}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(own, shape[1]) * 0.2
            tensors[f"{key}.lora_B.weight"] = torch.randn(shape[0], own) * 0.2
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    return directory
