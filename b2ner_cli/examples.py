"""Examples and descriptions from files, for prompts that show the one or the other.

    examples       {"text": "Ann left .", "entities": [{"start": 0, "end": 3, "label": "person"}]}
    descriptions   person: a named human being        or {"person": "a named human being"}

Examples are documents with gold, as `b2ner tag` writes them; what a prompt has room for is
`planning`'s to say. Raises InputError naming file and line for what cannot be used.
"""

from __future__ import annotations

from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.document import BadRecord
from b2ner_cli.errors import InputError
from b2ner_cli.prompts import Example

_GOLD = "entities"


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read examples in their order; texts of white space are left out.

    A mention that holds ``;`` cannot stand in an answer and is left out of its example.
    """
    examples: list[Example] = []
    for found in formats.read([str(path)], format="jsonl", gold_field=_GOLD):
        if isinstance(found, BadRecord):
            raise InputError(f"{found.origin}: {found.message}", found.hint)
        if found.mentions is None:
            raise InputError(
                f"{found.origin}: no {_GOLD!r} in this example",
                "an example shows its answer: give [] where there is nothing to find",
            )
        if found.text.strip():
            said = tuple(mention for mention in found.mentions if ";" not in mention.surface)
            examples.append(Example(found.text, said))
    if not examples:
        raise InputError(f"{path}: no examples in the file", "give JSON lines with text and gold")
    return tuple(examples)
