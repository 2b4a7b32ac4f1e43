"""`b2ner cache`: look at or empty the store of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from b2ner_cli.cli import console

app = typer.Typer(help="Look at or empty the store of answers.", no_args_is_help=True)

CachePath = Annotated[
    Path | None,
    typer.Option("--cache", envvar="B2NER_CACHE", rich_help_panel="Run",
                 help="Store of answers; by default in the user's cache directory."),
]  # fmt: skip


@app.command("info")
def cache_info(
    cache: CachePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where answers are kept, how many and how large."""
    from b2ner_cli.core.paths import cache_directory
    from b2ner_cli.tagging.answer_cache import FILE_NAME, Cache

    console.set_up_logging(False, 0)
    path = cache or cache_directory() / FILE_NAME
    answers, size = 0, 0
    if path.exists():
        with Cache.open(path) as opened:
            info = opened.info()
            answers, size = info.answers, info.bytes
    if as_json:
        typer.echo(json.dumps({"path": str(path), "answers": answers, "bytes": size}))
    else:
        typer.echo(f"{path}: {answers:,} answers, {size / 1e6:.1f} MB")


@app.command("clear")
def cache_clear(cache: CachePath = None) -> None:
    """Forget all answers."""
    from b2ner_cli.core.paths import cache_directory
    from b2ner_cli.tagging.answer_cache import FILE_NAME, Cache

    console.set_up_logging(False, 0)
    path = cache or cache_directory() / FILE_NAME
    cleared = 0
    if path.exists():
        with Cache.open(path) as opened:
            cleared = opened.clear()
    typer.echo(f"{path}: {cleared:,} answers cleared")
