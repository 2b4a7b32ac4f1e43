"""The fast engine against transformers' `generate`: the same prompts, one process, in turns.

    python tests/bench/bench_engine.py --data SETS --short WNUT17:person,location --long TASTEset
    python tests/bench/bench_engine.py --documents 12       the sentences in samples/

    short    two labels, short answers
    long     nine labels or more, long answers

On CPU in float32. `generate` gets batches of 4 in input order, nothing shared. The documents are
cut into slices; each is answered by both engines before the next one, and who goes first changes,
so that whatever else the machine does falls on both. Their answers must be the same words.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

from b2ner_cli import backbone, formats, prompts
from b2ner_cli.document import Document
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.errors import B2nerError
from b2ner_cli.formats import b2nerd
from b2ner_cli.labels import LabelSet, as_language

SAMPLES = Path(__file__).parents[2] / "samples" / "en.jsonl"
SAMPLE_LABELS = (
    "person", "location", "organization", "date", "product", "creative work", "event", "number",
    "language", "nationality",
)  # fmt: skip
ROWS = 4
LONG = 9  # labels that the workload with long answers has at least


# The workloads ------------------------------------------------------------------------------------


def workloads(options):
    """Name, labels and prompts of each workload."""
    if options.data is None:
        texts = [item.text for item in formats.read([SAMPLES]) if isinstance(item, Document)]
        yield workload("short", SAMPLE_LABELS[:2], texts, "en", options.documents)
        yield workload("long", SAMPLE_LABELS, texts, "en", options.documents)
        return
    sets = {found.name: found for found in b2nerd.datasets(options.data) if found.kind == "NER"}
    by_size = sorted(sets.values(), key=lambda found: len(found.labels))
    for name, wanted, default in (
        ("short", options.short, f"{by_size[0].name}:{','.join(by_size[0].labels[:2])}"),
        ("long", options.long, by_size[-1].name),
    ):
        which, _, labels = (wanted or default).partition(":")
        if which not in sets:
            sys.exit(f"no data set {which!r} in {options.data}; it has {', '.join(sets)}")
        documents = b2nerd.read_split(sets[which], "test", lambda problem: None)
        texts = [document.text for document in documents]
        chosen = tuple(labels.split(",")) if labels else sets[which].labels
        yield workload(name, chosen, texts, sets[which].language, options.documents)


def workload(name, labels, texts, language, count):
    """Prompts of documents spread evenly over the set; fewer than asked for if it has fewer."""
    if name == "long" and len(labels) < LONG:
        print(f"note: the long workload has {len(labels)} labels, not {LONG}", file=sys.stderr)
    step = max(1, len(texts) // count)
    asked = LabelSet(tuple(labels))
    chosen = islice(texts, 0, step * count, step)
    return name, labels, [prompts.render(asked, text, as_language(language)) for text in chosen]


# What is measured ---------------------------------------------------------------------------------


def timed(engine, asked):
    """Wall and CPU seconds, and the completions in order."""
    wall, cpu = time.perf_counter(), time.process_time()
    completions = dict(engine.generate(asked))
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return *spent, [completions[index] for index in range(len(asked))]


def compare(engines, asked, rounds):
    """Both engines over every slice, in turns."""
    warm = prompts.render(LabelSet(("word",)), "Warm up .", "en")  # a prefix that is not asked for
    for engine in engines.values():
        list(engine.generate([warm]))
    size = -(-len(asked) // rounds)
    slices = [asked[start : start + size] for start in range(0, len(asked), size)]
    seconds = {name: {"wall": [], "cpu": []} for name in engines}
    differing, answers = 0, []
    for number, piece in enumerate(slices):
        said = {}
        for name in sorted(engines, reverse=number % 2 == 1):
            wall, cpu, said[name] = timed(engines[name], piece)
            seconds[name]["wall"].append(wall / len(piece))
            seconds[name]["cpu"].append(cpu / len(piece))
        pairs = zip(said["fast"], said["plain"], strict=True)
        differing += sum(one.text != other.text for one, other in pairs)
        answers += said["fast"]
    return {
        "documents": len(asked),
        "slices": len(slices),
        "prompt_tokens": statistics.mean(answer.prompt_tokens for answer in answers),
        "answer_tokens": statistics.mean(len(answer.ends) for answer in answers),
        "differing_answers": differing,
        "median_seconds_per_document": {
            name: {clock: statistics.median(values) for clock, values in spent.items()}
            for name, spent in seconds.items()
        },
        "median_ratio": {
            clock: statistics.median(
                plain / fast
                for plain, fast in zip(seconds["plain"][clock], seconds["fast"][clock], strict=True)
            )
            for clock in ("wall", "cpu")
        },
    }


# The report ---------------------------------------------------------------------------------------


def show(name, labels, found):
    print(
        f"{name}: {found['documents']} documents in {found['slices']} slices, {len(labels)} labels,"
        f" {found['prompt_tokens']:.0f} prompt and {found['answer_tokens']:.1f} answer tokens each"
    )
    for engine, spent in found["median_seconds_per_document"].items():
        print(
            f"  {engine:<6} {1 / spent['wall']:>9.2f} documents a second"
            f" {spent['cpu']:>9.3f} CPU seconds a document   (medians)"
        )
    ratio = found["median_ratio"]
    print(f"  ratio  {ratio['wall']:>9.2f} by the clock {ratio['cpu']:>15.2f} by CPU time")
    differing = found["differing_answers"]
    print(f"  answers that differ: {differing} of {found['documents']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini", help="a model as `b2ner tag -m` takes it")
    parser.add_argument("--adapter", help="its adapter; mini brings its own")
    parser.add_argument("--data", type=Path, help="data sets in B2NERD layout, else samples/")
    parser.add_argument("--short", metavar="SET[:LABEL,...]", help="set and labels of that name")
    parser.add_argument("--long", metavar="SET[:LABEL,...]")
    parser.add_argument("--documents", type=int, default=100, metavar="N", help="each workload")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="slices")
    parser.add_argument("--max-answer", type=int, default=256, metavar="TOKENS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        loaded = backbone.load(options.model, options.adapter, device="cpu", dtype="float32")
        engines = {
            "fast": PackedEngine(loaded, max_answer=options.max_answer),
            "plain": PlainEngine(loaded, max_answer=options.max_answer, rows=ROWS),
        }
        report = {}
        for name, labels, asked in workloads(options):
            report[name] = compare(engines, asked, options.rounds)
            if not options.json:
                show(name, labels, report[name])
    except B2nerError as error:
        sys.exit(f"{error.message}\n{error.hint}")
    if options.json:
        print(json.dumps(report, indent=2))
    if sum(found["differing_answers"] for found in report.values()):
        sys.exit("the engines' answers differ")


if __name__ == "__main__":
    main()
