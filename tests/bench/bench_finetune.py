"""Whether fine-tuning `mini` on a few documents of one kind helps there and does no harm elsewhere.

    python tests/bench/bench_finetune.py DATA --results finetune.jsonl

DATA is a folder of data sets in B2NERD layout (DATASETS.md in it or above says where from). A kind
is a set's test split, which the shipped adapter has not seen, under labels as a user would call
them: an exact renaming and merging of the set's own. For each kind, number of documents and seed
the adapter is trained by `b2ner train`'s defaults on that many of them, and F1 (label, start and
end) is counted before and after: on other documents of the kind, and elsewhere, on everyday
documents of samples/ in three languages. Results are kept as they come: a run that was cut goes on.
Takes 40 minutes on two cores.
"""

import argparse
import json
import logging
import math
import random
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.core.document import Document
from b2ner_cli.datasets import b2nerd, splits
from b2ner_cli.scoring.counts import Counts
from b2ner_cli.tagging.planning import Options
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training import run, start
from b2ner_cli.training.job import TrainJob
from b2ner_cli.training.recipes import FINE_TUNE, read_recipe

SAMPLES = Path(__file__).parents[2] / "samples"
ELSEWHERE = {"gold": 12, "gold_zh": 8, "first_en": 12, "first_zh": 10, "first_es": 10}
SIZES, SEEDS = (12, 50, 200), (1, 2, 3)
SCORED = 70  # documents of a kind that are scored
LONGEST = 400  # characters
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # of Student's t, two-sided, by number of values


@dataclass(frozen=True)
class Kind:
    """Documents of a user: the set that they are from, and his names for its labels."""

    path: str
    language: str
    names: dict[str, str]


KINDS = {
    "side effects": Kind("NER_en/PHEE", "en", {
        "drug": "medicine", "medical effect": "adverse reaction",
        "disorder": "reason for treatment", "administration route": "how given",
        "drug dosage": "dose", "patient age": "about the patient",
        "patient gender": "about the patient",
    }),
    "judgments": Kind("NER_de/LegalLER", "de", {
        "Gesetz": "Vorschrift", "EU-Norm": "Vorschrift", "Verordnung": "Vorschrift",
        "Verwaltungsvorschrift": "Vorschrift", "Gerichtsentscheidung": "Entscheidung",
        "juristische Literatur": "Schrifttum", "Gericht": "Spruchkörper",
        "Institution": "Behörde oder Einrichtung",
    }),
    "company notices": Kind("NER_zh/FewFC-args", "zh", {
        "公司或机构": "当事方", "人名": "当事人", "日期": "发生时间", "金额": "数字信息",
        "数量": "数字信息", "比例": "数字信息", "抵押物": "标的物",
    }),
}  # fmt: skip


def documents_of(data: Path, kind: Kind) -> list[Document]:
    """The kind's documents under its labels, in an order that is the same each time.

    Of those without entities it has every fifth: who annotates chooses texts with something in.
    """
    task, name = kind.path.split("/")
    dataset = b2nerd.dataset(data / kind.path, task, name)
    labels = tuple(dict.fromkeys(kind.names.values()))
    found = []
    for document in b2nerd.read_split(dataset, "test"):
        entities = tuple(
            each._replace(label=kind.names[each.label])
            for each in splits.gold(document).entities
            if each.label in kind.names
        )
        if len(document.text) <= LONGEST and (entities or int(document.id) % 5 == 0):
            found.append(Document(document.id, document.text, entities, labels=labels))
    random.Random(0).shuffle(found)
    return found


def elsewhere() -> list[Document]:
    """Everyday documents, asked for all labels of their file."""
    found = []
    for name, count in ELSEWHERE.items():
        read = list(formats.read([SAMPLES / f"{name}.jsonl"], gold_field="entities"))
        labels = tuple(dict.fromkeys(e.label for d in read for e in d.entities))
        found += [document._replace(labels=labels) for document in read[:count]]
    return found


def f1(tagger: Tagger, documents: list[Document]) -> float:
    """The F1 of entities by label, start and end, in percent."""
    counts = Counts()
    for document, result in zip(documents, tagger.tag(documents), strict=True):
        gold = {(e.start, e.end, e.label) for e in document.entities}
        said = {(e.start, e.end, e.label) for e in result.entities}
        counts += Counts(len(gold & said), len(said - gold), len(gold - said))
    return 100 * counts.f1


def scores(
    adapter: str | None, language: str, there: list[Document], other: list[Document]
) -> dict[str, float]:
    """F1 on documents of the kind, asked in its language, and elsewhere, asked by script."""
    settings = Settings("mini", adapter)
    kind = Tagger.load(settings, options=Options(language=language))
    return {
        "kind": f1(kind, there),
        "elsewhere": f1(Tagger(kind.engine, None, as_asked(kind.options)), other),
    }


def as_asked(options: Options) -> Options:
    """The same, each document asked by its script."""
    return Options(chunk_tokens=options.chunk_tokens, sentence_tokens=options.sentence_tokens)


def train(documents: list[Document], language: str, seed: int, more: list[str], out: Path) -> float:
    """Train as `b2ner train --data FILE -m mini` does; gives the seconds."""
    path = out / "mine.jsonl"
    lines = [
        {"id": d.id, "text": d.text,
         "entities": [{"start": e.start, "end": e.end, "label": e.label} for e in d.entities]}
        for d in documents
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    begun = start.choose(start.Asked("mini"))
    lora = start.lora_settings(begun.adapter)
    recipe = read_recipe(FINE_TUNE, None, [f"seed={seed}", *more], lora=lora)
    began = time.monotonic()
    job = TrainJob(path, out / "run", recipe, from_adapter=begun.adapter, language=language)
    run.run(job)
    return time.monotonic() - began


def interval(values: list[float]) -> str:
    """The mean of values, and half the width of its 95 % interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.1f}"
    half = T95.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.1f} ± {half:.1f}"


def show(results: list[dict]) -> None:
    """Print a line for each kind and number of documents, over its seeds."""
    print("| kind | documents | seeds | F1 before | after | change | elsewhere before | change "
          "| seconds |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    before = {each["kind"]: each for each in results if not each["documents"]}
    for kind, size in dict.fromkeys((r["kind"], r["documents"]) for r in results):
        runs = [r for r in results if (r["kind"], r["documents"]) == (kind, size)]
        if not size:
            continue
        there, other = before[kind]["f1"]["kind"], before[kind]["f1"]["elsewhere"]
        print(
            f"| {kind} | {size} | {len(runs)} | {there:.1f} "
            f"| {statistics.fmean(r['f1']['kind'] for r in runs):.1f} "
            f"| {interval([r['f1']['kind'] - there for r in runs])} | {other:.1f} "
            f"| {interval([r['f1']['elsewhere'] - other for r in runs])} "
            f"| {statistics.fmean(r['seconds'] for r in runs):.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--results", type=Path, default=Path("finetune.jsonl"))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--size", type=int, action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--scored", type=int, default=SCORED, help="documents of a kind")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    run.keep_freed_memory()
    asked = sorted(options.set)
    known = options.results.read_text("utf-8").splitlines() if options.results.exists() else []
    results = [
        r for r in map(json.loads, known) if (r["set"], r["scored"]) == (asked, options.scored)
    ]
    done = {(r["kind"], r["documents"], r["seed"]) for r in results}
    other = elsewhere()

    def note(name: str, size: int, seed: int, more: dict) -> None:
        line = {"kind": name, "documents": size, "seed": seed, "set": asked,
                "scored": options.scored, **more}  # fmt: skip
        results.append(line)
        with options.results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    for seed in options.seed or SEEDS:
        for name in options.kind or KINDS:
            kind = KINDS[name]
            documents = documents_of(options.data, kind)
            there, pool = documents[: options.scored], documents[SCORED:]
            if (name, 0, 0) not in done:
                note(name, 0, 0, {"f1": scores(None, kind.language, there, other)})
                done.add((name, 0, 0))
            for size in options.size or SIZES:
                if (name, size, seed) in done:
                    continue
                some = random.Random(f"{name}/{seed}").sample(pool, size)
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder)
                    seconds = train(some, kind.language, seed, options.set, out)
                    began = time.monotonic()
                    found = scores(str(out / "run" / "adapter"), kind.language, there, other)
                scored = time.monotonic() - began
                note(name, size, seed, {"f1": found, "seconds": seconds, "scoring": scored})
    show(results)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak resident memory {peak:.1f} GB")


if __name__ == "__main__":
    main()
