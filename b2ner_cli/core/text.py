"""Text that UTF-8 can hold. Knows nothing of documents."""

from __future__ import annotations

import re

SURROGATE = re.compile("[\ud800-\udfff]")


def no_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold, one for one: offsets stay right."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)
