"""`b2ner data`: look at data sets, and make them.

Each command parses its options, calls one function and shows the outcome.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2ner_cli.cli import console
from b2ner_cli.cli.options import (
    Collection,
    JsonForTable,
    LoadOptions,
    Quiet,
    Verbose,
    grouped,
)
from b2ner_cli.core.document import BadRecord
from b2ner_cli.core.text import counted
from b2ner_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from b2ner_cli.datasets import statistics
    from b2ner_cli.datasets.splits import Split
    from b2ner_cli.datasets.writing import SplitContent

    Choose = Callable[[list[Split], "_BadRecords"], Iterable[SplitContent]]

app = typer.Typer(help="Look at data sets, and make them.", no_args_is_help=True)

_SHOWN = 20  # records that cannot be read which are named; the others are counted

Data = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Data sets in B2NERD layout, a folder or zip, or a file: "
                   ".json, .jsonl (ours, spaCy, Prodigy), .conll, .csv, .parquet."),
]  # fmt: skip
From = Annotated[
    str | None,
    typer.Option("--from", help="b2nerd, jsonl, conll, csv or parquet; by default by suffix."),
]
Target = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for data sets; for a file, a file.")
]
Seed = Annotated[int, typer.Option(help="Another seed draws other documents.")]


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How data sets are read and written by the commands that make some."""

    to: Annotated[
        str | None,
        typer.Option("--to", "-t", help="b2nerd, jsonl, spacy, conll or parquet; by default the "
                     "same format again, or by suffix of a file."),
    ] = None  # fmt: skip
    collection: Collection = None
    from_: From = None
    name: Annotated[str | None, typer.Option(help="What to call the set that is in a file.")] = None
    lang: Annotated[str, typer.Option(help="Language of the set that is in a file.")] = "en"
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite sets that are there already.")
    ] = False
    quiet: Quiet = False
    verbose: Verbose = 0


class _BadRecords:
    """Names the first records that cannot be read, and counts all."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, record: BadRecord) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            console.show_bad_record(record)

    def finish(self) -> None:
        """Say how many there were in all; they make the exit code 1."""
        if self.count > _SHOWN:
            console.finding(f"{self.count:,} records could not be read")
        if self.count:
            raise typer.Exit(1)


@app.command(epilog="b2ner data stats B2NERD_data.zip --by type")
def stats(
    path: Data,
    collection: Collection = None,
    by: Annotated[str | None, typer.Option(metavar="dataset|type", help="A row for each.")] = None,
    from_: From = None,
    as_json: JsonForTable = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Count data sets, types and documents, by split and language."""
    from b2ner_cli.datasets import statistics
    from b2ner_cli.datasets.splits import DataSource, find_splits

    console.set_up_logging(quiet, verbose)
    if by not in (None, "dataset", "type"):
        raise UsageError(f"--by {by}: not a way to count", "choose dataset or type")
    bad = _BadRecords()
    every = statistics.count_all(find_splits(DataSource(path, collection, from_)), path, bad)
    if as_json:
        counted = statistics.as_dict(every, path, collection)
        typer.echo(json.dumps(counted, ensure_ascii=False, indent=2))
    else:
        console.print_table(statistics.table(every, by))
    _note_remarks(every)
    bad.finish()


def _note_remarks(every: list[statistics.SplitCounts]) -> None:
    if misfits := sum(counts.misfits for counts in every):
        console.note(f"{misfits:,} annotations do not fit their text or labels: b2ner data check")
    for counts in every:
        if not counts.documents:
            console.note(f"{counts.key}: its {counts.split} split holds no documents")
    has_raw = [counts for counts in every if counts.raw is not None]
    if has_raw and len(has_raw) < len(every):
        console.note(f"raw rows are known of {len(has_raw)} of {len(every)} splits only")


@app.command(epilog="b2ner data check B2NERD_data.zip | grep offsets")
def check(
    path: Data,
    collection: Collection = None,
    from_: From = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Name every row that is not as it should be: offsets, types, names, repeats, leaks.

    Prints FILE:ROW, the kind of fault and what is wrong, a line each; rows count from 0,
    lines of JSONL and CoNLL from 1. Exits with 1 where there are faults; unused labels and
    separators in names are notes, and none.
    """
    from b2ner_cli.datasets import checks
    from b2ner_cli.datasets.splits import DataSource, find_splits

    console.set_up_logging(quiet, verbose)
    kinds: Counter[str] = Counter()
    unusable: list[str] = []
    found = find_splits(DataSource(path, collection, from_), unusable.append)
    faults = [checks.RowFinding("labels", *line.split(": ", 1)) for line in unusable]
    failed = bool(faults)
    for finding in chain(faults, checks.check(found)):
        kinds[finding.kind] += 1
        failed = failed or finding.is_fault
        if as_json:
            typer.echo(json.dumps(finding._asdict(), ensure_ascii=False))
        else:
            typer.echo(f"{finding.where}: {finding.kind}: {finding.message}")
    named = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    console.note(f"{counted(len(found), 'split')}: {named or 'nothing found'}")
    if failed:
        raise typer.Exit(1)


@app.command(epilog="b2ner data convert reviews.jsonl --to b2nerd -o mine")
@grouped
def convert(
    path: Data,
    output: Target,
    *,
    writing: WriteOptions,
) -> None:
    """Write data sets in another format; names without offsets are looked for in the text."""
    _write(path, output, writing, _whole)


@app.command(epilog="b2ner data split reviews.jsonl --dev 0.1 --test 500 --to b2nerd -o mine")
@grouped
def split(
    path: Data,
    output: Target,
    dev: Annotated[float, typer.Option(help="Share of the texts below 1, else a number.")] = 0.0,
    test: Annotated[float, typer.Option(help="Share of the texts below 1, else a number.")] = 0.0,
    seed: Seed = 23,
    *,
    writing: WriteOptions,
) -> None:
    """Split dev and test off the training documents; equal texts stay in one split."""
    from b2ner_cli.datasets import sampling

    shares = sampling.Shares(dev, test, seed)
    _write(
        path, output, writing,
        lambda found, bad: sampling.split_off(found, shares, bad, console.note), folder=True,
    )  # fmt: skip


@app.command(epilog="b2ner data sample B2NERD_data.zip -n 500 --per-type 50 -o small")
@grouped
def sample(
    path: Data,
    output: Target,
    number: Annotated[
        int | None, typer.Option("--number", "-n", min=1, help="Documents of each split, at most.")
    ] = None,
    per_type: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Documents with a type, at most, unless they come for another type; "
            "no entity is a type of its own.",
        ),
    ] = None,
    seed: Seed = 23,
    *,
    writing: WriteOptions,
) -> None:
    """Draw documents at random, or so that types are balanced; the same ones for a seed."""
    from b2ner_cli.datasets import sampling

    if number is None and per_type is None:
        raise UsageError("how many documents?", "say --number, --per-type, or both")
    _write(
        path, output, writing,
        lambda found, bad: sampling.sample(found, number, per_type, seed, bad),
    )  # fmt: skip


@app.command(epilog="b2ner data conflicts B2NERD_data.zip --collection B2NERD_all --top 30")
def conflicts(
    path: Data,
    collection: Collection = None,
    split: Annotated[
        str | None, typer.Option(help="Compare only train, dev or test; by default all.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Pairs to show.")] = 20,
    least: Annotated[int, typer.Option(min=1, help="Places found that a pair needs.")] = 10,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each pair.")] = 3,
    surfaces: Annotated[int, typer.Option(min=1, help="Surfaces of a label of a set.")] = 2000,
    documents: Annotated[int, typer.Option(min=1, help="Documents drawn of a set.")] = 5000,
    seed: Seed = 23,
    from_: From = None,
    as_json: JsonForTable = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Rank labels that two sets share but annotate differently, with examples.

    What one set annotates is looked for in the other: agree, other label, differ in extent, miss.
    """
    from b2ner_cli.datasets import conflicts as screening
    from b2ner_cli.datasets.splits import DataSource, find_splits

    console.set_up_logging(quiet, verbose)
    found = find_splits(DataSource(path, collection, from_))
    if split is not None:
        found = [each for each in found if each.name == split]
    if len({each.key for each in found}) < 2:
        raise UsageError(f"{path}: fewer than two data sets to compare")
    bad = _BadRecords()
    limits = screening.ScreenLimits(surfaces, documents, examples, seed)
    pairs = screening.screen(found, limits, bad)
    if as_json:
        made = screening.as_dicts(pairs, least)[:top]
        typer.echo(json.dumps(made, ensure_ascii=False, indent=2))
    else:
        console.print_table(screening.table(pairs, least)[: top + 1])
        for pair in screening.between(pairs, least)[:top] if examples else ():
            typer.echo(f"\n{pair.label}: {pair.a}, looked for in {pair.b}")
            for e in pair.examples:
                theirs = f" ({e.theirs})" if e.theirs else ""
                around = " ".join(e.text.split())
                typer.echo(f"  {e.verdict}{theirs}: {e.surface} | {around} | {e.where}")
    bad.finish()


@app.command(epilog="b2ner data standardise mine --map names.json -o standard")
@grouped
def standardise(
    path: Data,
    output: Target,
    map_: Annotated[
        Path,
        typer.Option(
            "--map",
            help='JSON: {"NER_en_games": {"player": "person -> player"}}; * for '
            "all sets, null takes a label away.",
        ),
    ],
    *,
    writing: WriteOptions,
) -> None:
    """Rename labels, data set by data set; write the result as new data sets."""
    from b2ner_cli.datasets import renaming

    names = renaming.read(map_)
    _write(path, output, writing, lambda found, bad: renaming.standardise(found, names, bad))


@app.command(epilog="b2ner data prune B2NERD_data.zip --per-type 50 -o small")
@grouped
def prune(
    path: Data,
    output: Target,
    per_type: Annotated[
        int, typer.Option(min=1, help="Documents to keep of a type; no entity is one, too.")
    ],
    by: Annotated[
        str, typer.Option(help="meaning: the model's hidden states; words: needs no model.")
    ] = "meaning",
    *,
    loading: LoadOptions,
    writing: WriteOptions,
) -> None:
    """Keep documents that cover the types and differ in meaning, of each split of each set."""
    if by not in ("meaning", "words"):
        raise UsageError(f"--by {by}: not a way to compare texts", "choose meaning or words")

    def choose(found: list[Split], bad: _BadRecords) -> Iterable[SplitContent]:
        # Only now, when the data has been found: torch and a model take their time.
        from b2ner_cli.datasets import pruning

        embed = pruning.by_meaning(loading.load()) if by == "meaning" else pruning.by_words
        return pruning.prune(found, per_type, embed, bad, console.note)

    _write(path, output, writing, choose)


def _write(
    path: Path, output: Path, options: WriteOptions, choose: Choose, *, folder: bool = False
) -> None:
    """Read splits, choose of them what is to be written, and say what was.

    With `folder` a folder of sets is written, whatever is read.
    """
    from b2ner_cli.datasets import writing
    from b2ner_cli.datasets.splits import DataSource, by_suffix, find_splits

    console.set_up_logging(options.quiet, options.verbose)
    found = find_splits(
        DataSource(path, options.collection, options.from_, options.name, options.lang)
    )
    single = found[0].file == path
    kind = options.to or (single and by_suffix(output)) or writing.own_format(found[0])
    folder = folder or not single or kind == "b2nerd"
    writing.check_target(kind, output, path, folder=folder, force=options.force)
    bad = _BadRecords()
    parts = choose(found, bad)
    if folder:
        written = writing.write_folder(parts, output, kind)
    else:
        documents = (document for _, each in parts for document in each)
        written = writing.write_file(documents, output, kind, force=options.force)
    for what, count in written.lost.items():
        if count:
            console.note(f"left out: {count:,} {what}")
    console.note(
        f"wrote {counted(written.documents, 'document')} with "
        f"{counted(written.entities, 'entity')} to {output} "
        f"({counted(len(written.files), 'file')})"
    )
    if not written.documents:
        raise DataError(f"{path}: no documents to write", "b2ner data stats counts what is")
    bad.finish()


def _whole(found: list[Split], bad: _BadRecords) -> Iterable[SplitContent]:
    return ((split, split.readable(bad)) for split in found)
