"""`b2ner labels`: the taxonomy of labels, and a review of one's own.

Each command parses its options, calls one function and shows the outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2ner_cli.cli import console
from b2ner_cli.cli.options import Adapter, AsJson, Device, Model
from b2ner_cli.errors import UsageError

if TYPE_CHECKING:
    from b2ner_cli.labels.taxonomy import TaxonomyLabel

app = typer.Typer(help="Find labels in the taxonomy, or review a label set.", no_args_is_help=True)

Language = Annotated[
    str | None, typer.Option("--lang", help="Only this language: en, zh, de, nl, es, ...")
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="Data sets in B2NERD layout, whose labels are added: B2NERD."),
]


@app.command("list", epilog="b2ner labels list --lang en --parent person")
def list_labels(
    lang: Language = None,
    parent: Annotated[str | None, typer.Option(help="Only its children.")] = None,
    in_set: Annotated[
        str | None, typer.Option("--set", help="Only the labels of this data set, e.g. CoNLL 2003.")
    ] = None,
    sure: Annotated[
        str | None, typer.Option(help="Only these names: confirmed, given, probable or ours.")
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """List the labels of the taxonomy, with what is known of their names."""
    from b2ner_cli.labels.taxonomy import SURE

    console.set_up_logging(False, 0)
    known = _known(lang, data)
    if sure is not None and sure not in SURE:
        raise UsageError(f"--sure {sure}: no such names", f"choose from {', '.join(SURE)}")
    wanted = [
        entry
        for entry in known
        if parent in (None, entry.parent)
        and sure in (None, entry.sure)
        and (in_set is None or in_set in entry.data_sets)
    ]
    if not wanted:
        raise UsageError("the taxonomy has no such labels", _alternatives(known, parent, in_set))
    if as_json:
        _print_json([entry.as_dict() for entry in wanted])
        return
    for line in console.columns((entry.name, entry.sure, entry.description) for entry in wanted):
        typer.echo(line)


@app.command(epilog='b2ner labels search "music band"\n\nb2ner labels search 乐队 --meaning')
def search(
    query: Annotated[str, typer.Argument(help="Words for what you are looking for.")],
    lang: Language = None,
    limit: Annotated[int, typer.Option(min=1, help="The N best.")] = 10,
    meaning: Annotated[
        bool, typer.Option("--meaning", help="By what a model takes the words to mean.")
    ] = False,
    model: Model = None,
    adapter: Adapter = None,
    device: Device = "auto",
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Find labels of the taxonomy by words or, with a model, by meaning; best first."""
    from b2ner_cli.labels import taxonomy

    console.set_up_logging(False, 0)
    if not query.strip():
        raise UsageError("nothing to search for", 'for example: b2ner labels search "music band"')
    known = _known(lang, data)
    if meaning:
        from b2ner_cli.models import label_search, loading

        loaded = loading.load(model, adapter or "none", device=device)
        hits = label_search.search(query, known, limit, loaded)
    else:
        hits = taxonomy.search(query, known, limit)
    if as_json:
        _print_json([{**entry.as_dict(), "score": score} for entry, score in hits])
        return
    if not hits:
        console.finding("no label has these words; --meaning asks a model")
        raise typer.Exit(1)
    rows = ((entry.name, f"{score:.2f}", entry.sure, entry.description) for entry, score in hits)
    for line in console.columns(rows):
        typer.echo(line)


@app.command(epilog='b2ner labels show person "en/person -> writer"')
def show(
    labels: Annotated[list[str], typer.Argument(help="Labels, or LANGUAGE/LABEL.")],
    lang: Language = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Explain labels: what they mean, an example or two, who uses them, how sure the name is."""
    from b2ner_cli.labels import taxonomy

    console.set_up_logging(False, 0)
    known = _known(lang, data)
    found = [entry for label in labels for entry in taxonomy.one(label, known, lang)]
    if as_json:
        _print_json([entry.as_dict() for entry in found])
        return
    for number, entry in enumerate(found):
        if number:
            typer.echo("")
        typer.echo(entry.label)
        for line in console.columns(_lines(entry, known)):
            typer.echo(f"  {line}")


@app.command(
    epilog='b2ner labels check "PER, persons, movie_title"\n\nb2ner labels check labels.txt'
)
def check(
    labels: Annotated[
        str, typer.Argument(metavar="FILE|LIST", help="A label file, a labels.json, or a list.")
    ],
    as_json: AsJson = False,
) -> None:
    """Review a label set against the naming rules; exits with 1 if it finds more than notes."""
    from b2ner_cli.labels import reading, review

    console.set_up_logging(False, 0)
    names = reading.read_unchecked(labels)
    findings = review.review(names)
    if as_json:
        _print_json([finding.as_dict() for finding in findings])
    for finding in findings if not as_json else ():
        instead = f"; better: {finding.suggestion}" if finding.suggestion else ""
        subject = f"{finding.label!r}: " if finding.label else ""
        typer.echo(f"{finding.severity}: {subject}{finding.message}{instead}")
    grave = sum(finding.severity != "note" for finding in findings)
    if not as_json:
        console.note(f"{len(names)} labels, {grave} to change, {len(findings) - grave} notes")
    if grave:
        raise typer.Exit(1)


def _known(language: str | None, data: Path | None) -> tuple[TaxonomyLabel, ...]:
    """The taxonomy with the labels of a folder of data sets, reduced to one language."""
    from b2ner_cli.labels import taxonomy

    known = taxonomy.entries()
    if data is not None:
        from b2ner_cli.datasets import b2nerd

        sets = [each for each in b2nerd.datasets(data) if each.kind == "NER"]
        known = taxonomy.with_sets(known, ((s.language, s.name, s.labels) for s in sets))
    wanted = tuple(entry for entry in known if language in (None, entry.language))
    if not wanted:
        there = ", ".join(dict.fromkeys(entry.language for entry in known))
        raise UsageError(f"the taxonomy has no labels in {language!r}", f"it has {there}")
    return wanted


def _alternatives(known: Iterable[TaxonomyLabel], parent: str | None, in_set: str | None) -> str:
    if in_set is not None:
        sets = sorted({name for entry in known for name in entry.data_sets}, key=str.casefold)
        return f"data sets: {', '.join(sets)}"
    if parent is not None:
        parents = sorted({entry.parent for entry in known if entry.parent})
        return f"parents: {', '.join(parents)}"
    return "leave out an option"


def _lines(entry: TaxonomyLabel, known: Iterable[TaxonomyLabel]) -> list[tuple[str, str]]:
    """What there is to say of an entry, in words."""
    from b2ner_cli.labels.taxonomy import PREFIX, SURE

    children = [
        each.label
        for each in known
        if each.parent == entry.label and each.language == entry.language
    ]
    sets = (
        name if called == entry.label else f"{name} (as {called})"
        for name, called in entry.data_sets.items()
    )
    lines = [
        ("language", entry.language),
        ("parent", entry.parent or ""),
        ("children", ", ".join(children)),
        ("name", SURE[entry.sure]),
        ("description", entry.description),
        ("mentions", "; ".join(entry.mentions)),
        ("data sets", ", ".join(sets)),
        ("other names", ", ".join(entry.others)),
        ("ask for it", f'--labels "{PREFIX}{entry.name}"'),
    ]
    return [line for line in lines if line[1]]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
