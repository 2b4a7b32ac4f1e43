"""Where the user's own files lie: the one directory for answers and copies of models."""

from __future__ import annotations

import os
import sys
import tempfile
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
