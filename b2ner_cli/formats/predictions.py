"""The prediction file of the B2NER authors: predict_eval_predictions.jsonl, read and written.

One JSON object a line: a document, the prompt it was put in, the gold answer and the predicted
one, both as ``label: surface; label: surface``. Our own files add ``entities`` with offsets at
the end of the line. Knows the file, not what the answers mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from b2ner_cli.core.document import Entity, check_entities
from b2ner_cli.core.tasks import as_task
from b2ner_cli.errors import InputError
from b2ner_cli.formats import result_json
from b2ner_cli.formats.input_file import opened

FILE_NAME = "predict_eval_predictions.jsonl"
NAMES_FILE = "asked_labels.json"  # beside it, where labels were asked under other names

_STRINGS = {str}

# The line of a prompt that names its labels, in the five languages of the templates.
_LABEL_LINES = ("Label Set:", "标签范围:", "Conjunto de Etiquetas:", "类别范围:")


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One line of the file. `gold` and `predicted` are answers, without a leading space.

    `entities` holds the predicted entities with their offsets into `sentence`, None where the
    file has none: the authors' files never do. `found` is what other tasks find, as JSON values;
    it is written and not read.
    """

    task: str
    dataset: str
    language: str
    id: str
    sentence: str
    instruction: str
    gold: str
    predicted: str
    entities: tuple[Entity, ...] | None = None
    origin: str = ""
    raw: bytes = field(default=b"", repr=False, compare=False)
    found: Any = None

    def __post_init__(self) -> None:
        if self.entities:
            check_entities(self.sentence, self.entities)

    @property
    def asked(self) -> str | None:
        """The labels the prompt asked for, as one comma-separated string; None if it names none."""
        return label_line(self.instruction)


def encode(record: PredictionRecord) -> bytes:
    """Return the record as a line of the file, newline included."""
    gold = f" {record.gold}"
    line: dict[str, Any] = {
        "Task": record.task,
        "Dataset": record.dataset,
        "Language": record.language,
        "Instance": {
            "id": record.id,
            "sentence": record.sentence,
            "label": gold,
            "instruction": record.instruction,
            "ground_truth": gold,
        },
        "Prediction": record.predicted,
    }
    if record.entities is not None:
        keys = ("start", "end", "label", "text", "score")
        line["entities"] = [dict(zip(keys, each, strict=False)) for each in record.entities]
    if record.found is not None:
        line[result_json.key(as_task(record.task))] = record.found
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def read(path: Path) -> Iterator[PredictionRecord]:
    """Read a prediction file, plain or gzip; a bad line raises InputError with its place."""
    number = 0
    with opened(str(path), "jsonl", None) as (_, lines):
        for place, line in enumerate(lines, 1):
            if not line.strip():
                continue
            number = place
            yield _record(line, f"{path}:{place}")
    if not number:
        raise InputError(f"{path}: no predictions in the file", "Did the run that wrote it finish?")


def _record(line: bytes, origin: str) -> PredictionRecord:
    try:
        return _decode(orjson.loads(line), line, origin)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"{origin}: malformed JSON at column {error.colno}: {error.msg}",
            "Each line must hold one complete JSON object; was the file cut off?",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{origin}: not a prediction record: {_reason(error)}",
            "Expected the keys Task, Dataset, Language, Instance and Prediction.",
        ) from error


def write_names(folder: Path, source: str, names: Mapping[str, Mapping[str, str]]) -> None:
    """Note beside the predictions which labels of each set were asked under other names.

    Prompts and answers in the file have the sets' own names. Without `names` there is no note.
    """
    path = folder / NAMES_FILE
    if names:
        said = {"label_map": source, "datasets": names}
        path.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def read_names(predictions: Path) -> dict[str, dict[str, str]]:
    """What `write_names` noted beside a file of predictions, or in their folder; {} without."""
    folder = predictions if predictions.is_dir() else predictions.parent
    path = folder / NAMES_FILE
    if not path.is_file():
        return {}
    try:
        datasets = orjson.loads(path.read_bytes())["datasets"]
        return {str(name): dict(renamed) for name, renamed in datasets.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{path}: not the note that goes with predictions",
            "Delete it, if it was not written by `b2ner predict`.",
        ) from None


def is_prediction(line: bytes) -> bool:
    """Tell whether a line is a record of this format, whole or not."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and "Instance" in value and "Prediction" in value


def label_line(instruction: str) -> str | None:
    """Return what a prompt has on the line that names its labels, None where there is no such line.

    The first such line counts: later ones belong to the document.
    """
    place = label_place(instruction)
    return None if place is None else instruction[slice(*place)].strip()


def label_place(instruction: str) -> tuple[int, int] | None:
    """Where in a prompt the rest of that line stands."""
    text = f"\n{instruction}"
    places = ((text.find(f"\n{words}"), len(words)) for words in _LABEL_LINES)
    found = [place for place in places if place[0] >= 0]
    if not found:
        return None
    newline, length = min(found)
    start = newline + length
    end = instruction.find("\n", start)
    return start, end if end >= 0 else len(instruction)


def _decode(line: Any, raw: bytes, origin: str) -> PredictionRecord:
    if not isinstance(line, dict) or not isinstance(line.get("Instance"), dict):
        raise ValueError("no Instance object" if isinstance(line, dict) else "not an object")
    instance = line["Instance"]
    answer = "ground_truth" if "ground_truth" in instance else "label"
    identifier = instance["id"]
    values = (
        line["Task"], line["Dataset"], line.get("Language", ""),
        str(identifier) if isinstance(identifier, int) else identifier,
        instance["sentence"], instance["instruction"],
    )  # fmt: skip
    if answer not in instance:
        raise ValueError("no gold answer in it, neither ground_truth nor label")
    gold, predicted = instance[answer], line["Prediction"]
    if set(map(type, (*values, gold, predicted))) != _STRINGS:
        for key in ("Task", "Dataset", "Language", "Prediction"):
            _text({key: "", **line}, key)
        for key in ("id", "sentence", "instruction", answer):
            _text({**instance, "id": values[3]}, key)
    return PredictionRecord(
        *values,
        gold=gold.strip(),
        predicted=predicted.strip(),
        entities=_entities(line["entities"]) if "entities" in line else None,
        origin=origin,
        raw=raw,
    )


def _text(owner: dict[str, Any], key: str) -> str:
    value = owner[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {type(value).__name__}")
    return value


def _entities(values: Any) -> tuple[Entity, ...]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TypeError("entities must be a list of objects")
    return tuple(
        Entity(
            start=_offset(value, "start"),
            end=_offset(value, "end"),
            label=_text(value, "label"),
            text=_text(value, "text"),
            score=value.get("score"),
        )
        for value in values
    )


def _offset(owner: dict[str, Any], key: str) -> int:
    value = owner[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{key} must be a whole number, not {type(value).__name__}")
    return value


def _reason(error: Exception) -> str:
    return f"no key {error}" if isinstance(error, KeyError) else str(error)
