"""The events of documents whose arguments are asked for: read, and refused where they cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.formats import gold
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.tagging.planning import Options


def with_events(
    documents: Iterable[Document | BadRecord], options: Options
) -> Iterator[Document | BadRecord]:
    """Give documents the events they bring; bad records where there are none, or no roles."""
    for item in documents:
        yield item if isinstance(item, BadRecord) else _with_events(item, options)


def _with_events(document: Document, options: Options) -> Document | BadRecord:
    origin, roles = document.origin, options.roles
    try:
        read = gold.with_events(document)
    except RecordError as error:
        hint = "find events first, with --task eet: its output is what this reads"
        return BadRecord(origin, error.message, hint)
    for event in read.events or ():
        if roles and event.label not in roles and document.labels is None:
            message = f"no roles for events of type {event.label!r}"
            return BadRecord(origin, message, "name them in --labels")
        if not event.trigger and options.form.task == "EEA":
            message = f"the event {event.label!r} has no trigger"
            return BadRecord(origin, message, "ask without it: --task neweea")
    return read
