"""Which documents are scored against which: the files of predictions and of gold, paired.

Reads the authors' prediction files (gold inside), our JSONL (gold from a second file or from a
field of the same record) and CoNLL. A data set is named as in the authors' tables,
``NER_en_<set>``; a plain file is one data set, named by its file name without suffix. Whatever
cannot be paired ends the run: a score that skips is no score. What the documents claim is
`answers`' and `records`' matter.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.tasks import TASKS, Task
from b2ner_cli.errors import NOTICE, InputError, UsageError
from b2ner_cli.formats import fields, input_file, predictions, result_json
from b2ner_cli.scoring import answers, records
from b2ner_cli.scoring.counts import SetName
from b2ner_cli.scoring.scored_documents import ScoredDocument, ScoreJob

log = logging.getLogger("b2ner")

_PREDICTED = "entities"  # the field that holds them, in predictions and in gold files
_NAMED = 3


def scored_documents(path: Path, job: ScoreJob) -> Iterator[ScoredDocument]:
    """Yield the documents of a prediction file, or of a directory that has one, with their gold."""
    path = _prediction_file(path)
    kind = _kind(path)
    if kind == "answers":
        if job.gold or job.fields.gold:
            raise UsageError(
                f"{path} brings its gold answers along",
                "Leave out --gold and --gold-field for the authors' prediction files.",
            )
        if job.task:
            raise UsageError(f"{path} names its tasks itself", "Leave out --task.")
        return answers.scored_documents(path, job)
    if job.fix_commas:
        raise UsageError(
            f"{path} has entities, not answers: there are no commas to fix",
            "Leave out --fix-commas; it is for the authors' prediction files.",
        )
    task = job.task or (_task(path, job.fields) if kind == "jsonl" else "NER")
    data_set = SetName(Path(path.name.removesuffix(".gz")).stem)
    return records.scored_documents(data_set, _pairs(path, kind, task, job), task, job)


def entity_pairs(path: Path, job: ScoreJob) -> Iterator[tuple[Document, Document | None]]:
    """Yield gold documents with their predictions, of a file that has entities.

    Raises InputError for the authors' files of answers: nothing in them has a score.
    """
    path = _prediction_file(path)
    kind = _kind(path)
    if kind == "answers":
        raise InputError(
            f"{path} holds answers, whose entities have no score",
            "Score JSONL that `b2ner tag` wrote.",
        )
    return _pairs(path, kind, "NER", job)


def _pairs(
    path: Path, kind: str, task: Task, job: ScoreJob
) -> Iterator[tuple[Document, Document | None]]:
    """Pair predictions with gold from wherever the job says it is."""
    gold, named = job.gold, job.fields
    if task != "NER" and "conll" in (kind, gold and _kind(gold)):
        raise UsageError("CoNLL holds entities alone", "Score records of JSONL with this --task.")
    if gold is None:
        return _one_file(path, kind, named, task)
    if named.gold:
        raise UsageError("gold comes from --gold or from --gold-field, not from both")
    if _kind(gold) == "answers":
        raise InputError(f"{gold}: a file of predictions, not of gold")
    return _two_files(path, gold, named, task)


def named_ids(ids: Sequence[str]) -> str:
    """Name the first few ids for a message, and count the others."""
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(map(repr, ids[:_NAMED])) + more


# Which file ---------------------------------------------------------------------------------------


def _prediction_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    inside = path / predictions.FILE_NAME
    if inside.is_file():
        return inside
    deeper = sorted(path.glob(f"*/{predictions.FILE_NAME}"))
    hint = f"Did you mean {deeper[0].parent}?" if deeper else "Name the file of predictions itself."
    raise InputError(f"{path}: no {predictions.FILE_NAME} in this directory", hint)


def _kind(path: Path) -> str:
    """Tell what a file of predictions or gold is: ``answers``, ``jsonl`` or ``conll``."""
    if str(path) == input_file.STDIN or input_file.is_stream(str(path)):
        raise UsageError(
            f"{path}: predictions are read from a file, not from a pipe",
            "Write them to a file first: its records are looked at more than once.",
        )
    with input_file.opened(str(path), None, None) as (format, lines):
        first = next((line for line in lines if line.strip()), b"")
    if not first:
        raise InputError(
            f"{path}: nothing in the file to score", "Did the run that wrote it finish?"
        )
    if format == "jsonl":
        return "answers" if predictions.is_prediction(first) else format
    if format == "conll":
        return format
    raise InputError(
        f"{path}: a file of format {format} cannot be scored",
        "Predictions and gold are JSONL with entities, CoNLL, or the authors' prediction files.",
    )


def _task(path: Path, named: fields.Fields) -> Task:
    """Tell what records were written for, where the first of them says it, and say so in doubt."""
    for document in _documents(path, named, "RE"):
        if task := result_json.task(document.meta):
            if len({result_json.key(each) for each in TASKS} & document.meta.keys()) > 1:
                scored = "%s: what stands under %r is scored; --task says otherwise"
                log.log(NOTICE, scored, path, result_json.key(task))
            return task
    raise UsageError(
        f"{path}: no record has an event, so which task it is of cannot be told",
        "Name it: --task eet, eea, neweet or neweea.",
    )


# Documents with entities ------------------------------------------------------------------------


def _two_files(
    path: Path, gold: Path, named: fields.Fields, task: Task
) -> Iterator[tuple[Document, Document | None]]:
    """Yield gold documents with their predictions; None for a document that has none.

    Matched by id, repeats of an id in their order; records without an id by their place.
    """
    waiting = dict(_keyed(_documents(path, named, task)))
    for key, document in _keyed(_documents(gold, named, task)):
        predicted = waiting.pop(key, None)
        if predicted and predicted.text != document.text:
            raise InputError(
                f"{predicted.origin}: the text of {predicted.id!r} is not the gold text "
                f"({document.origin})",
                "Tag the gold file's own texts, in the same order and with the same ids.",
            )
        yield document, predicted
    if waiting:
        strangers = [document.id for document in waiting.values()]
        raise InputError(
            f"{path}: no gold for {named_ids(strangers)} in {gold}",
            "Score with the gold file that the predictions were made from.",
        )


def _keyed(documents: Iterable[Document]) -> Iterator[tuple[tuple[str, int], Document]]:
    seen: Counter[str] = Counter()
    for document in documents:
        # Without an id of its own a document is named after its place in its file.
        name = "" if document.id == document.origin else document.id
        yield (name, seen[name]), document
        seen[name] += 1


def _one_file(
    path: Path, kind: str, named: fields.Fields, task: Task
) -> Iterator[tuple[Document, Document | None]]:
    if named.gold is None:
        raise UsageError(
            f"{path} has no gold {result_json.key(task)} to compare with",
            "Name a file of gold with --gold, or a field of the same records with --gold-field.",
        )
    if kind != "jsonl":
        raise UsageError(f"--gold-field needs records with fields: {path} is not JSONL")
    if named.gold == result_json.key(task):
        raise UsageError(
            f"{named.gold!r} holds the predictions",
            f"`b2ner tag` keeps gold that stood there as {named.gold}_in.",
        )
    for document in _documents(path, fields.Fields(named.text, named.id), task):
        if task != "NER":
            if named.gold not in document.meta:
                raise InputError(f"{document.origin}: no gold field {named.gold!r}")
            meta = {**document.meta, result_json.key(task): document.meta[named.gold]}
            yield document._replace(meta=meta), document
            continue
        gold = fields.Fields(named.text, named.id, gold=named.gold)
        try:
            annotated = fields.document(document.meta, document.raw, document.origin, gold)
        except fields.RecordError as error:
            raise InputError(f"{document.origin}: {error.message}", error.hint) from error
        if annotated.mentions is None:
            raise InputError(f"{document.origin}: no gold field {named.gold!r}")
        yield annotated, document


def _documents(path: Path, named: fields.Fields, task: Task) -> Iterator[Document]:
    """Read documents, of named entities with these; anything else ends the run: a score must not
    skip.
    """
    empty = True
    gold_field = _PREDICTED if task == "NER" else None
    for item in formats.read(
        [str(path)], text_field=named.text, id_field=named.id, gold_field=gold_field
    ):
        empty = False
        if isinstance(item, BadRecord):
            raise InputError(f"{item.origin}: {item.message}", item.hint)
        if gold_field and item.mentions is None:
            raise InputError(
                f"{item.origin}: no {_PREDICTED!r} in this record",
                "Predictions and gold are lists of objects with start, end and label.",
            )
        yield item
    if empty:
        raise InputError(f"{path}: no records in the file")
