"""Text that UTF-8 can hold, and numbers in words. Knows nothing of documents."""

from __future__ import annotations

import re

SURROGATE = re.compile("[\ud800-\udfff]")


def no_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold, one for one: offsets stay right."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def counted(number: int, noun: str) -> str:
    """A number with its noun, which comes in the singular: 1 document, 2,000 entities."""
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("ty") else f"{noun}s"
    return f"{number:,} {noun}"
