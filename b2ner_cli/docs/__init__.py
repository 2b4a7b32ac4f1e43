"""The documentation that comes along: its pages, found by topic and searched by words.

A page is TOPIC.md beside this file. It begins with `# Title`, and its first paragraph is one
sentence that sums it up. Knows nothing of terminals.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

from b2ner_cli.errors import UsageError

# In the order in which a newcomer reads them.
TOPICS = (
    "tagging", "labels", "formats", "models", "scale", "other-tasks", "training", "evaluation",
    "datasets", "benchmarks", "architecture", "contributing",
)  # fmt: skip
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Page:
    """One page, as Markdown."""

    topic: str
    text: str

    @property
    def title(self) -> str:
        """What its first line says."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def summary(self) -> str:
        """Its first paragraph, in one line and without links."""
        paragraph = self.text.split("\n\n")[1]
        return _LINK.sub(r"\1", " ".join(paragraph.split()))


class Hit(NamedTuple):
    """A line of a page that holds what was looked for, and the heading that it stands under."""

    topic: str
    heading: str
    line: str


def pages() -> list[Page]:
    """All pages, in reading order."""
    files = {file.name.removesuffix(".md"): file for file in resources.files(__name__).iterdir()
             if file.name.endswith(".md")}  # fmt: skip
    places = {topic: place for place, topic in enumerate(TOPICS)}
    order = sorted(files, key=lambda topic: (places.get(topic, len(places)), topic))
    return [Page(topic, files[topic].read_text("utf-8")) for topic in order]


def page(topic: str) -> Page:
    """The page of a topic, whatever its case. Raises UsageError that names topics like it."""
    known = {each.topic: each for each in pages()}
    wanted = topic.lower().removesuffix(".md")
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"topics: {', '.join(known)}"
        raise UsageError(f"no topic {topic!r}", f"{hint} b2ner docs --search looks in all of them")
    return known[wanted]


def search(words: str, found: Iterable[Page]) -> Iterator[Hit]:
    """Yield the lines of pages that hold all of some words, whatever their case."""
    wanted = words.casefold().split()
    for each in found:
        heading, in_block = each.title, False
        for line in each.text.splitlines():
            if line.startswith("```"):
                in_block = not in_block
                continue
            if not in_block and line.startswith("#"):
                heading = line = line.lstrip("# ")
            if all(word in line.casefold() for word in wanted) and not line.startswith("<!--"):
                yield Hit(each.topic, heading, line.strip())
