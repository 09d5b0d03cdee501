"""What a worker does with connections and answers besides what gunicorn does."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from services.predict.server import accept_balancer
from services.predict.server.accept_balancer import AcceptDelay, ConnectionCounts
from services.predict.server.worker_class import LARGE, BufferedSocket

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Counting:
    """A socket that notes what it is told to send."""

    def __init__(self, own: socket.socket) -> None:
        self.own = own
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Note it, and send it."""
        self.sent.append(data)
        self.own.sendall(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self.own, name)


@pytest.fixture
def pair() -> Iterator[tuple[Counting, socket.socket]]:
    """A socket to answer on, and its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Counting(ours), theirs


def test_head_and_body_leave_together(pair: tuple[Counting, socket.socket]) -> None:
    """What follows them leaves at once, and all of it in order."""
    ours, theirs = pair
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    assert ours.sent == []
    for part in (b"one", b"two"):
        buffered.sendall(part)
    buffered.flush()
    assert ours.sent == [HEAD + b"one", b"two"]
    assert theirs.recv(100) == HEAD + b"onetwo"


def test_an_answer_without_a_body_is_sent_once(pair: tuple[Counting, socket.socket]) -> None:
    """304, 204 and HEAD have a head alone."""
    ours, _ = pair
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    buffered.flush()
    buffered.flush()
    assert ours.sent == [HEAD]


def test_a_large_body_is_not_copied(pair: tuple[Counting, socket.socket]) -> None:
    """It follows its head."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * LARGE)
    ours.own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LARGE)
    body = bytes(LARGE)
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    buffered.sendall(body)
    assert ours.sent[0] == HEAD
    assert ours.sent[1] is body
    assert len(ours.sent) == 2


def test_a_file_follows_its_head(
    pair: tuple[Counting, socket.socket], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever else is asked of the socket is its own answer."""
    ours, theirs = pair
    path = tmp_path_factory.mktemp("file") / "body"
    path.write_bytes(b"body")
    buffered = BufferedSocket(ours)
    buffered.sendall(HEAD)
    with path.open("rb") as file:
        buffered.sendfile(file)
    assert theirs.recv(100) == HEAD + b"body"
    assert buffered.fileno() == ours.own.fileno()


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
