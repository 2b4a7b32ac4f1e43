"""Make an adapter's scores mean something: fit how often answers are right to how sure they were.

documents with gold -> answers -> features of each mention, and whether it is right -> Calibration

Fitted on data sets that the adapter was not trained on: on its own training data a model is surer
of itself than anywhere else. Each set counts the same, whatever its size.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from b2ner_cli.core.document import Document
from b2ner_cli.datasets import b2nerd
from b2ner_cli.datasets.b2nerd import DataSet
from b2ner_cli.errors import DataError, ModelError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import parsing
from b2ner_cli.prompts.confidence import DECODINGS, Calibration, Place, features, likelihood
from b2ner_cli.scoring.reliability import Pair, auroc, bins, calibration_error
from b2ner_cli.tagging.planning import Planner
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training import run_folder

KEY = "calibration"  # of run.json
_RIDGE = 3.0  # keeps a weight small that little speaks for
_STEPS = 60
_FEWEST = 50  # mentions, right ones and wrong ones: fewer say nothing


@dataclass(frozen=True, slots=True)
class Judged:
    """A mention of an answer: what tells whether it is right, what the model said, and the truth.

    Right is a mention whose label and surface stand in its document's gold.
    """

    features: tuple[float, ...]
    likelihood: float
    right: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A set's mentions with what the model `said` of them, and the scores that they `told` by a
    calibration fitted on the other sets alone; None where those were too few.
    """

    decoding: str
    name: str
    mentions: int
    said: list[Pair]
    told: list[Pair] | None


def choose(data: Path, only: Sequence[str] = ()) -> list[DataSet]:
    """The sets of named entities under `data`, those in `only` if it names any.

    Raises DataError where there are none, or one that is named is not there.
    """
    found = {each.key: each for each in b2nerd.datasets(data) if each.kind == "NER"}
    unknown = [name for name in only if name not in found]
    if unknown or not found:
        wanted = ", ".join(unknown) or "of named entities"
        raise DataError(f"{data}: no data set {wanted}", f"it has {', '.join(found) or 'none'}")
    return [each for name, each in found.items() if not only or name in only]


def calibrate(
    adapter: Path, sets: Sequence[DataSet], split: str, limit: int, settings: Settings
) -> list[Outcome]:
    """Fit an adapter's scores on up to `limit` documents of a split of each set, and write them.

    Raises DataError for too little to fit, ModelError for an adapter without a run.json.
    """
    fitted: dict[str, Calibration] = {}
    outcomes: list[Outcome] = []
    for decoding in DECODINGS:
        asked = replace(settings, adapter=str(adapter), constrain=decoding == "constrained")
        with Tagger.load(asked) as tagger:
            found = {each.key: list(judged(tagger, each, split, limit)) for each in sets}
        found = {name: each for name, each in found.items() if each}
        fitted[decoding] = fit(list(found.values()))
        outcomes += _outcomes(decoding, found)
    kept = {
        "documents": f"{limit} at most of each {split} split",
        "sets": list(dict.fromkeys(each.name for each in outcomes)),
        "left_out": {
            name: reliability([each for each in outcomes if each.decoding == name])
            for name in DECODINGS
        },
    }
    write(adapter, fitted, kept)
    return outcomes


def _outcomes(decoding: str, found: Mapping[str, list[Judged]]) -> Iterator[Outcome]:
    """How well each set's scores would be, had it been left out: as those of an unknown kind."""
    for name, each in found.items():
        others = [judged for other, judged in found.items() if other != name]
        said = [(one.likelihood, one.right) for one in each]
        try:
            unknown = fit(others)
        except DataError:
            yield Outcome(decoding, name, len(each), said, None)
        else:
            told = [(unknown.probability(one.features), one.right) for one in each]
            yield Outcome(decoding, name, len(each), said, told)


def reliability(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How well scores tell right from wrong on sets that they were not fitted on, each of those
    given left out in turn: errors, ranks and bins of all mentions, as run.json keeps them.
    """
    said = [pair for each in outcomes if each.told for pair in each.said]
    told = [pair for each in outcomes for pair in each.told or ()]
    return {
        "mentions": len(told),
        "raw": {"ece": round(calibration_error(said), 4), "auroc": _rounded(auroc(said))},
        "calibrated": {"ece": round(calibration_error(told), 4), "auroc": _rounded(auroc(told))},
        "bins": [[b.low, b.count, round(b.score, 4), round(b.right, 4)] for b in bins(told)],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def table_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """What was found, set by set, as rows of a table; errors and ranks in percent."""
    rows = [["answers", "data set", "mentions", "right", "ECE", "AUROC", "left out: ECE", "AUROC"]]
    for each in outcomes:
        right = sum(good for _, good in each.said) / max(1, len(each.said))
        cells = [f"{100 * right:.1f}", *_cells(each.said), *_cells(each.told)]
        rows.append([each.decoding, each.name, f"{each.mentions:,}", *cells])
    return rows


def _cells(pairs: list[Pair] | None) -> tuple[str, str]:
    if not pairs:
        return "", ""
    rank = auroc(pairs)
    return f"{100 * calibration_error(pairs):.1f}", "" if rank is None else f"{100 * rank:.1f}"


def judged(tagger: Tagger, dataset: DataSet, split: str, limit: int) -> Iterator[Judged]:
    """Ask about some documents of a split, drawn at random, and judge each mention of the answers.

    The draw is the same each time.
    """
    documents = [each for each in b2nerd.read_split(dataset, split) if each.text.strip()]
    documents = random.Random(0).sample(documents, min(limit, len(documents)))
    options = replace(tagger.options, language=dataset.language)
    planner = Planner(tagger.engine, LabelSet(dataset.labels), options)
    asked = [(document, question) for document in documents for question in planner.plan(document)]
    for index, completion in tagger.engine.generate([q.prompt() for _, q in asked]):
        document, question = asked[index]
        places: list[Place] = []

        def note(_: Any, place: Place, places: list[Place] = places) -> None:
            places.append(place)

        names = question.group.labels.names
        mentions, _ = parsing.parse(completion, names, question.text, note)
        gold = _gold(document)
        for mention, place in zip(mentions, places, strict=True):
            told, said = features(completion, place), likelihood(completion, place)
            if told is not None and said is not None:
                yield Judged(told, said, (mention.label, mention.surface) in gold)


def _gold(document: Document) -> set[tuple[str, str]]:
    return {(mention.label, mention.surface) for mention in document.mentions or ()}


def fit(sets: Sequence[Sequence[Judged]]) -> Calibration:
    """Fit a logistic regression by Newton's method, each set of the same weight.

    Raises DataError for too few mentions to learn from.
    """
    rows = [(each, 1 / len(judged)) for judged in sets for each in judged]
    right = sum(each.right for each, _ in rows)
    if min(right, len(rows) - right) < _FEWEST:
        raise DataError(
            f"{right} of {len(rows)} mentions are right: too few of one kind to calibrate by",
            f"give documents with at least {_FEWEST} right and as many wrong answers",
        )
    found = torch.tensor([(*each.features, 1.0) for each, _ in rows], dtype=torch.float64)
    truth = torch.tensor([float(each.right) for each, _ in rows], dtype=torch.float64)
    share = torch.tensor([weight for _, weight in rows], dtype=torch.float64)
    share *= len(rows) / share.sum()
    ridge = torch.full((found.shape[1],), _RIDGE, dtype=torch.float64)
    ridge[-1] = 0.0
    weights = torch.zeros(found.shape[1], dtype=torch.float64)
    for _ in range(_STEPS):
        sure = torch.sigmoid(found @ weights)
        slope = found.T @ (share * (sure - truth)) + ridge * weights
        bend = (found * (share * sure * (1 - sure))[:, None]).T @ found + torch.diag(ridge)
        weights -= torch.linalg.solve(bend + 1e-9 * torch.eye(len(bend)), slope)
    return Calibration(tuple(weights[:-1].tolist()), float(weights[-1]))


def write(adapter: Path, fitted: Mapping[str, Calibration], told: Mapping[str, Any]) -> None:
    """Write calibrations by decoding into an adapter's run.json, with what is `told` of them.

    Raises ModelError where the folder has none that can be read.
    """
    path = adapter / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: each.as_dict() for name, each in fitted.items()}
        record[KEY] = {**kept, "fitted_on": dict(told)}
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"cannot read {path}: {error}", "calibrate a trained adapter") from None
    run_folder.write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
