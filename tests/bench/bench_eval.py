"""How fast `b2ner eval` scores a file of predictions, on one core and without a model.

The file is invented: sentences of 22 words, up to four mentions each, a fifth of the predictions
wrong in one way or another. Give 1,000,000 --predictions for the number in the documentation.
"""

import argparse
import os
import random
import resource
import tempfile
import time
from pathlib import Path

from b2ner_cli.core.document import Mention
from b2ner_cli.formats.predictions import PredictionRecord, encode
from b2ner_cli.prompts.rendering import answer
from b2ner_cli.scoring.report import score
from b2ner_cli.scoring.scored_documents import ScoreJob

LABELS = ("person", "organization", "location", "movie title", "date")
SETS = 14
PROMPT = (
    "Given the label set of entities, please recognize all the entities in the text. The answer "
    'format should be "entity label: entity; entity label: entity". \n'
    "Label Set: {} \n\nText: {} \nAnswer:"
)


def write(path: Path, predictions: int) -> None:
    rng = random.Random(0)
    words = [f"word{number}" for number in range(5000)]
    with path.open("wb") as out:
        for number in range(predictions):
            said = rng.choices(words, k=22)
            gold = [
                Mention(rng.choice(LABELS), " ".join(said[at : at + rng.randint(1, 2)]))
                for at in rng.sample(range(22), rng.randint(0, 4))
            ]
            text = " ".join(said)
            record = PredictionRecord(
                "NER",
                f"set{number % SETS}",
                "en",
                str(number),
                text,
                PROMPT.format(", ".join(LABELS), text),
                answer(gold).strip(),
                answer([guess for each in gold for guess in guessed(each, rng)]).strip(),
            )
            out.write(encode(record))


def guessed(gold: Mention, rng: random.Random) -> list[Mention]:
    draw = rng.random()
    if draw < 0.05:
        return []
    if draw < 0.10:
        return [Mention(rng.choice(LABELS), gold.surface)]
    if draw < 0.15:
        return [Mention(gold.label, gold.surface.split()[0])]
    if draw < 0.20:
        return [Mention(gold.label, "not in here")]
    return [gold]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=50_000)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        write(path, options.predictions)
        print(f"{options.predictions:,} predictions, {path.stat().st_size / 1e6:,.0f} MB, one core")
        for metrics in (("paper",), ("strict",), ("strict", "paper")):
            clock, cpu = time.perf_counter(), time.process_time()
            reports = score(path, ScoreJob(metrics))
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            f1 = ", ".join(f"{metric} {reports[metric].f1:.4f}" for metric in metrics)
            print(
                f"{' and '.join(metrics):<18} {cpu:6.1f} CPU seconds  {clock:6.1f} by the clock  "
                f"{cpu / options.predictions * 1e6:5.1f} microseconds a prediction  F1 {f1}"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
