"""From an answer to mentions: the inverse of rendering.

Tolerant of full-width punctuation, missing spaces, `None` and a cut-off tail; what it cannot
read is a problem of the document, never an error.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache

from b2ner_cli.core.document import Event, Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.labels.label_set import fold
from b2ner_cli.prompts import rendering

_NOTHING = re.compile(r"(none|无|没有|keine?|geen|ninguna?)[^\w:：]*", re.IGNORECASE)


def labels_said(answered: str) -> list[str]:
    """What an answer has before its colons, whether it was asked for or not."""
    pieces = re.split("[;；]", answered)
    parts = (re.split("[:：]", piece, maxsplit=1) for piece in pieces)
    return [name for part in parts if len(part) == 2 and (name := part[0].strip())]


def parse(
    completion: Completion, labels: Sequence[str], text: str
) -> tuple[list[Mention], list[str]]:
    """Read the mentions of an answer about `text`, and the problems met in reading it.

    Full-width punctuation, missing spaces, letter case of labels and a cut-off tail are
    tolerated. A piece without a label continues the piece before it where the two joined stand
    in the text (a surface that holds ``;``); otherwise it is a problem, as is an unknown label.
    """
    answered = completion.text
    if ":" not in answered and _NOTHING.fullmatch(answered.strip()):
        return [], []
    known = _known(tuple(labels))
    ends, logprobs = completion.ends, completion.logprobs
    mentions: list[Mention] = []
    problems: list[str] = []
    # Offsets hold in both: what is read off the one is cut out of the other.
    plain = answered if answered.isascii() else answered.replace("；", ";").replace("：", ":")
    pieces = plain.split(";")
    if completion.stop == "length":
        pieces.pop()  # its surface may be half a word
        problems.append(f"answer cut off after {len(ends)} tokens")
    end = -1
    opened = ""  # the last mention: its label, where that and where its surface begins
    opening = surface_start = 0
    for piece in pieces:
        start, end = end + 1, end + 1 + len(piece)
        before, colon, _ = piece.partition(":")
        named = before.strip()
        label = known.get(named) or known.get(fold(named)) if colon else None
        if label is not None:
            opened, opening, surface_start = label, start, start + len(before) + 1
            surface = answered[surface_start:end].strip()
            mentions.append(Mention(label, surface, _score(ends, logprobs, start, end)))
        elif not piece.strip():
            continue  # two separators in a row, or one at the end
        elif mentions and (surface := answered[surface_start:end].strip()) in text:
            mentions[-1] = Mention(opened, surface, _score(ends, logprobs, opening, end))
        else:
            said = named if colon else answered[start:end].strip()
            what = "label not in the label set" if colon else "answer piece without a label"
            problems.append(f"{what}: {said[:80]!r}")
    if not all([mention.surface for mention in mentions]):
        problems += [f"label {m.label!r} without an entity" for m in mentions if not m.surface]
        mentions = [mention for mention in mentions if mention.surface]
    return mentions, problems


@lru_cache(maxsize=256)
def _known(labels: tuple[str, ...]) -> Mapping[str, str]:
    """The labels by what an answer may call them."""
    # A label as it stands in the set comes before one that differs in case or spaces.
    return {fold(name): name for name in labels} | {name: name for name in labels}


def score(completion: Completion, start: int, end: int) -> float | None:
    """Geometric mean probability of the tokens that spell a part of an answer."""
    return _score(completion.ends, completion.logprobs, start, end)


def _score(ends: Sequence[int], logprobs: Sequence[float], start: int, end: int) -> float | None:
    """Geometric mean probability of the answer tokens that spell characters [start, end)."""
    spelling = logprobs[bisect_right(ends, start) : bisect_left(ends, end) + 1]
    if not spelling:
        return None
    mean = sum(spelling) / len(spelling)
    return math.exp(mean) if mean < 0 else 1.0


_SEPARATOR = re.compile("[;；]")


def parse_labels(completion: Completion, labels: Sequence[str]) -> tuple[list[Event], list[str]]:
    """Read an answer that is labels alone; a part behind a colon does not count."""
    said = completion.text.strip()
    if not said or said.casefold() == rendering.NONE.strip().casefold():
        return [], []
    known = {name.casefold(): name for name in labels}
    said_with = score(completion, 0, len(completion.text))
    events: dict[str, Event] = {}
    problems: list[str] = []
    pieces = _SEPARATOR.split(said)
    if completion.stop == "length":
        pieces.pop()
        problems.append(f"answer cut off after {len(completion.ends)} tokens")
    for piece in pieces:
        name = re.split("[:：]", piece, maxsplit=1)[0].strip()
        if label := known.get(name.casefold()):
            events[label] = Event(label, score=said_with)
        elif name:
            problems.append(f"label not in the label set: {name[:80]!r}")
    return list(events.values()), problems
