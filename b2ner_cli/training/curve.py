"""The course of a training run as a picture: loss by step, F1 where it was measured; pure.

left axis    loss, each step thin and its running mean thick
right axis   F1, a dot for each measurement; none of it where there is none
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 800, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 730, 50, 360
_MOST = 1000  # points of a line; a longer one is drawn by the means of pieces
_LOSS, _F1 = "#2563a8", "#c2410c"


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `ticks[0]` to `ticks[-1]`, laid from pixel `begin` to pixel `end`."""

    ticks: Sequence[float]
    begin: float
    end: float

    def place(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def points(lines: Iterable[Mapping[str, object]], key: str) -> list[Point]:
    """(step, value) of the lines of a log that have the key, where both are finite numbers."""
    return [
        (float(step), float(value))
        for line in lines
        if isinstance(step := line.get("step"), int | float)
        and isinstance(value := line.get(key), int | float)
        and math.isfinite(step)
        and math.isfinite(value)
    ]


def draw(loss: Sequence[Point], f1: Sequence[Point] = (), title: str = "") -> str:
    """An SVG document of the curve."""
    steps = [step for step, _ in (*loss, *f1)]
    across = Axis(ticks(0, max(steps, default=1)), _LEFT, _RIGHT)
    up = Axis(ticks(0, max((value for _, value in loss), default=1)), _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 24, title, "start", size=14),
        *_grid(across, up),
        _text((_LEFT + _RIGHT) / 2, _HEIGHT - 18, "step", "middle"),
        _text(_LEFT, _TOP - 12, "loss", "end", _LOSS),
    ]
    if loss:
        shown = _thinned(loss)
        parts.append(_line(shown, across, up, f'id="loss" stroke="{_LOSS}" stroke-opacity="0.35"'))
        mean = _running_mean(shown)
        parts.append(_line(mean, across, up, f'id="mean" stroke="{_LOSS}" stroke-width="2"'))
    if f1:
        right = Axis(ticks(0, max(value for _, value in f1)), _BOTTOM, _TOP)
        parts.append(_text(_RIGHT, _TOP - 12, "F1", "start", _F1))
        parts += [_text(_RIGHT + 8, right.place(t) + 4, f"{t:g}", "start", _F1)
                  for t in right.ticks]  # fmt: skip
        parts.append(_line(f1, across, right, f'id="f1" stroke="{_F1}"'))
        parts += [
            f'<circle cx="{across.place(step):.1f}" cy="{right.place(value):.1f}" r="4" '
            f'fill="{_F1}"><title>step {step:g}: F1 {value:g}</title></circle>'
            for step, value in f1
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """A few round numbers at equal distances, from `low` or less to `high` or more."""
    span = max(high - low, 1e-6)
    unit = 10.0 ** math.floor(math.log10(span / 4))
    unit *= next((times for times in (5, 2) if unit * times <= span / 4), 1)
    first, last = math.floor(low / unit), math.ceil(high / unit)
    return [round(unit * index, 12) for index in range(first, max(last, first + 1) + 1)]


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for value in up.ticks:
        y = up.place(value)
        yield f'<path d="M{_LEFT} {y:.1f}H{_RIGHT}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, y + 4, f"{value:g}", "end", _LOSS)
    for value in across.ticks:
        x = across.place(value)
        yield f'<path d="M{x:.1f} {_BOTTOM}v5" stroke="#333"/>'
        yield _text(x, _BOTTOM + 20, f"{value:g}", "middle")
    yield f'<path d="M{_LEFT} {_BOTTOM}H{_RIGHT}" stroke="#333"/>'


def _text(
    x: float, y: float, words: str, anchor: str, color: str = "#333", *, size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
        f'font-size="{size}">{escape(words)}</text>'
    )


def _line(along: Sequence[Point], across: Axis, up: Axis, style: str) -> str:
    places = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in along)
    return f'<polyline {style} fill="none" points="{places}"/>'


def _thinned(along: Sequence[Point]) -> list[Point]:
    """Means of as many neighbours as it takes to have few enough points."""
    size = -(-len(along) // _MOST)
    pieces = [along[begin : begin + size] for begin in range(0, len(along), size)]
    return [(sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p)) for p in pieces]


def _running_mean(along: Sequence[Point]) -> list[Point]:
    """Each value with those of the twentieth of the line before it."""
    size = max(1, len(along) // 20)
    totals = [0.0]
    for _, value in along:
        totals.append(totals[-1] + value)
    spans = [(max(0, end - size), end) for end in range(1, len(along) + 1)]
    means = [(totals[end] - totals[begin]) / (end - begin) for begin, end in spans]
    return [(x, mean) for (x, _), mean in zip(along, means, strict=True)]
