"""Ids sort by time, are UUIDs, and nobody gets the same twice."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

from services.web import request_ids


def test_ids_are_uuids_of_version_7(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9562: the time in milliseconds comes first; one at a time or several, the form is the same."""
    monkeypatch.setattr("time.time_ns", lambda: 1_645_557_742_000_999_999)  # the moment of the RFC's example
    for own in [request_ids.fresh(), *request_ids.several(3)]:
        assert own.startswith("017f22e279b07")
        found = uuid.UUID(own)
        assert (found.version, found.variant, found.hex) == (7, uuid.RFC_4122, own)


def test_later_ids_sort_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an index is appended to."""
    moment = 1_795_000_000_000_000_000
    made = []
    for step in range(100):
        monkeypatch.setattr("time.time_ns", lambda: moment + step * 1_000_000)  # noqa: B023
        made += [request_ids.fresh() if step % 2 else request_ids.several(1)[0]]
    assert made == sorted(made)


def test_the_last_digits_are_random() -> None:
    """Each of the sixteen stands at each place: a sample is drawn by them."""
    for made in (request_ids.several(2000), [request_ids.fresh() for _ in range(2000)]):
        assert all(len({own[-place] for own in made}) == 16 for place in range(1, request_ids.RANDOM + 1))


def test_nobody_gets_the_same_id() -> None:
    """Not another thread, and not a copy of the process, which has what its parent had drawn."""
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend([request_ids.fresh() for _ in range(1000)] + request_ids.several(1000))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16_000
    request_ids.fresh()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, "".join(request_ids.fresh() for _ in range(50)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    theirs = os.read(read, 10_000).decode()
    os.close(read)
    own = {request_ids.fresh()[-request_ids.RANDOM :] for _ in range(300)}
    assert len(theirs) == 50 * 32
    assert not own & {theirs[i + 32 - request_ids.RANDOM : i + 32] for i in range(0, len(theirs), 32)}
