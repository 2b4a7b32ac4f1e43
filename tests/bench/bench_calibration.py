"""Whether an adapter's scores mean what they say, on sets that they were not fitted on.

    python tests/bench/bench_calibration.py --data heldout --split test
    python tests/bench/bench_calibration.py --data heldout --split test --free -a run/adapter

Of every mention of the answers: the score that the tokens' mean probability gives, that of the
adapter's calibration, and whether its label and surface stand in the document's gold. Prints the
expected calibration error over ten equal bins and the area under the ROC curve, of each set and
of all, each mention counted once, and the table of bins.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from b2ner_cli.scoring.reliability import auroc, bins, calibration_error
from b2ner_cli.tagging.settings import Settings
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training import calibrating


def line(name, said, told):
    right = sum(good for _, good in said) / max(1, len(said))
    ranks = [auroc(pairs) or float("nan") for pairs in (said, told)]
    errors = [calibration_error(pairs) for pairs in (said, told)]
    print(
        f"{name:24} {len(said):8,} {100 * right:6.1f} "
        f"{errors[0]:8.3f} {ranks[0]:7.3f} {errors[1]:12.3f} {ranks[1]:7.3f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", action="append", default=[], metavar="SET")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--free", action="store_true", help="free answers; else constrained ones")
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("-a", "--adapter")
    given = parser.parse_args()
    settings = Settings(given.model, adapter=given.adapter, constrain=not given.free)
    said, told = [], []
    with Tagger.load(settings) as tagger:
        score = tagger.options.calibration
        if score is None:
            parser.error("the adapter has no calibration for such answers")
        print("set                      mentions  right  raw ECE   AUROC  calibrated ECE AUROC")
        for each in calibrating.choose(given.data, given.only):
            found = list(calibrating.judged(tagger, each, given.split, given.limit))
            before = [(one.likelihood, one.right) for one in found]
            after = [(score.probability(one.features), one.right) for one in found]
            line(each.key, before, after)
            said, told = said + before, told + after
    line("all", said, told)
    for name, pairs in (("raw", said), ("calibrated", told)):
        print(f"\n{name}: scores    entities  mean score  right")
        for each in bins(pairs):
            print(
                f"  {each.low:.1f} to {each.high:.1f}{each.count:18,}"
                f"{each.score:12.3f}{each.right:7.3f}"
            )


if __name__ == "__main__":
    main()
