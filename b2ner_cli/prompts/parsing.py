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

from b2ner_cli.core.document import Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.labels.label_set import fold
from b2ner_cli.prompts import rendering

_NOTHING = re.compile(r"(none|无|没有|keine?|geen|ninguna?)[^\w:：]*", re.IGNORECASE)


def parse(
    completion: Completion, labels: Sequence[str], text: str
) -> tuple[list[Mention], list[str]]:
    """Read the mentions of an answer about `text`, and the problems met in reading it.

    Full-width punctuation, missing spaces, letter case of labels and a cut-off tail are
    tolerated. A piece without a label continues the piece before it where the two joined stand
    in the text (a surface that holds ``;``); otherwise it is a problem, as is an unknown label.
    """
    answer = completion.text
    if ":" not in answer and _NOTHING.fullmatch(answer.strip()):
        return [], []
    known = _known(tuple(labels))
    pieces, problems = _pieces(completion)
    mentions: list[Mention] = []
    label_at = surface_at = end = -1  # of the last mention's: where its label and surface begin
    for piece in pieces:
        start = end + 1
        end = start + len(piece)
        before, colon, _ = piece.partition(":")
        name = before.strip()
        label = known.get(name) or known.get(fold(name)) if colon else None
        if label is not None:
            label_at, surface_at = start, start + len(before) + 1
            surface = answer[surface_at:end].strip()
            mentions.append(Mention(label, surface, score(completion, start, end)))
        elif not piece.strip():
            continue  # two separators in a row, or one at the end
        elif mentions and (joined := answer[surface_at:end].strip()) in text:
            sure = score(completion, label_at, end)
            mentions[-1] = mentions[-1]._replace(surface=joined, score=sure)
        elif colon:
            problems.append(_unknown(name))
        else:
            problems.append(f"answer piece without a label: {piece.strip()[:80]!r}")
    if not all([mention.surface for mention in mentions]):
        problems += [f"label {m.label!r} without an entity" for m in mentions if not m.surface]
        mentions = [mention for mention in mentions if mention.surface]
    return mentions, problems


def parse_labels(completion: Completion, labels: Sequence[str]) -> tuple[list[Mention], list[str]]:
    """Read an answer that is labels alone: mentions without a surface, each label once.

    A part behind a colon does not count.
    """
    answer = completion.text.strip()
    if not answer or answer.casefold() == rendering.NONE.strip().casefold():
        return [], []
    known = _known(tuple(labels))
    pieces, problems = _pieces(completion)
    sure = score(completion, 0, len(completion.text))
    mentions: dict[str, Mention] = {}
    for piece in pieces:
        name = piece.partition(":")[0].strip()
        if label := known.get(name) or known.get(fold(name)):
            mentions[label] = Mention(label, "", sure)
        elif name:
            problems.append(_unknown(name))
    return list(mentions.values()), problems


def labels_said(answer: str) -> list[str]:
    """What an answer has before its colons, whether it was asked for or not."""
    pieces = re.split("[;；]", answer)
    parts = (re.split("[:：]", piece, maxsplit=1) for piece in pieces)
    return [name for part in parts if len(part) == 2 and (name := part[0].strip())]


def score(completion: Completion, start: int, end: int) -> float | None:
    """Geometric mean probability of the answer tokens that spell characters [start, end)."""
    ends = completion.ends
    spelling = completion.logprobs[bisect_right(ends, start) : bisect_left(ends, end) + 1]
    if not spelling:
        return None
    mean = sum(spelling) / len(spelling)
    return math.exp(mean) if mean < 0 else 1.0


def _pieces(completion: Completion) -> tuple[list[str], list[str]]:
    """What lies between the separators of an answer, and the problem of a cut-off tail.

    Full-width separators are written as their twins, one for one: offsets are the answer's.
    """
    answer = completion.text
    if not answer.isascii():
        answer = answer.replace("；", ";").replace("：", ":")
    pieces = answer.split(";")
    if completion.stop != "length":
        return pieces, []
    # The surface of the last may be half a word.
    return pieces[:-1], [f"answer cut off after {len(completion.ends)} tokens"]


def _unknown(name: str) -> str:
    return f"label not in the label set: {name[:80]!r}"


@lru_cache(maxsize=256)
def _known(labels: tuple[str, ...]) -> Mapping[str, str]:
    """The labels by what an answer may call them."""
    # A label as it stands in the set comes before one that differs in case or spaces.
    return {fold(name): name for name in labels} | {name: name for name in labels}
