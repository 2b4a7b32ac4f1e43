"""Every way a run can fail, as one tree; each error says what is wrong and what to do next.

B2nerError
├── UsageError    an option or a combination of options cannot be used
├── InputError    a file of documents, labels or predictions cannot be read
├── OutputError   the output cannot be written
├── ModelError    a model or an adapter cannot be loaded, or the two do not fit
└── DataError     training or evaluation data is unusable

Errors are raised deep and caught once, in ``cli.app.main``. Trouble with one document is not an
error: it is data (`core.document.BadRecord`, its `Result.problems`).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

NOTICE = 25  # log level of a line that everybody should see but that warns of nothing


class B2nerError(Exception):
    """A failure that ends the run, with an optional hint on how to go on."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(B2nerError):
    """The command was asked for something it cannot do."""


class InputError(B2nerError):
    """Documents, labels or predictions cannot be read."""


class OutputError(B2nerError):
    """The output cannot be written."""


class ModelError(B2nerError):
    """A model or adapter cannot be loaded, or an adapter does not fit its model."""


class DataError(B2nerError):
    """Training or evaluation data is missing, malformed or inconsistent."""


def reason(error: OSError) -> str:
    """Say what the system says of an error, in lower case."""
    return (error.strerror or str(error)).lower()


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Hint at the known name that is most like `name`; `otherwise` where none is like it."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise
