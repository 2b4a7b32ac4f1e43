"""Write the documents that a fine-tuning replays: a part of samples/written, all of it CC0.

    python -m tests.tools.replay

Of each language as many documents, or all that there are, evenly over its sets and over each set
from its first to its last row. A set that the shipped adapter was not trained on is left out: there
is nothing of it to forget. The same input gives the same bytes.
"""

import gzip
import json
from pathlib import Path

import b2ner_cli
from b2ner_cli.datasets import b2nerd
from b2ner_cli.training.replay import FILE

WRITTEN = Path(__file__).parents[2] / "samples" / "written"
PER_LANGUAGE = 600
NOT_TRAINED_ON = ("written-fields-more",)


def shares(sizes, total):
    """How many of `total` each set gives: the same, but for those that have fewer."""
    given = {}
    for key in sorted(sizes, key=lambda key: (sizes[key], key)):
        given[key] = min(sizes[key], total // (len(sizes) - len(given)))
        total -= given[key]
    return given


def chosen():
    """Yield (key of the set, row), set by set."""
    sets = [each for each in b2nerd.datasets(WRITTEN) if each.name not in NOT_TRAINED_ON]
    rows = {each.key: json.loads((each.path / "train.json").read_text("utf-8")) for each in sets}
    for language in sorted({each.language for each in sets}):
        keys = [each.key for each in sets if each.language == language]
        for key, count in shares({key: len(rows[key]) for key in keys}, PER_LANGUAGE).items():
            for number in range(count):
                yield key, rows[key][number * len(rows[key]) // count]


def content():
    """The file's bytes before they are packed: a document a line."""
    lines = []
    for key, row in chosen():
        kept = {name: row[name] for name in ("labels", "other_names") if name in row}
        entities = [[each["type"], each["name"]] for each in row["entities"]]
        record = {"set": key, "text": row["sentence"], "entities": entities, **kept}
        lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def main():
    path = Path(b2ner_cli.__file__).parent / "training" / FILE
    text = content()
    path.write_bytes(gzip.compress(text, 9, mtime=0))
    documents = len(text.splitlines())
    print(f"{path.name}: {documents} documents, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
