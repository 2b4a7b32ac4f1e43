"""`b2ner cache`: look at or empty the store of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from b2ner_cli.cli import console
from b2ner_cli.cli.options import AsJson, CachePath, cache_file

if TYPE_CHECKING:
    from b2ner_cli.tagging.answer_cache import Cache

app = typer.Typer(help="Look at or empty the store of answers.", no_args_is_help=True)


@app.command("info")
def cache_info(cache: CachePath = None, as_json: AsJson = False) -> None:
    """Show where answers are kept, how many and how large."""
    answers, size = 0, 0
    with _opened(cache) as (path, store):
        if store:
            info = store.info()
            answers, size = info.answers, info.bytes
    if as_json:
        typer.echo(json.dumps({"path": str(path), "answers": answers, "bytes": size}))
    else:
        typer.echo(f"{path}: {answers:,} answers, {size / 1e6:.1f} MB")


@app.command("clear")
def cache_clear(cache: CachePath = None) -> None:
    """Forget all answers."""
    with _opened(cache) as (path, store):
        cleared = store.clear() if store else 0
    typer.echo(f"{path}: {cleared:,} answers cleared")


@contextmanager
def _opened(cache: Path | None) -> Iterator[tuple[Path, Cache | None]]:
    """The store's path, and the store if it is there: looking makes none."""
    from b2ner_cli.tagging.answer_cache import Cache

    console.set_up_logging(False, 0)
    path = cache_file(cache)
    if not path.exists():
        yield path, None
        return
    with Cache.open(path) as store:
        yield path, store
