"""How the pages write numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predict.pages import formatting

positive = st.floats(1e-12, 1e12)


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        (0, "0.00 %"),
        (0.00001, "< 0.01 %"),
        (0.0154, "1.54 %"),
        (0.123456, "12.3 %"),
        (0.9997, "99.97 %"),
        (0.999999, "> 99.99 %"),
        (1, "100.00 %"),
    ],
)
def test_a_probability_is_never_rounded_to_certainty(probability: float, written: str) -> None:
    """About three significant digits, the sign of percent kept with them."""
    assert formatting.percent(probability).replace(formatting.THIN, " ") == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(12000.0, "12,000"), (0.0671, "0.0671"), (-3.0, "−3"), (2300.7, "2,301"), (1e21, "1.000e+21"), (0.1 + 0.2, "0.3")],
)
def test_a_number_to_read(value: float, written: str) -> None:
    """Thousands are grouped, whole numbers are whole."""
    assert formatting.number(value) == written


@given(st.floats(-1e12, 1e12), positive, st.integers(2, 8))
def test_ticks_are_few_and_inside(low: float, width: float, most: int) -> None:
    """In order, within the axis, and no more than wanted, whatever the axis."""
    high = low + width
    found = formatting.ticks(low, high, most)
    assert len(found) <= most
    assert found == sorted(found)
    slack = 1e-9 * max(abs(low), abs(high), 1)
    assert all(low - slack <= tick <= high + slack for tick in found)


@given(st.floats(1e-9, 1))
def test_an_axis_has_room_for_its_curve(highest: float) -> None:
    """But never goes beyond certainty, nor far beyond the curve."""
    top = formatting.nice_top(highest)
    assert highest <= top <= min(1, highest * 1.7)


@given(positive)
def test_a_step_is_round(size: float) -> None:
    """One, two or five, times a power of ten; at most what was asked for and more than a third of it."""
    step = formatting.nice(size)
    assert f"{step:.0e}"[0] in "125"
    assert size / 2.6 < step <= size * 1.000001
