"""Times as text: one way to write them, which sorts, and one to read them."""

from __future__ import annotations

from services.web.timestamps import iso, now, parse


def test_times_are_written_in_utc_and_sort_as_text() -> None:
    """Each precision has the same number of digits, also for a whole second; an unknown time stays unknown."""
    assert iso(1.5) == "1970-01-01T00:00:01.500000+00:00"
    assert iso(1_795_000_000.25, "milliseconds") == "2026-11-18T11:06:40.250+00:00"
    assert iso(1.5, "seconds") == "1970-01-01T00:00:01+00:00"
    assert iso(1.999999) < iso(2) < now()
    assert len(iso(2)) == len(now())
    assert iso(None) is None


def test_times_are_read_as_whole_seconds() -> None:
    """A text without a time zone is in UTC, as the minutes that the log is counted by."""
    assert parse("1970-01-01T01:00:01.500000+01:00") == 1
    assert parse("1970-01-01T00:02") == 120
    assert parse(iso(1_795_000_000.25)) == 1_795_000_000
