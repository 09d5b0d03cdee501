"""The axes of charts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.predict.pages.charts import axis

positive = st.floats(1e-12, 1e12)


@given(st.floats(-1e12, 1e12), positive, st.integers(2, 8))
def test_ticks_are_few_and_inside(low: float, width: float, most: int) -> None:
    """In order, within the axis, and no more than wanted, whatever the axis."""
    high = low + width
    found = axis.ticks(low, high, most)
    assert len(found) <= most
    assert found == sorted(found)
    slack = 1e-9 * max(abs(low), abs(high), 1)
    assert all(low - slack <= tick <= high + slack for tick in found)


@given(st.floats(1e-9, 1))
def test_an_axis_has_room_for_its_curve(highest: float) -> None:
    """But never goes beyond certainty, nor far beyond the curve."""
    top = axis.top(highest)
    assert highest <= top <= min(1, highest * 1.7)


@given(positive)
def test_a_step_is_round(size: float) -> None:
    """One, two or five, times a power of ten; at most what was asked for and more than a third of it."""
    step = axis.nice(size)
    assert f"{step:.0e}"[0] in "125"
    assert size / 2.6 < step <= size * 1.000001


@given(st.floats(-1e6, 1e6), st.floats(1, 1e6))
def test_only_whole_values_have_ticks_where_only_those_occur(low: float, width: float) -> None:
    """An axis of whole numbers that is one wide or more has a tick for at least one of them."""
    found = axis.ticks(low, low + width, whole=True)
    assert found
    assert all(tick == int(tick) for tick in found)
