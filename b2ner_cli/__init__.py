"""Tag documents in bulk with open-label named entities, with exact character offsets.

The command line is `b2ner`; from Python, `Tagger` is all it takes; `Settings` and `Options`
say how a model answers and what is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from b2ner_cli.core.document import Document, Entity, Mention, Result
    from b2ner_cli.errors import B2nerError
    from b2ner_cli.labels.label_set import LabelSet
    from b2ner_cli.scoring.agreement import agreement
    from b2ner_cli.tagging.loop import Options
    from b2ner_cli.tagging.settings import Settings
    from b2ner_cli.tagging.tagger import Tagger

__all__ = [
    "B2nerError",
    "Document",
    "Entity",
    "LabelSet",
    "Mention",
    "Options",
    "Result",
    "Settings",
    "Tagger",
    "agreement",
]
__version__ = "0.1.0"

_HOMES = {
    "B2nerError": "errors",
    "Document": "core.document",
    "Entity": "core.document",
    "LabelSet": "labels.label_set",
    "Mention": "core.document",
    "Options": "tagging.planning",
    "Result": "core.document",
    "Settings": "tagging.settings",
    "Tagger": "tagging.tagger",
    "agreement": "scoring.agreement",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: `import b2ner_cli` must not cost the seconds that torch takes.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"b2ner_cli.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'b2ner_cli' has no attribute {name!r}")
