"""What the comparison of servers counts as an answer, as a failure and as a ratio."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import closed_loop
from benchmarks.load.closed_loop import Round
from benchmarks.servers import report, slow_clients
from benchmarks.servers.running import OURS
from benchmarks.servers.slow_clients import Healthy
from benchmarks.servers.stopping import Asking, Stop

REQUEST = closed_loop.post(b"{}")
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LAST = KEPT.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")


@contextmanager
def serving(answers: Callable[[int], bytes | None]) -> Iterator[int]:
    """A port where request number n, from 0, is answered with ``answers(n)``; after None nobody listens any more.

    A connection ends after an answer that says so, and after one that is cut short.
    """
    number = 0

    def serve() -> None:
        nonlocal number
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                answer: bytes | None = KEPT
                while answer == KEPT and client.recv(1 << 16):
                    answer = answers(number)
                    number += 1
                    if answer is None:
                        listener.close()
                    else:
                        client.sendall(answer)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        if listener.fileno() >= 0:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        thread.join()


def outcome(answers: Callable[[int], bytes | None]) -> Asking:
    """What one client counts until nobody listens any more."""
    with serving(answers) as port:
        asking = Asking(port, REQUEST, threads=1)
        asking.__enter__()
        for thread in asking._running:
            thread.join()
    return asking


def test_a_request_without_an_answer_has_failed() -> None:
    """So has one whose answer is cut; one that nobody accepts has not: a proxy asks another replica."""
    asking = outcome([KEPT, LAST, KEPT[:-1], KEPT, None].__getitem__)
    assert asking.answered == 3
    assert [failure.split(" came")[0] for failure in asking.failed] == ["a part", "nothing"]


def test_a_refusal_has_failed() -> None:
    """An answer that is not 200 is no answer to the prediction."""
    asking = outcome([LAST.replace(b"200", b"503"), LAST, None].__getitem__)
    assert asking.failed[0] == "status 503"
    assert asking.answered == 1


def test_a_server_that_ends_connections_is_measured_with_new_ones() -> None:
    """Only where that is asked for: for ours an end would be a fault."""
    with serving(lambda _: LAST) as port:
        assert closed_loop.run(port, REQUEST, 0.05, 1, reopen=True).failed == 0
    with serving(lambda _: LAST) as port, pytest.raises(ConnectionError):
        closed_loop.run(port, REQUEST, 5, 1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine is too slow for this test."""
    monkeypatch.setattr(slow_clients, "IN_TIME", 60.0)


@pytest.mark.usefixtures("patient")
def test_only_a_whole_200_in_time_is_healthy() -> None:
    """One of four is: others are cut, refused, or never come. Nor is one that came too late."""
    answers = [LAST, LAST[:-1], LAST.replace(b"200", b"503"), b""]
    with serving(lambda number: answers[number]) as port:
        took = [slow_clients.ask_once(port, REQUEST, time.monotonic()) for _ in answers]
    assert [seconds is not None for seconds in took] == [True, False, False, False]
    with serving(lambda _: LAST) as port:
        assert slow_clients.ask_once(port, REQUEST, time.monotonic() - 61) is None


def test_slow_clients_send_what_they_should_and_end() -> None:
    """Each sends its kind, none reads, and all are gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with slow_clients.slow(listener.getsockname()[1], "GET /", 3):
            accepted = [listener.accept()[0] for _ in range(3)]
            assert [client.recv(100) for client in accepted] == [b"GET /"] * 3
        for client in accepted:
            with client:
                assert client.recv(1) == b""


def test_the_p99_counts_what_was_not_answered() -> None:
    """A server that answers only the quick half has no p99."""
    seconds = [n / 100 for n in range(100)]
    assert Healthy(100, seconds, 1.0).p99 == 0.98
    assert Healthy(100, seconds[:99], 1.0).p99 == 0.98
    assert Healthy(100, seconds[:98], 1.0).p99 is None
    assert Healthy(100, seconds[:50], 1.0).share == 0.5


def found(rate: float, megabytes: float, failed: list[str], seconds: float | None) -> report.Found:
    """One server's, in three rounds that become faster."""
    rounds = [Round(rate * factor, [0.001 / factor], 0) for factor in (1, 2, 4)]
    healthy = Healthy(2, [0.1, 0.2], megabytes)
    stop = Stop(10, failed, seconds)
    processor = {1: [1 / rate] * 3, 1000: [1 / rate] * 3}
    return report.Found({1: rounds, 1000: rounds}, processor, megabytes, {"a kind": healthy}, healthy, [stop, stop])


def test_the_tables_have_ratios_to_ours() -> None:
    """Of the same turn, so that a machine which becomes faster changes none."""
    speed, slow, stops = report.tables({OURS: found(100, 50, [], 0.5), "granian": found(150, 75, ["cut"], None)})
    assert "| ours | 200 (1.00 ×) |" in speed
    assert "| granian | 300 (1.50 ×) |" in speed
    assert "75 (1.50 ×) |" in speed
    assert "| granian | 100%, 100 ms (75 MB) |" in slow
    assert "| ours | 100%, 100 ms | 0 + 0 (20 answered) | 0.5, 0.5 |" in stops
    assert "1 + 1 (20 answered) | killed, killed |" in stops


@pytest.mark.usefixtures("patient")
def test_a_pressure_is_on_while_healthy_requests_are_asked() -> None:
    """All are asked after it is entered and answered before it is left."""
    seen = []

    @contextmanager
    def pressure() -> Iterator[None]:
        seen.append("entered")
        yield
        seen.append("left")

    def answer(_: int) -> bytes:
        seen.append("asked")
        return LAST

    with serving(answer) as port:
        healthy = slow_clients.measure(port, os.getpid(), REQUEST, 0.05, pressure())
    assert (healthy.asked, healthy.share, seen) == (2, 1.0, ["entered", "asked", "asked", "left"])
