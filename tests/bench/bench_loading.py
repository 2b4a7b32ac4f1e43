"""Memory and time of loading an InternLM2 checkpoint of about a billion parameters.

    python tests/bench/bench_loading.py [--layers 14]

Writes random weights in the original layout to a temporary folder, 8 shards of bfloat16, with an
adapter on wqkv and one on all five targets. Each way of loading runs in a process of its own:
`peak` and `kept` are anonymous memory beyond what the libraries took before, `mapped` is what
the process keeps of the files, which the system takes back when it needs to.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.internlm2 import fused_names, random_adapter, random_model

SHARDS = 8
ALL = ("wqkv", "wo", "w1", "w2", "w3")


def memory(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def measure(model, adapter, dtype):
    from b2ner_cli.models import loading
    from b2ner_cli.models.files import locate

    loading.skeleton(locate(model, "none"))  # all libraries are loaded by now
    before, peak, stopped = memory("RssAnon"), [0], threading.Event()

    def watch():
        while not stopped.wait(0.002):
            peak[0] = max(peak[0], memory("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    loaded = loading.load(model, adapter, device="cpu", dtype=dtype)
    seconds = time.perf_counter() - began
    with torch.inference_mode():
        loaded.model(torch.arange(3, 40)[None])  # every page of every weight is touched
    stopped.set()
    thread.join()
    size = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    print(json.dumps({
        "parameters": sum(p.numel() for p in loaded.model.parameters()), "size": size,
        "seconds": seconds, "peak": peak[0] - before, "kept": memory("RssAnon") - before,
        "mapped": memory("RssFile"),
    }))  # fmt: skip


def write(folder, layers):
    """A checkpoint in shards, and two adapters."""
    shape = {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": layers,
        "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 32768,
    }  # fmt: skip
    model = random_model(folder / "model", torch.bfloat16, **(shape | {"num_hidden_layers": 1}))
    config = json.loads((model / "config.json").read_text()) | shape | {"vocab_size": 92544}
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").unlink()
    names = list(fused_names(config).items())
    places = {}
    for number in range(SHARDS):
        part = names[number * len(names) // SHARDS : (number + 1) * len(names) // SHARDS]
        file = f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        tensors = {
            name: (torch.randn(s, dtype=torch.bfloat16) * 0.02) if len(s) > 1
            else torch.ones(s, dtype=torch.bfloat16)
            for name, s in part
        }  # fmt: skip
        save_file(tensors, model / file, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, file)
    index = {"metadata": {}, "weight_map": places}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    random_adapter(folder / "wqkv", model, rank=32)
    random_adapter(folder / "all", model, ALL, rank=32)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = write(folder, options.layers)
        largest = max(path.stat().st_size for path in model.glob("*.safetensors"))
        print(f"largest shard {largest / 1e9:.2f} GB")
        for adapter in ("none", "wqkv", "all"):
            for dtype in ("bfloat16", "float32"):
                named = adapter if adapter == "none" else str(folder / adapter)
                command = [sys.executable, __file__, "--measure", str(model), named, dtype]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                print(
                    f"adapter {adapter:5} {dtype:9} {found['parameters'] / 1e9:.2f} billion, "
                    f"{found['size'] / 1e9:.2f} GB: {found['seconds']:5.1f} s, "
                    f"peak {found['peak'] / 1e9:.2f}, kept {found['kept'] / 1e9:.2f}, "
                    f"mapped {found['mapped'] / 1e9:.2f} GB"
                )


if __name__ == "__main__":
    main()
