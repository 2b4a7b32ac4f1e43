"""`b2ner docs`: the documentation that comes along."""

from __future__ import annotations

from typing import Annotated

import typer

from b2ner_cli.cli import console

EXAMPLES = (
    "b2ner docs training\n\nb2ner docs --search checkpoint\n\nb2ner docs formats > formats.md"
)


def docs(
    topic: Annotated[
        str | None, typer.Argument(help="What to read about; without it the topics are listed.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="List the lines of all pages that hold these words."),
    ] = None,
) -> None:
    """Read the documentation, page by page; in a pipe as Markdown.

    With --search each line is `topic: heading: line`; exits with 1 where there is none.
    """
    from b2ner_cli import docs as documentation

    if search is not None:
        found = documentation.pages() if topic is None else [documentation.page(topic)]
        hits = list(documentation.search(search, found))
        for hit in hits:
            typer.echo(": ".join(hit))
        if not hits:
            console.finding(f"no page holds {search!r}")
            raise typer.Exit(1)
    elif topic is None:
        named = ((each.topic, each.summary) for each in documentation.pages())
        for line in console.columns(named):
            typer.echo(line)
    else:
        console.print_page(documentation.page(topic).text)
