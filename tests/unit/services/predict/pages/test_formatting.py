"""How the pages write numbers."""

from __future__ import annotations

import pytest

from services.predict.pages import formatting


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
