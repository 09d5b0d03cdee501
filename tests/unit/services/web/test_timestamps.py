"""The one way in which services write a time."""

from __future__ import annotations

from services.web.timestamps import iso


def test_a_time_is_iso_8601_in_utc() -> None:
    """With as many digits as are asked for, always the same number; an unknown time stays unknown."""
    assert iso(1_795_000_000.25) == "2026-11-18T11:06:40.250+00:00"
    assert iso(1_795_000_000.0, "microseconds") == "2026-11-18T11:06:40.000000+00:00"
    assert iso(1_795_000_000.9, "seconds") == "2026-11-18T11:06:40+00:00"
    assert iso(None) is None
