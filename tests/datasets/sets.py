"""Data sets written in a few words, and `b2ner data` run on them."""

import json

from typer.testing import CliRunner

from b2ner_cli.cli.app import app
from b2ner_cli.errors import B2nerError


def put(root, name, labels, **splits):
    """Write a data set; a split is rows, or bytes as they are."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    if labels is not None:
        (folder / "labels.json").write_text(json.dumps(labels, ensure_ascii=False))
    for split, rows in splits.items():
        content = rows if isinstance(rows, bytes) else json.dumps(rows, ensure_ascii=False).encode()
        (folder / f"{split}.json").write_bytes(content)
    return folder


def row(text, *pairs, **more):
    """A row whose names are found in the text from left to right."""
    entities, at = [], 0
    for name, label in pairs:
        at = text.index(name, at)
        entities.append({"name": name, "type": label, "pos": [at, at + len(name)]})
        at += len(name)
    return {"sentence": text, "entities": entities, **more}


class Done:
    def __init__(self, result):
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        error = result.exception
        if isinstance(error, B2nerError):
            self.code, self.err = 2, f"{error.message}\n{error.hint}"
        elif error and not isinstance(error, SystemExit):
            raise error


def run(*arguments):
    return Done(CliRunner().invoke(app, ["data", *map(str, arguments)]))


def cells(done):
    return [line.split() for line in done.out.splitlines()]


def many(count, label="p"):
    return [row(f"{label}{i} is here", (f"{label}{i}", label)) for i in range(count)]


def texts(folder, split):
    return [each["sentence"] for each in json.loads((folder / f"{split}.json").read_text())]


MOON = row("Moon plays Go .", ("Moon", "player"), ("Go", "game"))
NO_PLACE = {"sentence": "于谦演电影", "entities": [{"name": "于谦", "type": "人名"}]}
