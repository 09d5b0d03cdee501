"""Which texts are an instant."""

from __future__ import annotations

import pytest

from modelbundle import instant
from modelbundle.instant import InstantError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-30T06:00:00Z", 1796018400.0),
        ("2026-11-30T06:00:00+00:00", 1796018400.0),
        ("2026-11-30T06:00:00.25Z", 1796018400.25),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_a_time_in_utc_is_one(text: object, seconds: float) -> None:
    """Nothing is 0: at once."""
    assert instant.parse(text) == seconds
    assert not seconds or instant.parse(instant.text(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("tomorrow", "2026-11-30", "2026-11-30T06:00:00", "2026-11-30T06:00:00+01:00", "2026-11-30 06:00:00Z"),
        *("2026-13-30T06:00:00Z", "2026-11-31T06:00:00Z", "2026-11-30T06:00:00.1234567Z", "2026-11-30T06:00:00Z\n"),
        *("٢٠٢٦-11-30T06:00:00Z", 1796018400, True, [], {}, "0026-11-30T06:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_nothing_else_is(text: object) -> None:
    """Another zone, a day that is none, digits of another script, a number, a year that is mistyped."""
    with pytest.raises(InstantError, match=r"RFC 3339|far in the past"):
        instant.parse(text)


def test_an_instant_is_at_most_seven_days_ahead() -> None:
    """What has passed is not far ahead."""
    instant.bound(7 * 86400.0, 0.0)
    instant.bound(0.0, 1e9)
    for far in (7 * 86400.0 + 1, float("inf"), float("nan")):
        with pytest.raises(InstantError, match="more than 7 days ahead"):
            instant.bound(far, 0.0)
