"""The languages there are prompts in, and which of them a text is asked in."""

from __future__ import annotations

import re
from typing import Literal, get_args

from b2ner_cli.errors import UsageError

Language = Literal["en", "zh", "de", "nl", "es"]


LANGUAGES: tuple[Language, ...] = get_args(Language)


_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0010ffff]+")


def detect_language(text: str) -> Language:
    """zh where Han characters are at least a third of the letters, else en."""
    rest = _HAN.sub("", text)
    han = len(text) - len(rest)
    # Which of the rest are letters matters only where it comes down to them.
    if not han or han * 3 >= len(text):
        return "zh" if han else "en"
    return "zh" if han * 3 >= han + sum(map(str.isalpha, rest)) else "en"


def as_language(name: str) -> Language:
    """Check a language code against the templates there are."""
    for language in LANGUAGES:
        if language == name:
            return language
    raise UsageError(f"no template for language {name!r}", f"choose from {' '.join(LANGUAGES)}")
