"""transformers kept quiet while it loads, and its errors in words that name the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import transformers.utils.logging as library
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from b2ner_cli.errors import ModelError
from b2ner_cli.models.device_errors import fitting_memory

log = logging.getLogger("b2ner")


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable model into a ModelError."""
    try:
        with fitting_memory(name):
            yield
    except ModelError:
        raise
    except Exception as error:  # tokenizers, safetensors and configurations raise bare ones
        lines = str(error).strip().splitlines() or [type(error).__name__]
        hint = "its files are damaged or of a kind that is not read: get them again"
        if "trust_remote_code" in str(error) or "does not recognize" in str(error):
            hint = "its architecture is not in transformers, and code from a model is never run"
        raise ModelError(f"cannot load model {name}: {lines[0]}", hint) from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars and warnings of the library on the user's terminal unless debugging.

    After it all is as it was: the settings are the process's, not ours.
    """
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    library.set_verbosity_error()
    library.disable_progress_bar()  # the hub's with it
    try:
        yield
    finally:
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()
        if hub_bars == are_progress_bars_disabled():
            (enable_progress_bars if hub_bars else disable_progress_bars)()
