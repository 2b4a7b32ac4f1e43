"""From an answer to mentions: the inverse of rendering.

Tolerant of full-width punctuation, missing spaces, `None` and a cut-off tail; what it cannot
read is a problem of the document, never an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from b2ner_cli.core.document import Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.labels.label_set import fold
from b2ner_cli.prompts import rendering
from b2ner_cli.prompts.confidence import Confidence, Place, likelihood

_NOTHING = re.compile(r"(none|无|没有|keine?|geen|ninguna?)[^\w:：]*", re.IGNORECASE)


def parse(
    completion: Completion,
    labels: Sequence[str],
    text: str,
    confidence: Confidence = likelihood,
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
    said: list[tuple[str, str, Place]] = []
    end = -1
    for piece in pieces:
        start = end + 1
        end = start + len(piece)
        before, colon, _ = piece.partition(":")
        name = before.strip()
        label = known.get(name) or known.get(fold(name)) if colon else None
        if label is not None:
            at = start + len(before) + 1
            said.append((label, answer[at:end].strip(), Place(start, at, end)))
        elif not piece.strip():
            continue  # two separators in a row, or one at the end
        elif said and (joined := answer[said[-1][2].surface : end].strip()) in text:
            said[-1] = (said[-1][0], joined, said[-1][2]._replace(end=end))
        elif colon:
            problems.append(_unknown(name))
        else:
            problems.append(f"answer piece without a label: {piece.strip()[:80]!r}")
    counts = Counter(label for label, *_ in said)
    mentions = [
        Mention(label, surface, confidence(completion, place._replace(others=counts[label] - 1)))
        for label, surface, place in said
        if surface
    ]
    problems += [f"label {label!r} without an entity" for label, surface, _ in said if not surface]
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
    sure = likelihood(completion, Place(0, 0, len(completion.text)))
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
