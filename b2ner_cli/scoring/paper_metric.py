"""The authors' metric: answers in a normal form, as sets of "label: surface" pieces.

Position and repeats do not count, nor do many differences of spelling. Scores agree with those
of the authors' evaluator for the same answers. Knows answers, not files or data sets.
"""

from __future__ import annotations

import re
from functools import lru_cache

Piece = tuple[str, str]  # normalised label and surface


def paper_items(answer: str) -> frozenset[Piece]:
    """Return what the paper's metric sees of an answer: normalised (label, surface) pairs.

    The answer is normalised whole, cut at each ``;``, and each piece normalised again; pieces
    without ``:`` are ignored.
    """
    if answer == "None":
        return _NOTHING
    *parts, last = normalise(answer).split(";")
    pieces = {_piece(last)}
    # Where the pass over the whole answer cleaned a surface of the last piece only, and found no
    # characters that a second pass sees anew, that pass changes no more than surfaces' wrapping.
    settled = ":" in last and not _UNSETTLING.search(answer)
    pieces.update(map(_settled_piece if settled else _piece, parts))
    return frozenset(piece for piece in pieces if piece is not None)


@lru_cache(maxsize=1 << 17)
def _piece(part: str) -> Piece | None:
    label, colon, surface = normalise(part).partition(":")
    return (label, surface) if colon else None


def _settled_piece(part: str) -> Piece | None:
    label, colon, surface = part.rpartition(":")
    if ":" in label:
        return _piece(part)
    return (label, _bare(surface)) if colon else None


_TIGHT = ",:()._;'-"  # no space is kept beside these
_PLAIN = {"；": ";", "：": ":", "，": ",", "‘": "'", "’": "'", "“": '"', "”": '"'}
_UNSETTLING = re.compile(f"[{{}}{''.join(_PLAIN)}]")
_NOTHING: frozenset[Piece] = frozenset()
_SPELLINGS = {"located": "location", "organisation": "organization"}
_WRAPPING = "《》<>（）()"


def normalise(text: str) -> str:
    """Return an answer, or a piece of one, in the paper's normal form; the order of steps counts.

    One pass only: full-width punctuation becomes ASCII after spaces are dropped, so that a
    second pass may change the text again, as it does in the authors' evaluator.
    """
    text = " ".join(text.split())
    if " " in text:
        for mark in _TIGHT:
            if mark in text:
                text = text.replace(" " + mark, mark).replace(mark + " ", mark)
    text = text.lower().replace("{", "").replace("}", "")
    for mark in ",.;":
        while mark * 2 in text:
            text = text.replace(mark * 2, mark)
    if not text.isascii():
        for wide, plain in _PLAIN.items():
            text = text.replace(wide, plain)
    for other, usual in _SPELLINGS.items():
        text = text.replace(other, usual)
    label, colon, surface = text.rpartition(":")
    return f"{label}:{_bare(surface)}" if colon else text


def _bare(surface: str) -> str:
    surface = surface.strip("@#")
    opening = surface.find("《")
    if opening >= 0:
        closing = surface.find("》", opening + 2)  # a title has a character at least
        if closing >= 0:
            surface = surface[opening + 1 : closing]
    if surface and surface[0] in _WRAPPING and surface[-1] in _WRAPPING:
        # Any of these on either side, pairs or not; where there is nothing else, one is left.
        return surface.strip(_WRAPPING) or (surface[-2] if len(surface) > 2 else surface)
    return surface


def split_commas(answer: str) -> str:
    """Write ``a: b, c`` as ``a: b;a: c``, as the authors do for models that answer so.

    Surfaces that hold a comma are cut, and what follows a second colon is lost; as it is there.
    """
    pieces: list[str] = []
    for piece in answer.split(";"):
        if ":" in piece and ("," in piece or "、" in piece):
            label, surfaces = piece.split(":")[:2]
            pieces.extend(f"{label}:{surface}" for surface in re.split("[,、]", surfaces))
        else:
            pieces.append(piece)
    return ";".join(pieces)
