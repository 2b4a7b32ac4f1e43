"""The non-model path: how many documents a CPU-second when every answer is in the cache.

    python tests/bench/bench_pipeline.py                      all of it, some minutes
    python tests/bench/bench_pipeline.py --documents 5000 --sizes 1000,10000

    whole    tag_run.tag: read, plan, look up, parse, ground, merge, encode, write a line a document
    stages   the same work a window at a time, so that each stage can be timed
    memory   peak resident memory of the whole path in a child process, by number of documents

Only CPU time is measured (user and system, of this process). A busy machine still slows it down,
by half on some, and never speeds it up: as with timeit, the best round says what the code takes,
and the others are shown beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.cli import console
from b2ner_cli.core.document import BadRecord
from b2ner_cli.core.engine import Completion
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import loop, tag_run, windows
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.loop import Options
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger

LABELS = LabelSet(("person", "organization", "city", "movie title"))
REQUIRED = 30_000  # documents a CPU-second
FLAT = 1.25  # the most that memory may grow from the smallest to the largest input
WINDOW = 4096

SYLLABLES = (
    *("ba", "dor", "el", "fin", "ga", "hu", "ir", "jas", "kel", "lo", "mir", "nu", "or"),
    *("pel", "qui", "ros", "sa", "tun", "ul", "ver", "wy", "xan", "zo"),
)
FRAMES = (
    "{person} left {organization} in spring and has lived in {city} since then, where the "
    "neighbours rarely ask about the laboratory.",
    "Nobody in {city} expected {organization} to close its oldest plant so soon after the new "
    "contract had been signed and celebrated.",
    "The second part of {movie title}, shown last week in {city}, is said to owe a good deal of "
    "its humour to {person}, who is not named in it.",
    "According to {person}, the figures that {organization} gave out on Tuesday were rounded "
    "twice, once by a clerk and once by the printing office.",
)
SUFFIXES = {"organization": " Works", "city": "burg", "movie title": " at Dawn", "person": " Vey"}
SAID = re.compile(r"[A-Z][a-z]+(?: Works|burg| at Dawn| Vey)")


# The corpus ---------------------------------------------------------------------------------------


def sentences(count, seed=0):
    """Invented sentences of about 150 characters with two or three entities, all distinct."""
    chance = random.Random(seed)
    for number in range(count):
        names = {
            label: "".join(chance.choices(SYLLABLES, k=3)).capitalize() + suffix
            for label, suffix in SUFFIXES.items()
        }
        yield f"{FRAMES[number % len(FRAMES)].format(**names)} ({number})"


def write_corpus(path, count, distinct):
    """JSON lines of `count` documents; past `distinct` the texts come again under new ids."""
    with open(path, "wb") as file:
        number = 0
        while number < count:
            for text in sentences(min(distinct, count - number)):
                file.write(b'{"id": "doc-%d", "text": "%s"}\n' % (number, text.encode()))
                number += 1


class Script:
    """An engine that knows the invented names: tokens of about four characters, single precision.

    With `silent` it may not be asked at all: then every answer must have come from the cache.
    """

    identity, context, max_answer, batch_tokens = "bench", 8192, 256, 65536

    def __init__(self, silent):
        self.silent = silent

    def count(self, text):
        return len(text) // 4 + 1

    def generate(self, prompts, answered=()):
        assert not (self.silent and prompts), f"{len(prompts)} answers are not in the cache"
        for index, prompt in enumerate(prompts):
            text = " " + "; ".join(
                f"{label}: {name}"
                for name in SAID.findall(prompt.own)
                for label, suffix in SUFFIXES.items()
                if name.endswith(suffix)
            )
            ends = [*range(4, len(text), 4), len(text)]
            chance = random.Random(prompt.own)
            packed = struct.pack(f"{len(ends)}f", *(-chance.expovariate(9) for _ in ends))
            logprobs = struct.unpack(f"{len(ends)}f", packed)
            yield index, Completion(text, logprobs, tuple(ends), "eos", self.count(prompt.text))


def fill(corpus, cache_path):
    """Answer the corpus once, so that the cache holds everything."""
    with Cache.open(cache_path) as cache:
        for _ in loop.tag(formats.read([corpus]), Script(False), LABELS, cache=cache):
            pass


# What is measured ---------------------------------------------------------------------------------


def whole(corpus, cache_path, output, marks=None):
    """The run that `b2ner tag` makes of it; gives CPU seconds and the watch that counted.

    `marks` gets the CPU time at every so many documents as a window holds once it has grown.
    """
    # The one thing replaced is the model.
    Tagger.load = lambda _, labels, *, options, cache: Tagger(Script(True), labels, options, cache)
    job = tag_run.TagJob(
        documents=paced(formats.read([corpus]), marks), labels=LABELS,
        settings=Settings(), options=Options(),
        output=str(output), kind="jsonl", tokens="auto", resume=False, force=True, strict=True,
        cache=cache_path, live=False,
    )  # fmt: skip
    began = time.process_time()
    with console.Watch() as watch:
        tag_run.tag(job, watch)
    return time.process_time() - began, watch


def paced(documents, marks):
    """Pass documents on; from one mark to the next every stage does one window's work."""
    every = max(islice(windows.sizes(Script.batch_tokens), 20))
    for number, document in enumerate(documents):
        if marks is not None and number % every == 0:
            marks.append((number, time.process_time()))
        yield document


def undisturbed(marks):
    """Documents a CPU-second in the fastest tenth of the windows."""
    rates = sorted((b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(marks))
    return statistics.mean(rates[-max(1, len(rates) // 10) :]) if rates else 0.0


class Clock:
    """Adds CPU time up by stage; knows the stages it cannot see from the calls that begin them."""

    def __init__(self, cache):
        self.spent = Counter()
        self._cache = cache
        self._stage, self._since = "", time.process_time()

    def enter(self, stage):
        now = time.process_time()
        self.spent[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def pulled(self, documents):
        """Documents for `loop.tag`: what it does from taking one to looking up is planning."""
        for document in documents:
            if self._stage != "plan":
                self.enter("plan")
            yield document

    def get_many(self, keys):
        self.enter("cache")
        found = self._cache.get_many(keys)
        self.enter("parse, ground, merge")
        return found


def stages(corpus, cache_path, output_path):
    """CPU seconds by stage over the same documents, a window at a time."""
    with (
        Cache.open(cache_path) as cache,
        console.Watch() as watch,
        formats.open_output(str(output_path), force=True) as output,
    ):
        _, encode = formats.writer("jsonl")
        documents = tag_run._watch_ids(formats.read([corpus]))
        clock = Clock(cache)
        while True:
            clock.enter("read")
            window = list(islice(documents, WINDOW))
            if not window:
                break
            clock.enter("plan")
            asked = loop.with_labels(clock.pulled(window), LABELS)
            results = list(loop.tag(asked, Script(True), LABELS, Options(), clock))
            clock.enter("encode, write")
            for result in results:
                assert not isinstance(result, BadRecord)
                output.write(encode(result))
                watch.result(result)
        clock.enter("")
    clock.spent.pop("", None)
    return dict(clock.spent)


def peak_memory():
    """The most memory this process has had resident, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("peak memory is read from /proc/self/status, which Linux alone has")


def calibration():
    """Million steps a CPU-second of a loop that is what such code is made of.

    A busy machine slows it down as it does the rest: documents a million steps can be compared.
    """
    began, counts = time.process_time(), {}
    for number in range(2_000_000):
        word = f"word{number & 1023}"
        counts[word] = counts.get(word, 0) + len(word)
    return 2 / (time.process_time() - began)


def in_child(documents, distinct, folder, cache_path):
    """Run the whole path in a process of its own over a corpus made for it."""
    corpus = folder / f"{documents}.jsonl"
    write_corpus(corpus, documents, distinct)
    command = [sys.executable, __file__, "--child", str(corpus), str(cache_path)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    corpus.unlink()
    return {"documents": documents, **json.loads(finished.stdout)}


def child(corpus, cache_path):
    """What such a process does: the numbers go to stdout as JSON."""
    output = Path(corpus).with_suffix(".out.jsonl")
    seconds, watch = whole(corpus, Path(cache_path), output)
    output.unlink()
    rate = watch.documents / seconds
    print(json.dumps({"peak_mb": peak_memory(), "documents_per_cpu_second": rate}))


# The report ---------------------------------------------------------------------------------------


def measure(options):
    with tempfile.TemporaryDirectory(prefix="b2ner-bench-") as name:
        folder = Path(name)
        corpus, cache_path, output = (folder / n for n in ("in.jsonl", "cache.sqlite", "out.jsonl"))
        distinct = max(options.documents, 1)
        write_corpus(corpus, options.documents, distinct)
        fill(corpus, cache_path)
        rates, best, calibrations, breakdowns = [], [], [], []
        for _ in range(options.rounds):
            before = calibration()
            marks = []
            seconds, watch = whole(corpus, cache_path, output, marks)
            rates.append(options.documents / seconds)
            best.append(undisturbed(marks))
            calibrations.append((before + calibration()) / 2)
            breakdowns.append(stages(corpus, cache_path, output))
        assert watch.documents == options.documents and watch.cached == watch.prompts
        characters = statistics.mean(map(len, sentences(min(1000, options.documents))))
        return {
            "documents": options.documents,
            "characters_per_document": characters,
            "entities_per_document": watch.entities / watch.documents,
            "documents_per_cpu_second": max(rates),
            "documents_per_cpu_second_median": statistics.median(rates),
            "rounds": rates,
            "documents_per_cpu_second_undisturbed": max(best),
            "calibration_million_steps_per_cpu_second": statistics.median(calibrations),
            "documents_per_million_steps": statistics.median(
                rate / speed for rate, speed in zip(rates, calibrations, strict=True)
            ),
            "stages_microseconds_per_document": {
                stage: statistics.median(b[stage] for b in breakdowns) / options.documents * 1e6
                for stage in breakdowns[0]
            },
            "distinct_answers": distinct,
            "memory": [in_child(size, distinct, folder, cache_path) for size in options.sizes],
        }


def show(found):
    print(
        f"{found['documents']:,} documents of {found['characters_per_document']:.0f} characters, "
        f"{found['entities_per_document']:.1f} entities each, every answer cached"
    )
    rate = found["documents_per_cpu_second"]
    print(f"  documents a CPU-second   {rate:>8,.0f}   (best round; required: {REQUIRED:,})")
    print(f"  median of the rounds     {found['documents_per_cpu_second_median']:>8,.0f}")
    print(f"  rounds                   {', '.join(f'{r:,.0f}' for r in found['rounds'])}")
    rate = found["documents_per_cpu_second_undisturbed"]
    print(f"  fastest tenth of windows {rate:>8,.0f}")
    speed = found["calibration_million_steps_per_cpu_second"]
    print(f"  calibration loop         {speed:>8.1f}   million steps a CPU-second")
    print(f"  documents a million steps {found['documents_per_million_steps']:>7,.0f}")
    print("microseconds a document, by stage")
    spent = found["stages_microseconds_per_document"]
    for stage, microseconds in {**spent, "sum": sum(spent.values())}.items():
        print(f"  {stage:<24} {microseconds:>8.1f}")
    if found["memory"]:
        print(f"peak resident memory ({found['distinct_answers']:,} distinct texts at most)")
    for row in found["memory"]:
        rate = row["documents_per_cpu_second"]
        print(
            f"  {row['documents']:>9,} documents {row['peak_mb']:>10.1f} MB {rate:>10,.0f} docs/s"
        )


def failures(found):
    """What was required and did not hold."""
    if found["documents_per_cpu_second"] < REQUIRED:
        yield f"less than {REQUIRED:,} documents a CPU-second"
    peaks = [row["peak_mb"] for row in found["memory"]]
    if peaks and peaks[-1] > FLAT * peaks[0]:
        yield f"memory grew from {peaks[0]:.0f} to {peaks[-1]:.0f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=100_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--sizes", default="10000,100000,1000000", metavar="N,...",
        help="numbers of documents to measure memory at; empty for none",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    options.sizes = [int(size) for size in options.sizes.split(",") if size]
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    if unmet := list(failures(found)):
        sys.exit("; ".join(unmet))


if __name__ == "__main__":
    main()
