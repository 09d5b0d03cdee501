"""Which worker takes a connection."""

from __future__ import annotations

import pytest

from services.predict.server import accept_balancer
from services.predict.server.accept_balancer import AcceptDelay, ConnectionCounts


def test_the_fewest_connections_are_those_of_who_takes_some() -> None:
    """A worker that takes none now, or has ended, is not waited for; with nobody else there is nothing to wait for."""
    known = ConnectionCounts()
    assert known.least() == 0
    known.publish(1, 5)
    known.publish(2, 3)
    assert known.least() == 3
    known.publish(accept_balancer.WORKERS + 2, 0)  # the number of one that is long gone
    assert known.least() == 0
    known.publish(2, None)
    assert known.least() == 5


def test_who_has_more_than_this_worker_is_not_waited_for() -> None:
    """Nothing changes with what they take or end."""
    known = ConnectionCounts()
    for worker, connections in ((1, 5), (2, 4), (3, 2)):
        known.publish(worker, connections)
    before = known.sum_below(2)
    known.publish(1, 6)
    assert known.sum_below(2) == before
    known.publish(3, 3)
    assert known.sum_below(2) != before


def test_a_connection_is_left_to_others_while_they_take_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody takes is taken, and so are those behind it. After a pause others have a chance again."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    delay = AcceptDelay()
    for below in (5, 6, 7):
        assert delay.wait(below)
        now += accept_balancer.PATIENCE * 0.9
        assert delay.wait(below)
        now += accept_balancer.PATIENCE * 0.9
    assert not delay.wait(7)
    assert not delay.wait(7)
    assert delay.wait(6)
    now += accept_balancer.PATIENCE * 0.9
    assert delay.wait(6)
    now += accept_balancer.PATIENCE * 0.9
    assert not delay.wait(6)
    now += accept_balancer.PATIENCE * 1.1
    assert delay.wait(6)
