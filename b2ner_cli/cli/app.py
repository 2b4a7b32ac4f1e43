"""The command line: every command by its name, and what becomes of errors.

stdout carries data alone; everything else goes to stderr through `console`. Exit codes: 0 done,
1 done with findings, 2 could not do it, 130 interrupted. Heavy libraries are imported inside the
commands, so that help answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from b2ner_cli import __version__
from b2ner_cli.cli import (
    bench,
    cache,
    console,
    data,
    docs,
    eval,
    labels,
    model,
    predict,
    tag,
    train,
)
from b2ner_cli.errors import B2nerError, OutputError

app = typer.Typer(
    name="b2ner",
    help="Tag documents in bulk with open-label named entities, with exact character offsets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=tag.EXAMPLES)(tag.tag)
app.command(epilog=predict.EXAMPLES)(predict.predict)
app.command("eval", epilog=eval.EXAMPLES)(eval.evaluate)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=bench.EXAMPLES)(bench.bench)
app.command(epilog=docs.EXAMPLES)(docs.docs)
app.add_typer(cache.app, name="cache")
app.add_typer(model.app, name="model")
app.add_typer(data.app, name="data")
app.add_typer(labels.app, name="labels")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"b2ner {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and exit with the code that says how it went."""
    _speak_utf8()
    # transformers looks for progress bars and telemetry settings when it is imported
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # said, it does not warn of forks
    try:
        app(standalone_mode=True)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
        if isinstance(exit_.__context__, BrokenPipeError):  # Typer makes a 1 of `| head`
            os._exit(0)
    except B2nerError as error:
        console.show_error(error)
        code = 2
    except MemoryError:
        console.show_error(B2nerError("out of memory", "try a smaller --batch-tokens"))
        code = 2
    except OSError as error:  # a disk that fills up or goes away under what we print or keep
        where = f"{error.filename}: " if error.filename else ""
        console.show_error(OutputError(where + (error.strerror or str(error)).lower()))
        code = 2
    _leave(code)


def _speak_utf8() -> None:
    """Begin again in UTF-8 mode where the locale, as C does, leaves Python with ASCII alone.

    Arguments, file names and output are UTF-8 then, as they are under any other locale of today.
    """
    if sys.getfilesystemencoding() == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _leave(code: int) -> NoReturn:
    """Flush and exit without waiting for a reader that may be stuck on a pipe."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if code != 2:  # else it is this that was complained of
            console.show_error(OutputError(f"cannot write standard output: {error.strerror}"))
        code = 2
    sys.stderr.flush()
    os._exit(code)
