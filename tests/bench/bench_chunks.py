"""How much text one prompt should hold: F1 and speed of joined documents by chunk size.

    python tests/bench/bench_chunks.py en=samples/first_en.jsonl zh=samples/first_zh.jsonl
    python tests/bench/bench_chunks.py de=mobie.jsonl --sizes 40,60,100,214 --joined 1,8,20

Each file is JSON lines with `text` and gold `entities`, all asked for the labels that its gold
has (make one of a data set with `b2ner data convert SET --to jsonl`). So many documents at a time
are joined, by a blank, Chinese by a line end, and tagged as one; an entity is right at its place
with its label. Speed is in documents as they were before they were joined.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

from b2ner_cli import formats
from b2ner_cli.core.document import Document
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger


def documents_of(path, limit):
    """Texts with the set of (start, end, label) of their gold."""
    read = formats.read([path], format="jsonl", gold_field="entities")
    found = (item for item in read if isinstance(item, Document))
    return [
        (item.text, {(e.start, e.end, e.label) for e in item.entities or ()})
        for item in islice(found, limit)
    ]


def join(documents, number, between):
    """Documents put together, so many at a time, with their gold at its new places."""
    for first in range(0, len(documents), number):
        text, gold = "", set()
        for each, spans in documents[first : first + number]:
            text += between if text else ""
            gold |= {(a + len(text), b + len(text), label) for a, b, label in spans}
            text += each
        yield text, gold


def measure(tagger, labels, joined, size, most):
    """F1 and seconds of joined documents at a chunk size."""
    options = loop.Options(chunk_tokens=size, sentence_tokens=most)
    asked = [Document(str(number), text) for number, (text, _) in enumerate(joined)]
    began = time.perf_counter()
    results = list(loop.tag(asked, tagger.engine, labels, options))
    seconds = time.perf_counter() - began
    right = said = 0
    for result, (_, gold) in zip(results, joined, strict=True):
        spans = {(e.start, e.end, e.label) for e in result.entities}
        right, said = right + len(spans & gold), said + len(spans)
    total = said + sum(len(gold) for _, gold in joined)
    return 2 * right / total if total else 0.0, seconds


def numbers(text):
    return [int(each) for each in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="LANGUAGE=FILE")
    parser.add_argument("--sizes", type=numbers, default=[25, 40, 60, 80, 100, 140, 214])
    parser.add_argument("--joined", type=numbers, default=[1, 2, 5, 10, 20])
    parser.add_argument("--sentence", type=int, default=214, help="tokens of a sentence left whole")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("-a", "--adapter")
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    tagger = Tagger.load(Settings(given.model, adapter=given.adapter, dtype=given.dtype))
    print("language joined chunk    F1  documents/s", flush=True)
    for named in given.files:
        language, _, path = named.partition("=")
        documents = documents_of(path, given.documents)
        labels = LabelSet(tuple(sorted({label for _, gold in documents for *_, label in gold})))
        for number in given.joined:
            joined = list(join(documents, number, "\n" if language == "zh" else " "))
            for size in given.sizes:
                f1, seconds = measure(tagger, labels, joined, size, max(size, given.sentence))
                speed = len(documents) / seconds
                print(f"{language:8} {number:6} {size:5} {100 * f1:5.1f} {speed:12.2f}", flush=True)


if __name__ == "__main__":
    main()
