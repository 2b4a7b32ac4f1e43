"""Other names for labels, as the package brings them along. Knows nothing of models."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources

from b2ner_cli.core.language import Language

_NAMES = "label_names.json"


@functools.cache
def other_names(language: Language) -> Mapping[str, tuple[str, ...]]:
    """Other names of the labels of the open data sets, in one language."""
    text = resources.files("b2ner_cli.labels").joinpath(_NAMES).read_text(encoding="utf-8")
    table = json.loads(text).get(language, {})
    return {label: tuple(names) for label, names in table.items()}
