"""Documents that are trained on once more while a model learns new ones, so that it forgets less.

    {"set": "NER_de_written", "text": "...", "entities": [["Ort", "Graz"]], "labels": ["Ort"],
     "other_names": {"Ort": ["Stadt"]}}

They were written for this project, are in the public domain (CC0), and are in five languages under
some thousand label names; each document keeps its language and its own labels.
"""

from __future__ import annotations

import gzip
import json
from importlib import resources

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.core.language import as_language
from b2ner_cli.training.selection import OTHER_NAMES, Selection

FILE = "replay.jsonl.gz"


def selections() -> list[Selection]:
    """The documents, a selection a data set that they are from."""
    packed = (resources.files("b2ner_cli.training") / FILE).read_bytes()
    found: dict[str, list[Document]] = {}
    for number, line in enumerate(gzip.decompress(packed).splitlines()):
        row = json.loads(line)
        document = Document(
            str(number),
            row["text"],
            mentions=tuple(Mention(label, surface) for label, surface in row["entities"]),
            labels=tuple(row["labels"]),
            meta={OTHER_NAMES: row.get(OTHER_NAMES, {})},
        )
        found.setdefault(row["set"], []).append(document)
    return [_selection(name, documents) for name, documents in found.items()]


def _selection(name: str, documents: list[Document]) -> Selection:
    labels = dict.fromkeys(label for document in documents for label in document.labels or ())
    language = as_language(name.split("_")[1])
    return Selection(name, language, tuple(labels), tuple(documents), len(documents), 0)
