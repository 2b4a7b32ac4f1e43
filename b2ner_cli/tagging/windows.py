"""Cut documents into windows, each of which is answered as a whole.

By number and length of the documents alone, so that a run that resumes finds the windows of the
run that was cut. A live stream may pause: what has arrived by then is a window, too.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator

from b2ner_cli.core.document import BadRecord, Document

_FIRST, _SMALLEST, _LARGEST = 32, 256, 32_768  # documents a window: the first, then no less, most
_TYPICAL = 24  # tokens of a batch to a document of the window, so that it holds several batches
_ROOM = 2000  # characters a window has for each document: it is cut before one that is too long
_PAUSE = 1.0  # seconds without a document after which a live window is answered as it is
_PATIENCE = 5.0  # the longest a live window is waited for, however steadily it fills

Item = Document | BadRecord


def windows(
    documents: Iterable[Item], batch_tokens: int, live: bool = False
) -> Iterator[list[Item]]:
    """Cut documents into windows, which hold so many at most and `_ROOM` characters for each.

    A document too long for that begins a window, so that none before it waits for its answers.
    `live` documents are read ahead by a thread; what goes wrong in reading is raised after what
    was read.
    """
    items = _arriving(documents) if live else iter(documents)
    first: Item | None = None
    for size in sizes(batch_tokens):
        first = first or next((item for item in items if item is not None), None)
        if first is None:
            return
        window, first = _window(first, items, size)
        yield window


def sizes(batch_tokens: int) -> Iterator[int]:
    """Documents in each window: few at first, for an early first result, then several batches."""
    most = max(_SMALLEST, min(batch_tokens // _TYPICAL, _LARGEST))
    size = _FIRST
    while True:
        yield min(size, most)
        size *= 2


def _window(first: Item, items: Iterator[Item | None], size: int) -> tuple[list[Item], Item | None]:
    """A window that begins with `first`, and the item after it if that was too long for it."""
    window = [first]
    room = size * _ROOM - _length(first)
    while len(window) < size:
        item = next(items, None)
        if item is None:  # the end, or a pause
            break
        length = _length(item)
        if length > room:
            return window, item
        window.append(item)
        room -= length
    return window, None


def _length(item: Item) -> int:
    return len(item.text) if isinstance(item, Document) else 0


def _arriving(documents: Iterable[Item]) -> Iterator[Item | None]:
    """The documents of a stream as they come; None where it pauses, or has come for long enough."""
    arrived: queue.Queue[Item | BaseException | None] = queue.Queue(_SMALLEST)

    def read() -> None:
        try:
            for document in documents:
                arrived.put(document)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=read, name="reader", daemon=True).start()
    while True:
        item = arrived.get()
        limit = time.monotonic() + _PATIENCE
        while isinstance(item, (Document, BadRecord)):
            yield item
            try:
                item = arrived.get(timeout=max(0.0, min(_PAUSE, limit - time.monotonic())))
            except queue.Empty:
                break
        yield None
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return
