"""What the shape of a run costs the fast engine: one document, long prefixes, many label sets.

    python tests/bench/bench_shapes.py                    the sentences in samples/
    python tests/bench/bench_shapes.py --rounds 5 --documents 48 --constrain

    one       a document at a time: `generate`, the fast engine without drafting, and with it
    prefix    a prefix of some 400 tokens against one of some 80, same documents
    sets      50 label sets in turns against one of the same size

On CPU in float32, in one process, in turns; what is compared is the median of the rounds. The
ratios of `one` are against `generate`, the others against the plain shape: 1.0 is as fast.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.core.document import Document
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import loading
from b2ner_cli.prompts import rendering

SAMPLES = Path(__file__).parents[2] / "samples"
FEW = ("person", "location")
MANY = (
    "person", "location", "organization", "date", "product", "creative work", "event", "number",
    "language", "nationality", "disease", "chemical", "vehicle", "weapon", "award", "currency",
    "law", "food", "animal", "plant", "building", "river", "mountain", "religion", "sport",
    "software", "website", "academic field", "military unit", "job title", "medical treatment",
    "body part", "weather phenomenon", "musical instrument", "political party", "newspaper",
    "television channel", "film director", "video game", "board game", "astronomical object",
    "spacecraft", "airline", "airport", "train station", "hotel", "restaurant", "university",
    "hospital", "museum", "company division", "stock exchange", "financial figure", "percentage",
    "phone number", "postal address", "temperature", "distance", "duration", "time of day",
)  # fmt: skip
SETS = 50
ANSWER = 10  # tokens where every answer has the same length
DIFFER = "one: answers that differ"


def texts(count):
    """English sentences, again from the start where there are too few."""
    files = [str(SAMPLES / name) for name in ("en.jsonl", "first_en.jsonl")]
    found = [item.text for item in formats.read(files) if isinstance(item, Document)]
    return [found[number % len(found)] for number in range(count)]


def ask(labels, documents):
    asked = LabelSet(labels)
    return [rendering.render(asked, text, "en") for text in documents]


def label_sets():
    """Fifty distinct pairs of labels."""
    pairs = [(one, other) for one in MANY for other in MANY if one < other]
    return pairs[:: len(pairs) // SETS][:SETS]


def longer(loaded, least):
    """So many labels that the prefix has at least that many tokens."""
    labels = (
        *MANY,
        *(f"{quality} {label}" for quality in ("former", "fictional") for label in MANY),
    )
    for count in range(2, len(labels) + 1):
        prefix = rendering.prefix(LabelSet(labels[:count]), "en")
        if loaded.tokenizer.count(prefix) >= least:
            return labels[:count]
    raise ValueError(f"all labels together take fewer than {least} tokens")


def timed(engine, asked, one_by_one=False):
    """Seconds to answer all prompts, and the answers."""
    began = time.perf_counter()
    if one_by_one:
        said = [dict(engine.generate([prompt]))[0] for prompt in asked]
    else:
        answered = dict(engine.generate(asked))
        said = [answered[index] for index in range(len(asked))]
    return time.perf_counter() - began, [answer.text for answer in said]


def in_turns(jobs, rounds):
    """Median seconds of each named job; every job once a round. And what each said last."""
    spent, said = {name: [] for name in jobs}, {}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            seconds, said[name] = job()
            if number:  # the first round warms up
                spent[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}, said


def one(loaded, options, documents):
    """A document at a time: speed against `generate`, and how many answers differ."""
    make = {"max_answer": options.max_answer, "constrain": options.constrain}
    plain, fast, stepwise = (
        PlainEngine(loaded, rows=1, **make),
        PackedEngine(loaded, **make),
        PackedEngine(loaded, **make),
    )
    stepwise.draft_budget = 0
    asked = ask(MANY[:10], documents[: max(1, options.documents // 4)])
    spent, said = in_turns(
        {
            "generate": lambda: timed(plain, asked, True),
            "no drafting": lambda: timed(stepwise, asked, True),
            "drafting": lambda: timed(fast, asked, True),
        },
        options.rounds,
    )
    found = {f"one: {name}": spent["generate"] / taken for name, taken in spent.items()}
    found[DIFFER] = sum(
        len({said[name][index] for name in said}) > 1 for index in range(len(asked))
    )
    return found


def forced(loaded):
    """An engine whose answers have one length: what is compared is not what labels lead to."""
    endless = replace(loaded, tokenizer=replace(loaded.tokenizer, stops=()))
    return PackedEngine(endless, max_answer=ANSWER)


def prefix(loaded, options, documents):
    """A long prefix against a short one."""
    near, far = (ask(longer(loaded, least), documents) for least in (80, 400))
    engine = forced(loaded)
    spent, _ = in_turns(
        {"near": lambda: timed(engine, near), "far": lambda: timed(engine, far)}, options.rounds
    )
    sizes = [loaded.tokenizer.count(asked[0].prefix) for asked in (far, near)]
    return {f"prefix: {sizes[0]} against {sizes[1]} tokens": spent["near"] / spent["far"]}


def sets(loaded, options, documents):
    """Many label sets in turns against one."""
    pairs, engine = label_sets(), forced(loaded)
    mixed = [ask(pairs[i % len(pairs)], [text])[0] for i, text in enumerate(documents)]
    single = ask(pairs[0], documents)
    spent, _ = in_turns(
        {"one": lambda: timed(engine, single), "many": lambda: timed(engine, mixed)},
        options.rounds,
    )
    return {f"sets: {min(len(pairs), len(documents))} against 1": spent["one"] / spent["many"]}


SHAPES = {"one": one, "prefix": prefix, "sets": sets}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini", help="a model as `b2ner tag -m` takes it")
    parser.add_argument("--adapter", help="its adapter; mini brings its own")
    parser.add_argument(
        "--only",
        type=lambda names: names.split(","),
        default=list(SHAPES),
        metavar="SHAPES",
        help="some of one,prefix,sets",
    )
    parser.add_argument(
        "--documents", type=int, default=96, metavar="N", help="`one` takes a quarter of them"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--max-answer", type=int, default=128, metavar="TOKENS")
    parser.add_argument("--constrain", action="store_true", help="for the shape `one`")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    loaded = loading.load(options.model, options.adapter, device="cpu", dtype="float32")
    documents = texts(options.documents)
    found = {}
    for name in options.only:
        found |= SHAPES[name](loaded, options, documents)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:<36} {value:>8.2f}")
    if found.get(DIFFER):
        sys.exit("the engines' answers differ")


if __name__ == "__main__":
    main()
