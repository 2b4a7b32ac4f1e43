"""The authors' audits: which records of a prediction file deserve a look, and why.

Each audit keeps every record it catches, where theirs keep a thousand drawn at random, and
``AuditFidelity`` looks at all predictions of a record, where theirs looks at one.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from b2ner_cli.formats.predictions import PredictionRecord
from b2ner_cli.scoring.counts import SetName
from b2ner_cli.scoring.paper_metric import Piece, normalise
from b2ner_cli.scoring.scored_documents import ScoredDocument

_ALWAYS = ("AuditAnyF1NotOne", "AuditBothEmpty", "AuditLabelEmptyOnly", "AuditPredEmptyOnly",
           "AuditWhatever")  # fmt: skip
_OF_ENTITIES = ("AuditInvalid", "AuditFidelity", "AuditConfuseMatrix")  # of task NER alone


def catching(
    record: PredictionRecord, gold: frozenset[Piece], predicted: frozenset[Piece]
) -> Iterator[str]:
    """Yield the names of the audits that catch a record."""
    if gold != predicted:
        yield "AuditAnyF1NotOne"
    if not gold and not predicted:
        yield "AuditBothEmpty"
    if predicted and not gold:
        yield "AuditLabelEmptyOnly"
    if gold and not predicted:
        yield "AuditPredEmptyOnly"
    yield "AuditWhatever"
    if record.task != "NER":
        return
    if predicted and (asked := record.asked):
        known = _options(asked)
        if any(label not in known for label, _ in predicted):
            yield "AuditInvalid"
    if predicted and _unfaithful(record.sentence, predicted):
        yield "AuditFidelity"
    if _contradicts(gold) or _contradicts(predicted):
        yield "AuditConfuseMatrix"


@lru_cache(maxsize=1 << 12)
def _options(asked: str) -> frozenset[str]:
    return frozenset(normalise(name) for name in asked.split(","))


def _unfaithful(sentence: str, predicted: Iterable[Piece]) -> bool:
    """Whether a predicted surface, or a part of one between commas, is not in the sentence."""
    text = normalise(sentence)
    surfaces = (surface.rpartition(":")[2] for _, surface in predicted)
    return any(normalise(part) not in text for each in surfaces for part in each.split(","))


def _contradicts(pieces: frozenset[Piece]) -> bool:
    """Whether one surface has two labels; pieces with more than two colons are not looked at."""
    surfaces: list[str] = []
    for label, surface in pieces:
        last = surface.rpartition(":")[2]
        colons = surface.count(":")
        if colons < 2:  # with one in it, what is around the middle counts as the surface
            surfaces.append(f"{label.strip()},{last.strip()}" if colons else surface.strip())
    return len(set(surfaces)) < len(surfaces)


class Audits:
    """The records each audit catches, kept in temporary files until `write`: they may be many."""

    def __init__(self) -> None:
        self._sets: dict[SetName, _Caught] = {}

    def add(self, document: ScoredDocument) -> None:
        """Audit one record of a prediction file."""
        if document.record is None:
            return
        caught = self._sets.get(document.data_set)
        if caught is None:
            caught = self._sets[document.data_set] = _Caught(document.data_set.task)
        gold, predicted = document.gold.pieces, document.predicted.pieces
        line = orjson.dumps(
            {
                "json_data": orjson.Fragment(document.record.raw.strip()),
                "predict": document.record.predicted,
                "y_truth": sorted(map(":".join, gold)),
                "y_pred": sorted(map(":".join, predicted)),
            }
        )
        caught.add(line, catching(document.record, gold, predicted))

    def write(self, folder: Path) -> None:
        """Write a file for each data set, ``NER_en/<name>.json``, and forget the records."""
        for data_set, caught in self._sets.items():
            path = folder / data_set.group / f"{data_set.name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                caught.write(out)
            caught.close()
        self._sets.clear()


class _Caught:
    """The records of one data set, each once, and which audits caught which."""

    def __init__(self, task: str) -> None:
        names = _ALWAYS + (_OF_ENTITIES if task == "NER" else ())
        self._by_audit = {name: array("Q") for name in names}
        self._ends = array("Q", [0])
        self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  closed in `close`

    def add(self, line: bytes, names: Iterable[str]) -> None:
        """Keep a record, as a line of JSON, under the audits that caught it."""
        number = len(self._ends) - 1
        self._file.write(line)
        self._ends.append(self._ends[-1] + len(line))
        for name in names:
            self._by_audit[name].append(number)

    def write(self, out: BinaryIO) -> None:
        """Write the records of each audit as one JSON object."""
        before = b"{"
        for name, numbers in self._by_audit.items():
            out.write(before + f'\n"{name}": {{"count": {len(numbers)}, "record": ['.encode())
            for turn, number in enumerate(numbers):
                start, end = self._ends[number], self._ends[number + 1]
                self._file.seek(start)
                out.write(b",\n" if turn else b"\n")
                out.write(self._file.read(end - start))
            out.write(b"]}")
            before = b","
        out.write(b"\n}\n")

    def close(self) -> None:
        """Let go of the temporary file."""
        self._file.close()
