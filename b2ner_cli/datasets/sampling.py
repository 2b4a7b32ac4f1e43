"""Parts of data sets: dev and test cut off the training documents, and random samples.

Which part a document goes to depends on its text and the seed alone, so equal texts stay
together and nothing of a test split is trained on. Only numbers are kept in memory: a split is
read once to choose and once to write.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from b2ner_cli.core.document import Document
from b2ner_cli.datasets.balance import Limits, balanced
from b2ner_cli.datasets.splits import OnBad, Split, digest
from b2ner_cli.datasets.task_configs import SEED
from b2ner_cli.datasets.writing import SplitContent
from b2ner_cli.errors import DataError, UsageError

NO_CAP = 1 << 60


@dataclass(frozen=True, slots=True)
class Shares:
    """How much goes to dev and test: below 1 a share of the texts, from 1 on their number."""

    dev: float = 0.0
    test: float = 0.0
    seed: int = SEED

    def __post_init__(self) -> None:
        for name, share in (("--dev", self.dev), ("--test", self.test)):
            if share < 0 or (share > 1 and share != int(share)):
                raise UsageError(f"{name} {share:g}: neither a share nor a number of documents")
        if not self.dev and not self.test:
            raise UsageError("nothing to split off", "say how much: --dev 0.1 --test 500")


def split_off(
    found: Sequence[Split], shares: Shares, on_bad: OnBad, note: Callable[[str], None]
) -> Iterator[SplitContent]:
    """Cut dev and test off each set's train split; a split that is there already is kept."""
    for key, splits in groupby(found, key=lambda split: split.key):
        parts = {split.name: split for split in splits}
        kept = [name for name in ("dev", "test") if name in parts]
        wanted = _left(shares, kept)
        if "train" not in parts:
            note(f"{key} has no train split; it stays as it is")
        elif kept:
            note(f"{key} has a {' and a '.join(kept)} split already; kept")
        for name, split in parts.items():
            if name != "train" or wanted is None:
                yield split, split.readable(on_bad)
            else:
                yield from _cut(split, wanted, on_bad)


def _left(shares: Shares, there: Collection[str]) -> Shares | None:
    """What is still to be cut where some splits are there; None for nothing."""
    dev = 0.0 if "dev" in there else shares.dev
    test = 0.0 if "test" in there else shares.test
    return Shares(dev, test, shares.seed) if dev or test else None


def _cut(split: Split, shares: Shares, on_bad: OnBad) -> Iterator[SplitContent]:
    def place(document: Document) -> int:
        return digest(document.text, shares.seed)

    texts = array("Q", sorted({place(document) for document in split.readable(on_bad)}))
    test, dev = (_number(share, len(texts)) for share in (shares.test, shares.dev))
    if test + dev >= len(texts):
        raise DataError(
            f"{split.file}: {len(texts):,} texts, of which {test + dev:,} are to be split off",
            "leave some to train on",
        )
    edges = {"test": (0, test), "dev": (test, test + dev), "train": (test + dev, len(texts))}
    for name in ("train", "dev", "test"):
        first, last = edges[name]
        if first < last:
            low, high = texts[first], texts[last - 1]
            chosen = (d for d in split.readable() if low <= place(d) <= high)
            yield replace(split, name=name), chosen


def _number(share: float, texts: int) -> int:
    return round(share * texts) if share < 1 else int(share)


def sample(
    found: Sequence[Split], number: int | None, per_type: int | None, seed: int, on_bad: OnBad
) -> Iterator[SplitContent]:
    """Draw documents of each split, in their order in the file.

    At most `number`, and with `per_type` only such as hold a type that is still short of it;
    documents without entities are a type of their own.
    """
    limits = Limits(number or NO_CAP, per_type or NO_CAP, empty=1.0)
    for split in found:
        labels = [
            {m.label for m in document.mentions or ()} or {""}
            for document in split.readable(on_bad)
        ]
        rng = random.Random(f"{seed}/{split.key}/{split.name}")
        yield split, only(split, set(balanced(labels, limits, rng)))


def only(split: Split, rows: Collection[int]) -> Iterator[Document]:
    """The documents of a split with these numbers, counted from 0 among those readable."""
    return (document for row, document in enumerate(split.readable()) if row in rows)
