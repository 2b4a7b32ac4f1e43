"""The fast engine against plain `generate`: same process, same prompts, answers compared.

    python tests/bench/bench_engine.py --data heldout/NER_en --documents 100

Plain is batches of 4 in input order without prefix reuse. Two workloads: two labels with short
answers, and nine or more with long ones. The engines take turns on slices, so that a noisy
machine hits both; the ratio is of the sums.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path

from b2ner_cli import backbone, prompts
from b2ner_cli.engine import PlainEngine, SharedPrefixEngine
from b2ner_cli.formats import b2nerd
from b2ner_cli.labels import LabelSet

# workload, data set, labels (None: all of the set's own)
WORKLOADS = [("short", "WNUT17", ("person", "location")), ("long", "TASTEset", None)]


def questions(data: Path, name: str, labels: tuple[str, ...] | None, count: int) -> list:
    dataset = next(d for d in b2nerd.datasets(data) if d.name == name)
    asked = LabelSet(labels or dataset.labels)
    documents = islice(b2nerd.read_split(dataset, "test"), count)
    return [prompts.render(asked, document.text, "en") for document in documents]


def timed(engine, batch) -> tuple[float, dict]:
    began = time.perf_counter()
    answers = dict(engine.generate(batch))
    return time.perf_counter() - began, answers


def compare(fast, plain, asked: list, slices: int) -> dict:
    size = -(-len(asked) // slices)
    fast_seconds = plain_seconds = 0.0
    same = tokens = 0
    for start in range(0, len(asked), size):
        batch = asked[start : start + size]
        seconds, fast_answers = timed(fast, batch)
        fast_seconds += seconds
        seconds, plain_answers = timed(plain, batch)
        plain_seconds += seconds
        same += sum(fast_answers[i].text == plain_answers[i].text for i in range(len(batch)))
        tokens += sum(len(answer.ends) for answer in fast_answers.values())
    return {
        "documents": len(asked),
        "answer_tokens": round(tokens / len(asked), 1),
        "same_answers": same,
        "fast_documents_per_second": round(len(asked) / fast_seconds, 2),
        "plain_documents_per_second": round(len(asked) / plain_seconds, 2),
        "ratio": round(plain_seconds / fast_seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with WNUT17 and TASTEset")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--max-answer", type=int, default=128)
    options = parser.parse_args()
    loaded = backbone.load(options.model, device="cpu", dtype="float32")
    fast = SharedPrefixEngine(loaded, max_answer=options.max_answer)
    plain = PlainEngine(loaded, max_answer=options.max_answer, rows=4)
    report = {}
    for workload, name, labels in WORKLOADS:
        asked = questions(options.data, name, labels, options.documents)
        list(fast.generate(asked[:2]))  # warm up
        report[workload] = compare(fast, plain, asked, options.slices)
        print(json.dumps({workload: report[workload]}), flush=True)


if __name__ == "__main__":
    main()
