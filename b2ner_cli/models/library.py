"""transformers kept quiet while it loads, and its errors in words that name the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import transformers

from b2ner_cli.errors import ModelError
from b2ner_cli.models.device_errors import fitting_memory
from b2ner_cli.models.files import Source, read_json

log = logging.getLogger("b2ner")


def model_type(source: Source) -> str:
    def unreadable(why: str) -> ModelError:
        return ModelError(f"cannot load model {source.name}: {why}", "get the file again")

    config = read_json(source.directory / "config.json", unreadable)
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


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
    """No progress bars and warnings of the library on the user's terminal unless debugging."""
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
