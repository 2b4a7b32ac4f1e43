"""Where files lie: the user's directory for answers and models, and what a wrong path meant."""

from __future__ import annotations

import os
import sys
import tempfile
from difflib import get_close_matches
from pathlib import Path


def cache_directory() -> Path:
    """The user's directory for answers and model files; it need not exist yet."""
    if chosen := os.environ.get("B2NER_CACHE_DIR"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "b2ner"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "b2ner"
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "b2ner"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "b2ner"


def similar_path(path: str | Path) -> str:
    """Hint at the file in the same folder that is called most like `path`, or say nothing."""
    folder, name = os.path.split(path)
    try:
        close = get_close_matches(name, os.listdir(folder or "."), n=1)
    except (OSError, ValueError):  # no folder either, or a NUL in its name
        return ""
    return f"did you mean {os.path.join(folder, close[0])}?" if close else ""
