"""How well the agreement of `b2ner tag --check` goes with F1: both, of each label with enough gold.

    python tests/bench/bench_check.py en=samples/first_en.jsonl zh=samples/first_zh.jsonl \
        en=heldout/NER_en/WNUT17/dev.json de=heldout/NER_de/MobIE/dev.json

Each file, LANGUAGE=FILE, is of annotated documents: JSON lines with `entities`, or a split of a
data set in B2NERD layout. All of a file are asked for all labels of its gold. Take documents that
the model was not trained on. A pair is a label of a file with `--gold` gold mentions among the
documents drawn and an entity in one of the two answers. The mean score of a label's entities
stands beside, for comparison. Intervals are the middle 95 % of correlations of pairs drawn anew.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np

from b2ner_cli.core.document import Document
from b2ner_cli.datasets import splits
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.scoring.counts import Counts, Tally, span_items
from b2ner_cli.tagging import check, loop
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger

BANDS = (0.0, 0.5, 0.7, 0.85, 1.01)


@dataclass(frozen=True, slots=True)
class Pair:
    """A label of a set: agreement and F1 in 0..1, and the mean score of its entities."""

    where: str
    label: str
    agreement: float
    f1: float
    score: float
    gold: int


def documents_of(path, language):
    """The annotated documents of a file."""
    (split,) = splits.find_splits(splits.DataSource(path, language=language))
    return list(split.readable())


def pairs_of(path, language, tagger, given):
    """The pairs of a file, after tagging and asking again so many of its documents."""
    documents = documents_of(path, language)
    labels = LabelSet(tuple(sorted({m.label for d in documents for m in d.mentions or ()})))
    drawn = random.Random(given.seed).sample(documents, min(given.documents, len(documents)))
    asked = [Document(str(number), document.text) for number, document in enumerate(drawn)]
    options = loop.Options(
        language, chunk_tokens=tagger.options.chunk_tokens,
        sentence_tokens=tagger.options.sentence_tokens,
    )  # fmt: skip
    here = Tagger(tagger.engine, labels, options)
    sample, tally, scores = check.Sample(len(asked)), Tally(), defaultdict(list)
    for result, document in zip(here.tag(asked), drawn, strict=True):
        sample.add(result)
        gold = splits.gold(document).entities
        tally.add_spans(span_items(gold), span_items(result.entities))
        for entity in result.entities:
            scores[entity.label].append(entity.score)
    found = check.ask_again(here, sample)
    where = path.stem if path.suffix == ".jsonl" else path.parent.name
    total, agreed = tally.scores().total, found.agreement.total
    print(
        f"{where}: {len(asked)} documents, F1 {total.f1:.3f}, agreement {agreed.f1:.3f}, "
        f"{found.alike} asked alike", flush=True,
    )  # fmt: skip
    for label, counts in tally.scores().labels.items():
        both = found.agreement.labels.get(label, Counts())
        if counts.support >= given.gold and label in found.agreement.labels:
            mean = fmean(scores[label]) if scores[label] else math.nan
            yield Pair(where, label, both.f1, counts.f1, mean, counts.support)
        elif counts.support >= given.gold:
            print(f"  {label}: in neither answer, {counts.support} in gold: left out")


def ranks(values):
    """Ranks of values, equal ones sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def correlations(left, right):
    """Pearson's and Spearman's."""
    return np.corrcoef(left, right)[0, 1], np.corrcoef(ranks(left), ranks(right))[0, 1]


def report_correlation(name, left, right, rounds, seed):
    """Print both correlations of as many pairs, with their intervals."""
    drawer = np.random.default_rng(seed)
    draws = [drawer.integers(len(left), size=len(left)) for _ in range(rounds)]
    drawn = np.array([correlations(left[each], right[each]) for each in draws])
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    for number, value in enumerate(correlations(left, right)):
        kind = ("Pearson", "Spearman")[number]
        between = f"{low[number]:.2f} to {high[number]:.2f}"
        print(f"{name} of {len(left)}, {kind}: {value:.2f} ({between})")


def report(pairs, rounds, seed):
    """Print the pairs, the correlations, and what F1 was by agreement."""
    for each in sorted(pairs, key=lambda pair: pair.agreement):
        print(
            f"{each.where:10} {each.label:28} agreement {each.agreement:.3f}  F1 {each.f1:.3f}"
            f"  score {each.score:.3f}  gold {each.gold}"
        )
    agreed, f1, score = (
        np.array([getattr(each, name) for each in pairs]) for name in ("agreement", "f1", "score")
    )
    print(f"{len(pairs)} pairs")
    report_correlation("agreement and F1", agreed, f1, rounds, seed)
    report_correlation("mean score and F1", score[score > 0], f1[score > 0], rounds, seed)
    for low, high in pairwise(BANDS):
        band = sorted(each.f1 for each in pairs if low <= each.agreement < high)
        if band:
            print(
                f"agreement {low} to {min(high, 1)}: {len(band)} pairs, F1 {band[0]:.2f} to "
                f"{band[-1]:.2f}, median {median(band):.2f}, under 0.5 in "
                f"{sum(each < 0.5 for each in band)} of {len(band)}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="LANGUAGE=FILE")
    parser.add_argument("--documents", type=int, default=100, help="of each file, drawn")
    parser.add_argument("--gold", type=int, default=10, help="least gold mentions of a label")
    parser.add_argument("--rounds", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("-a", "--adapter")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    tagger = Tagger.load(Settings(given.model, adapter=given.adapter, dtype=given.dtype))
    pairs = []
    for named in given.files:
        language, _, path = named.partition("=")
        pairs += pairs_of(Path(path), language, tagger, given)
    report(pairs, given.rounds, given.seed)


if __name__ == "__main__":
    main()
