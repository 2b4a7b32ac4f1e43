"""The fast engine against transformers' `generate`: the same prompts, one process, in turns.

    python tests/bench/bench_engine.py --data SETS --short WNUT17:person,location --long TASTEset
    python tests/bench/bench_engine.py --data SETS --only mixed --languages en,zh,de,es,nl
    python tests/bench/bench_engine.py --documents 12       the sentences in samples/

    short    two labels, short answers
    long     nine labels or more, long answers
    mixed    documents spread over all sets of all languages, with their own labels

On CPU in float32. `generate` gets batches of 4 in input order, nothing shared. Documents are cut
into slices, which the engines answer in turns, as in `b2ner bench`. Their answers must be the same
token for token.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from itertools import islice, zip_longest
from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.bench.comparison import ROWS, compare
from b2ner_cli.core.document import Document
from b2ner_cli.core.language import as_language
from b2ner_cli.datasets import b2nerd
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.errors import B2nerError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import loading
from b2ner_cli.prompts import rendering

SAMPLES = Path(__file__).parents[2] / "samples" / "en.jsonl"
SAMPLE_LABELS = (
    "person", "location", "organization", "date", "product", "creative work", "event", "number",
    "language", "nationality",
)  # fmt: skip
LONG = 9  # labels that the workload with long answers has at least


# The workloads ------------------------------------------------------------------------------------


def workloads(options):
    """Name, labels and prompts of each workload."""
    if options.data is None:
        texts = [item.text for item in formats.read([SAMPLES]) if isinstance(item, Document)]
        for name, labels in (("short", SAMPLE_LABELS[:2]), ("long", SAMPLE_LABELS)):
            if name in options.only:
                yield workload(name, labels, texts, "en", options.documents)
        return
    sets = {found.name: found for found in b2nerd.datasets(options.data) if found.kind == "NER"}
    if "mixed" in options.only:
        yield mixed(options)
    by_size = sorted(sets.values(), key=lambda found: len(found.labels))
    for name, wanted, default in (
        ("short", options.short, f"{by_size[0].name}:{','.join(by_size[0].labels[:2])}"),
        ("long", options.long, by_size[-1].name),
    ):
        if name not in options.only:
            continue
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
    return name, labels, [rendering.render(asked, text, as_language(language)) for text in chosen]


def mixed(options):
    """Prompts of documents spread evenly over all sets of each language, in turns by set."""
    wanted = options.languages.split(",") if options.languages else None
    sets = [
        found
        for found in b2nerd.datasets(options.data)
        if found.kind == "NER" and (wanted is None or found.language in wanted)
    ]
    have = {found.language for found in sets}
    if lacking := sorted(set(wanted or ()) - have):
        sys.exit(f"no data set in {lacking[0]} in {options.data}; it has {', '.join(sorted(have))}")
    # Each language has its share, and each of its sets a share of that.
    asked = []
    for language in sorted(have):
        own = [found for found in sets if found.language == language]
        share = -(-options.documents // len(have))
        asked.append(list(islice(in_turns([spread(found, share) for found in own]), share)))
    chosen = list(islice(in_turns(asked), options.documents))
    labels = sorted({label for prompt in chosen for label in prompt.labels})
    return "mixed", labels, chosen


def spread(dataset, count):
    """Up to `count` prompts of a set, evenly spread over its test split, with its own labels."""
    split = "test" if "test" in dataset.splits else dataset.splits[-1]
    documents = list(b2nerd.read_split(dataset, split, lambda problem: None))
    step = max(1, len(documents) // count)
    for document in islice(documents, 0, step * count, step):
        labels = LabelSet(tuple(dict.fromkeys(document.labels or dataset.labels)))
        yield rendering.render(labels, document.text, as_language(dataset.language))


def in_turns(streams):
    """One of each, then the next of each, until all are at their end."""
    for row in zip_longest(*streams):
        yield from (item for item in row if item is not None)


# The report ---------------------------------------------------------------------------------------


def show(name, labels, documents, found):
    print(
        f"{name}: {documents} documents in {found.slices} slices, {len(labels)} labels, "
        f"{found.prompt_tokens / documents:.0f} prompt and {found.answer_tokens / documents:.1f} "
        "answer tokens each"
    )
    for engine, measured in found.engines.items():
        print(
            f"  {engine:<6} {measured.documents_per_second:>9.2f} documents a second"
            f" {measured.cpu_seconds_per_document:>9.3f} CPU seconds a document   (medians)"
        )
    print(f"  ratio  {found.ratio:>9.2f} by the clock {found.cpu_ratio:>15.2f} by CPU time")
    print(f"  answers that differ: {found.differing} of {found.answers}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini", help="a model as `b2ner tag -m` takes it")
    parser.add_argument("--adapter", help="its adapter; mini brings its own")
    parser.add_argument("--data", type=Path, help="data sets in B2NERD layout, else samples/")
    parser.add_argument("--short", metavar="SET[:LABEL,...]", help="set and labels of that name")
    parser.add_argument("--long", metavar="SET[:LABEL,...]")
    parser.add_argument("--only", default="short,long", help="workloads: short, long, mixed")
    parser.add_argument("--languages", metavar="en,zh,...", help="of the mixed workload, else all")
    parser.add_argument("--documents", type=int, default=100, metavar="N", help="each workload")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="slices")
    parser.add_argument("--max-answer", type=int, default=256, metavar="TOKENS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unsupported := set(options.only) - {"short", "long", "mixed"}:
        parser.error(f"no workload {min(unsupported)!r}: short, long or mixed")
    if "mixed" in options.only and options.data is None:
        parser.error("the mixed workload needs --data")
    try:
        loaded = loading.load(options.model, options.adapter, device="cpu", dtype="float32")
        engines = {
            "fast": PackedEngine(loaded, max_answer=options.max_answer),
            "plain": PlainEngine(loaded, max_answer=options.max_answer, rows=ROWS),
        }
        report = {}
        for name, labels, asked in workloads(options):
            found = report[name] = compare(engines, [[prompt] for prompt in asked], options.rounds)
            if not options.json:
                show(name, labels, len(asked), found)
    except B2nerError as error:
        sys.exit(f"{error.message}\n{error.hint}")
    if options.json:
        print(json.dumps({name: asdict(found) for name, found in report.items()}, indent=2))
    if any(found.differing for found in report.values()):
        sys.exit("the engines' answers differ")


if __name__ == "__main__":
    main()
