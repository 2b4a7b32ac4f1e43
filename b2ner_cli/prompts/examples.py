"""Examples and descriptions from files, for prompts that show the one or the other.

    examples       {"text": "Ann left .", "entities": [{"start": 0, "end": 3, "label": "person"}]}
    descriptions   person: a named human being        or {"person": "a named human being"}

Examples are documents with gold, as `b2ner tag` writes them; what a prompt has room for is
`planning`'s to say. Raises InputError naming file and line for what cannot be used.
"""

from __future__ import annotations

from pathlib import Path

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord
from b2ner_cli.core.tasks import Task
from b2ner_cli.errors import InputError
from b2ner_cli.formats import gold
from b2ner_cli.formats import result_json as keys
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.prompts.rendering import Example


def read_examples(path: Path, task: Task = "NER") -> tuple[Example, ...]:
    """Read examples of a task in their order; texts of white space are left out.

    A mention that holds ``;`` cannot stand in an answer and is left out of its example.
    """
    examples: list[Example] = []
    key = keys.key(task)
    field = key if task == "NER" else None
    for found in formats.read([str(path)], format="jsonl", gold_field=field):
        if isinstance(found, BadRecord):
            raise InputError(f"{found.origin}: {found.message}", found.hint)
        if task == "NER" and found.mentions is None:
            raise InputError(
                f"{found.origin}: no {key!r} in this example",
                "an example shows its answer: give [] where there is nothing to find",
            )
        try:
            shown = list(gold.as_task(found, task))
        except RecordError as error:
            raise InputError(f"{found.origin}: {error.message}", error.hint) from None
        for each in shown if found.text.strip() else ():
            said = tuple(m for m in each.mentions or () if ";" not in m.surface)
            event = each.events[0].label if each.events else None
            examples.append(Example(each.text, said, event))
    if not examples:
        raise InputError(f"{path}: no examples in the file", "give JSON lines with text and gold")
    return tuple(examples)
