"""The fast engine on a card: a 7B InternLM2.5 shape with random weights, nothing to download.

    python tests/bench/bench_gpu.py                              InternLM2.5-7B's shape, bf16
    python tests/bench/bench_gpu.py --shape tiny --device cpu    does the script run at all

Random weights say nothing, so answers are forced: no token ends them and each has exactly
`--answer` tokens. Prompts are random token ids: `--prefix` shared ones and about `--own` of the
document's. Compared with `generate` in batches of 64, sorted by length, in the same process; both
answer the same prompts, in turns. The share of the peak is that of a large matrix product in the
same dtype, measured here.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import torch
import transformers

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.models.files import Source
from b2ner_cli.models.loading import Backbone

SHAPES = {
    "internlm2.5-7b": {
        "vocab_size": 92544, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 32768,
    },
    "tiny": {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
    },
}  # fmt: skip
BATCH = 64


class Numbers:
    """A tokenizer whose tokens are numbers: text is ids with spaces between."""

    bos, eos, stops, pad = (1,), 2, (-1,), 2

    def encode(self, texts, *, continued=False):
        return [[int(word) if word.isdigit() else 3 for word in text.split()] for text in texts]

    def decode(self, ids):
        return "".join(f" {number}" for number in ids)

    def count(self, text):
        return len(text.split())


def random_model(shape, device, dtype):
    config = transformers.LlamaConfig(**SHAPES[shape], tie_word_embeddings=False)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = transformers.AutoModelForCausalLM.from_config(
                config, attn_implementation="sdpa"
            )
    finally:
        torch.set_default_dtype(default)
    return model.eval().requires_grad_(False)


def prompts(options, vocabulary):
    numbers = random.Random(7)
    words = [str(n) for n in range(10, vocabulary)]
    shared = " ".join(numbers.choices(words, k=options.prefix - 1))
    for _ in range(options.documents):
        length = max(1, round(numbers.gauss(options.own, options.own / 4)))
        yield Prompt(shared, " " + " ".join(numbers.choices(words, k=length)))


def peak(device, dtype, size):
    """FLOP/s of a square matrix product."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(10):
        start = clock(device)
        one @ other
        rates.append(2 * size**3 / (clock(device) - start))
    return statistics.median(rates)


def clock(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measured(engine, asked, device):
    start = clock(device)
    answers = dict(engine.generate(asked))
    spent = clock(device) - start
    assert len(answers) == len(asked)
    return len(asked) / spent, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="internlm2.5-7b")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--documents", type=int, default=2048, help="for the fast engine")
    parser.add_argument("--compared", type=int, default=512, help="of them for generate")
    parser.add_argument("--prefix", type=int, default=80)
    parser.add_argument("--own", type=int, default=50)
    parser.add_argument("--answer", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    model = random_model(options.shape, options.device, dtype)
    source = Source("random", Path(), None, None, "random")
    loaded = Backbone(
        source, model, Numbers(), options.device, str(dtype).removeprefix("torch."),
        model.config.max_position_embeddings, (),
    )  # fmt: skip
    asked = list(prompts(options, model.config.vocab_size))
    sorted_few = sorted(asked[: options.compared], key=lambda prompt: len(prompt.own))
    fast = PackedEngine(loaded, max_answer=options.answer)
    plain = PlainEngine(loaded, max_answer=options.answer, rows=BATCH)
    for engine in (fast, plain):
        measured(engine, asked[:BATCH], options.device)  # warm
    rates = {"fast": [], "generate": []}
    for _ in range(options.rounds):
        rates["fast"].append(measured(fast, asked, options.device)[0])
        rates["generate"].append(measured(plain, sorted_few, options.device)[0])
    rate = {name: statistics.median(values) for name, values in rates.items()}
    body = sum(p.numel() for n, p in model.named_parameters() if "embed" not in n)
    head = model.lm_head.weight.numel()
    flops = 2 * ((options.own + options.answer) * (body - head) + options.answer * head)
    most = peak(options.device, dtype, 8192 if options.shape != "tiny" else 256)
    card = torch.cuda.get_device_name(0) if options.device.startswith("cuda") else "CPU"
    report = {
        "device": card,
        "shape": options.shape,
        "documents_per_second": rate,
        "ratio": rate["fast"] / rate["generate"],
        "matmul_peak_tflops": most / 1e12,
        "share_of_peak": rate["fast"] * flops / most,
        "tokens": {"prefix": options.prefix, "own": options.own, "answer": options.answer},
        "rows": fast.limits.sequences,
        "tokens_a_step": fast.limits.step_tokens,
    }
    print(json.dumps(report, indent=2) if options.json else "\n".join(
        f"{name}: {value}" for name, value in report.items()
    ))  # fmt: skip


if __name__ == "__main__":
    main()
