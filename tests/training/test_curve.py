"""The picture of a run is well-formed, and its points are where the numbers say."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.training import curve

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


def elements(svg, tag):
    return ET.fromstring(svg).findall(f"{{http://www.w3.org/2000/svg}}{tag}")


def places(svg, name):
    (line,) = (each for each in elements(svg, "polyline") if each.get("id") == name)
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def polyline(svg, name):
    """How many points a line has."""
    return len(places(svg, name))


def texts(svg):
    return [each.text for each in elements(svg, "text")]


def test_points_are_where_the_axes_say():
    svg = curve.draw([(0, 2.0), (50, 1.0), (100, 0.0)], [(50, 0.25), (100, 0.5)], "a run")
    assert places(svg, "loss") == [(70.0, 50.0), (400.0, 205.0), (730.0, 360.0)]
    assert places(svg, "mean") == places(svg, "loss")  # of three points
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in elements(svg, "circle")]
    assert dots == places(svg, "f1") == [(400.0, 205.0), (730.0, 50.0)]
    said = texts(svg)
    for words in ("a run", "step", "loss", "F1", "0", "100", "2", "0.5"):
        assert words in said
    (dot, _) = elements(svg, "circle")
    assert dot[0].text == "step 50: F1 0.25"


def test_without_f1_there_is_no_axis_of_it():
    svg = curve.draw([(1, 3.0), (2, 2.0)])
    assert "F1" not in texts(svg)
    assert [each.get("id") for each in elements(svg, "polyline")] == ["loss", "mean"]


def test_a_title_is_text():
    assert '<b> & "c"' in texts(curve.draw([(1, 1.0)], title='<b> & "c"'))


@pytest.mark.parametrize("count", [0, 1, 2, 500, 1000, 1001, 54321])
def test_long_runs_are_thinned(count):
    loss = [(step, 4.0 if step % 2 else 2.0) for step in range(1, count + 1)]
    svg = curve.draw(loss)
    if not count:
        assert elements(svg, "polyline") == []
        return
    drawn = places(svg, "loss")
    assert len(drawn) == (count if count <= 1000 else -(-count // -(-count // 1000)))
    assert len(drawn) <= 1000
    assert all(one <= other for one, other in pairwise(x for x, _ in drawn))
    assert polyline(svg, "mean") == len(drawn)


def test_the_running_mean_is_smoother():
    loss = [(step, 4.0 if step % 2 else 2.0) for step in range(400)]
    heights = [y for _, y in places(curve.draw(loss), "mean")][20:]
    expected = curve.Axis(curve.ticks(0, 4), 360, 50).place(3.0)
    assert heights == pytest.approx([expected] * len(heights), abs=0.1)


@given(NUMBERS, NUMBERS)
def test_ticks_are_few_round_and_around(one, other):
    low, high = sorted((one, other))
    found = curve.ticks(low, high)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    assert 2 <= len(found) <= 12
    assert found[0] <= low + slack
    assert found[-1] >= high - slack


@given(st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 1e9)), max_size=30), st.text())
def test_always_well_formed_and_inside(loss, title):
    svg = curve.draw(loss, loss, "".join(c for c in title if c.isprintable()))
    for name in ("loss", "mean", "f1") if loss else ():
        assert all(69.9 <= x <= 730.1 and 49.9 <= y <= 360.1 for x, y in places(svg, name))
    ET.fromstring(svg)


def test_points_of_a_log():
    lines = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": float("nan")},
        {"step": 2, "f1": 0.5},
        {"step": "3", "loss": 1.0},
        {"loss": 1.0},
        {"step": 4, "loss": 1},
    ]
    assert curve.points(lines, "loss") == [(1.0, 2.0), (4.0, 1.0)]
    assert curve.points(lines, "f1") == [(2.0, 0.5)]
