"""What names of labels cost: F1 by how labels are written, as given and with --improve-labels.

    python tests/bench/bench_labels.py en=samples/gold.jsonl zh=samples/first_zh.jsonl
    python tests/bench/bench_labels.py en=WNUT17/train.json,samples/gold.jsonl de=MobIE/dev.json

Files are JSON lines with gold `entities`, or splits of a data set in B2NERD layout. From those of
a language so many documents are taken, as evenly as their sizes allow. All labels of a file are
asked for under names in each style, and an entity is right at its place with its label. Styles
that change no label of a language are left out. `asked` is how many of the labels
--improve-labels asks under other names.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from b2ner_cli import formats
from b2ner_cli.core.document import Document
from b2ner_cli.datasets import b2nerd
from b2ner_cli.labels.better_names import improving
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger

CODE_OF = {
    "person": "PER", "persona": "PER", "Person": "PER", "人名": "PER",
    "organization": "ORG", "organización": "ORG", "Organisation": "ORG", "组织机构名": "ORG",
    "location": "LOC", "lugar": "LOC", "Ort": "LOC", "地名": "LOC",
    "date": "DATE", "fecha": "DATE", "Datum": "DATE", "日期": "DATE",
}  # fmt: skip
ENGLISH = {
    "persona": "person", "organización": "organization", "lugar": "location", "fecha": "date",
    "cantidad de dinero": "money", "producto": "product", "evento": "event", "Person": "person",
    "Organisation": "organization", "Ort": "location", "Datum": "date", "Stadt": "city",
    "Unternehmen": "company", "Straße": "street", "Uhrzeit": "time", "Dauer": "duration",
    "Geldbetrag": "money", "Zahl": "number", "Entfernung": "distance", "Haltestelle": "stop",
}  # fmt: skip


def words(label: str) -> list[str]:
    """A label's words."""
    return label.replace("->", " ").split()


def plural(label: str) -> str:
    """The plural of an English label."""
    ies = re.sub(r"([^aeiou])y$", r"\1ies", label)
    return ies if ies != label else f"{label}es" if label[-1] in "sxh" else f"{label}s"


def slip(label: str) -> str:
    """A label that lacks the last letter but one of its longest word."""
    longest = max(label.split(" "), key=len)
    return label.replace(longest, longest[:-2] + longest[-1]) if len(longest) > 5 else label


STYLES = {
    "as gold": lambda label: label,
    "code": lambda label: CODE_OF.get(label, label),
    "B-code": lambda label: "B-" + CODE_OF[label] if label in CODE_OF else label,
    "upper": str.upper,
    "snake": lambda label: "_".join(words(label)),
    "UPPER_SNAKE": lambda label: "_".join(words(label)).upper(),
    "Camel": lambda label: "".join(word[:1].upper() + word[1:] for word in words(label)),
    "Title": lambda label: " ".join(word[:1].upper() + word[1:] for word in label.split(" ")),
    "plural": lambda label: plural(label) if label.isascii() and label.islower() else label,
    "slip": lambda label: slip(label) if label.isascii() and label.islower() else label,
    "quoted": lambda label: f'"{label}"',
    "English": lambda label: ENGLISH.get(label, label),
}


def documents_of(path: Path) -> list[Document]:
    """The documents of a file with their gold."""
    if path.suffix == ".json":
        found = b2nerd.dataset(path.parent, path.parent.parent.name, path.parent.name)
        return list(b2nerd.read_split(found, path.stem, lambda misfit: None))
    read = formats.read([path], format="jsonl", gold_field="entities")
    return [item for item in read if isinstance(item, Document)]


def chosen(files: Iterable[str], most: int) -> list[list[Document]]:
    """Of each file its share of so many documents, taken evenly; small files give all they have."""
    read = sorted((documents_of(Path(file)) for file in files), key=len)
    taken = []
    for left, documents in zip(range(len(read), 0, -1), read, strict=True):
        share = min(len(documents), most // left)
        taken.append([documents[n * len(documents) // share] for n in range(share)])
        most -= share
    return taken


def labels_of(documents: Iterable[Document]) -> tuple[str, ...]:
    """The labels of the gold of documents."""
    return tuple(sorted({e.label for each in documents for e in each.entities or ()}))


class Counts(NamedTuple):
    """Entities that are right, that were said, that are in the gold."""

    right: int = 0
    said: int = 0
    gold: int = 0

    @property
    def f1(self) -> float:
        """F1 in points."""
        return 200 * self.right / max(1, self.said + self.gold)


def measure(tagger: Tagger, documents: list[Document], names: dict[str, str]) -> Counts:
    """Ask documents for labels under these names."""
    asked = [Document(str(number), each.text) for number, each in enumerate(documents)]
    right = said = wanted = 0
    found = loop.tag(
        asked, tagger.engine, LabelSet(tuple(names.values())), tagger.options, tagger.cache
    )
    for result, each in zip(found, documents, strict=True):
        gold = {(e.start, e.end, names[e.label]) for e in each.entities or ()}
        spans = {(e.start, e.end, e.label) for e in result.entities}
        right, said, wanted = right + len(spans & gold), said + len(spans), wanted + len(gold)
    return Counts(right, said, wanted)


def total(each: Iterable[Counts]) -> Counts:
    """The counts of several files together."""
    return Counts(*map(sum, zip(*each, strict=True)))


def show(language: str, style: str, files: list[list[Document]], tagger: Tagger) -> None:
    """Print the line of a style, unless it changes nothing."""
    names = [{label: STYLES[style](label) for label in labels_of(each)} for each in files]
    if style != "as gold" and all(label == name for n in names for label, name in n.items()):
        return
    better = replace(tagger, options=replace(tagger.options, improve_labels=True))
    began = time.perf_counter()
    given, improved = (
        total(measure(asking, each, n) for each, n in zip(files, names, strict=True))
        for asking in (tagger, better)
    )
    spoken = "zh" if language == "zh" else "en"  # as the language of prompts is chosen by script
    asked = sum(len(improving(n.values(), spoken).names) for n in names)
    seconds = time.perf_counter() - began
    print(
        f"{language:8} {style:12} {sum(map(len, files)):9} {sum(map(len, names)):6} {asked:5} "
        f"{given.f1:8.1f} {improved.f1:8.1f} {improved.f1 - given.f1:+6.1f} {seconds:7.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="LANGUAGE=FILE,...")
    parser.add_argument("--documents", type=int, default=60, help="of each language")
    parser.add_argument("--styles", type=lambda text: text.split(","), default=list(STYLES))
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("-a", "--adapter")
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cache.open(Path(folder) / "answers") as cache:
        # The store makes sure that the same names get the same answers, and are asked once.
        settings = Settings(given.model, adapter=given.adapter, dtype=given.dtype)
        tagger = Tagger.load(settings, cache=cache)
        print("language style        documents labels asked as given improved change seconds")
        for named in given.files:
            language, _, paths = named.partition("=")
            files = chosen(paths.split(","), given.documents)
            for style in given.styles:
                show(language, style, files, tagger)


if __name__ == "__main__":
    main()
