"""What becomes of connections that no thread has: they are served, waited for, and ended, and every byte is counted back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.predict.server import answers, connections
from services.predict.server.connections import Connection, State
from tests.unit.services.predict.server.unserved import Failing, Full, Noting, Odd, Worker

POST = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
SMALL = POST + b"Content-Length: 5\r\n\r\n"
LARGE = POST + b"Content-Length: 900000\r\n\r\n"
MUCH = 70_000  # bytes of a body, more than is taken from everybody


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """It has no connections yet."""
    made = Worker(tmp_path)
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: made.now))
    yield made
    for conn in [*made.waiting, *(conn for conn, _ in made.work)]:
        made.close(conn)
    for sock in made.sockets:
        sock.close()
    made.poller.close()


def test_what_is_late_is_told_or_ended(worker: Worker) -> None:
    """A head gets 408 here, a body from the application; nothing at all, and an idle connection, get no answer."""
    silent, _ = worker.connect()
    head, _ = worker.connect(POST)
    _, late = worker.connect(SMALL + b"123")
    worker.after(9.0)
    assert len(worker.waiting) == 3
    worker.after(2.0)
    assert silent.recv(1) == b""
    assert head.recv(20).startswith(b"HTTP/1.1 408")
    assert worker.work == [(late, False)]
    with pytest.raises(TimeoutError):
        late.collector.request.body.read()
    assert worker.reasons == ["head", "body"]
    worker.answer(late, b"408", b"")
    worker.after(60.0)
    assert worker.nothing_is_left()


def test_a_kept_connection_waits_for_keepalive(worker: Worker) -> None:
    """Then it is closed; a second request before that is served, also one that came with the first."""
    client, conn = worker.connect((SMALL + b"12345") * 2)
    worker.answer(conn, b"one", kept=True)
    assert [conn for conn, _ in worker.work] == [conn, conn]
    worker.answer(conn, b"two", kept=True)
    assert client.recv(10) == b"onetwo"
    assert conn.state == State.IDLE
    worker.after(worker.cfg.keepalive + 1)
    assert client.recv(1) == b""
    assert worker.nothing_is_left()


@pytest.mark.attack("vanishing clients")
@pytest.mark.parametrize("kind", [Failing, Odd])
def test_who_is_gone_when_the_body_is_invited_ends_alone(worker: Worker, kind: type) -> None:
    """``Expect: 100-continue`` of a client that has left must not end the worker; neither must a bug."""
    worker.connect(SMALL[:-2] + b"Expect: 100-continue\r\n\r\n", kind)
    assert worker.nothing_is_left()


def test_who_takes_nothing_is_not_invited(worker: Worker) -> None:
    """A body may come without the invitation."""
    client, conn = worker.connect(SMALL[:-2] + b"Expect: 100-continue\r\n\r\n", Full)
    assert conn.state == State.BODY
    client.sendall(b"12345")
    worker.poll()
    assert worker.work == [(conn, False)]


def test_a_body_that_comes_with_its_head_is_not_invited(worker: Worker) -> None:
    """And one that must not come is refused at once, without an invitation."""
    for sent in (
        SMALL[:-2] + b"Expect: 100-continue\r\n\r\n12345",
        POST + b"Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n",
    ):
        client, conn = worker.connect(sent)
        assert worker.work.pop() == (conn, False)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)


def test_large_bodies_wait_for_room_in_their_order(worker: Worker) -> None:
    """It is given back by who was answered, and by who left; who waits too long is refused."""
    clients = [worker.connect(LARGE + bytes(MUCH)) for _ in range(5)]
    states = [conn.state for _, conn in clients]
    assert states == [State.BODY] * 2 + [State.WAITING] * 3
    clients[0][0].close()
    worker.poll()
    assert worker.work.pop() == (clients[0][1], False)  # it was cut: somebody may be told of it
    worker.answer(clients[0][1], b"400", b"")
    assert clients[2][1].state == State.BODY
    for client, _ in clients[1:3]:
        client.setblocking(True)
        rest = bytes(900_000 - MUCH)
        for at in range(0, len(rest), 50_000):
            client.sendall(rest[at : at + 50_000])
            worker.poll()
    assert [conn for conn, _ in worker.work] == [clients[1][1], clients[2][1]]
    worker.after(worker.body_seconds + 1)
    assert worker.work[2:] == [(clients[3][1], True), (clients[4][1], True)]
    for _, conn in clients[1:]:
        worker.answer(conn, b"done", b"")
    worker.after(60.0)
    assert worker.nothing_is_left()


def test_a_large_body_must_arrive_at_an_even_pace(worker: Worker) -> None:
    """It holds room, so it may not drip until its deadline."""
    _, conn = worker.connect(LARGE + bytes(MUCH))
    worker.after(2.5)
    assert conn.state == State.BODY
    worker.after(1.0)
    assert conn.state == State.AT_WORK
    assert worker.reasons == ["body"]


def test_small_parts_of_requests_take_bounded_memory(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest goes, also when it is young; what is complete does not count."""
    monkeypatch.setattr(connections, "COLLECTED", 100_000)
    worker.connect(POST)
    _, large = worker.connect(LARGE + bytes(50_000))
    worker.connect(LARGE + bytes(40_000))
    assert len(worker.waiting) == 3
    worker.connect(LARGE + bytes(30_000))
    assert len(worker.waiting) == 3
    assert large.state == State.CLOSED
    assert worker.reasons == ["connections"]
    for conn in list(worker.waiting):
        worker.close(conn)
    assert worker.nothing_is_left()


def test_the_slowest_goes_first_where_there_are_too_many(worker: Worker) -> None:
    """Heads before bodies, bodies before who was answered; nobody who is quick, or at work."""
    _, idle = worker.connect(SMALL + b"12345")
    worker.answer(idle, b"", kept=True)
    _, body = worker.connect(SMALL)
    _, head = worker.connect(POST)
    _, busy = worker.connect(SMALL + b"12345")
    assert not worker.end_slowest("connections")
    worker.now += 2
    order = []
    while worker.end_slowest("connections"):
        order.append([conn.state for conn in (head, body, idle)].count(State.CLOSED))
    assert order == [1, 2, 3]
    assert (head.state, busy.state) == (State.CLOSED, State.AT_WORK)


def test_more_connections_than_there_may_be_end_the_slowest(worker: Worker) -> None:
    """A flood of silent ones keeps nobody out."""
    worker.worker_connections = 5
    for _ in range(12):
        worker.now += 1.5
        worker.connect()
    assert worker.nr_conns <= 5


PART = bytes(200_000)


def test_an_answer_leaves_while_it_is_read(worker: Worker) -> None:
    """Then the connection is free for the next request; a large part goes to a file and back."""
    client, conn = worker.connect(SMALL + b"12345")
    worker.answer(conn, b"head", *[PART] * 20, kept=True)
    assert conn.state == State.ANSWER
    assert worker.unsent.in_files > 0
    found = 0
    while found < 20 * len(PART) + 4:
        worker.poll()
        found += len(client.recv(1 << 20))
    worker.poll()
    assert conn.state == State.IDLE
    worker.close(conn)
    assert worker.nothing_is_left()


def test_an_answer_that_is_not_read_is_ended_with_a_reset(worker: Worker) -> None:
    """Who reads slowly has longer than who reads nothing; none of it looks like a whole answer."""
    stopped = answered(worker)
    reader, slow = worker.connect(SMALL + b"12345")
    worker.answer(slow, b"head", *[PART] * 20)
    for _ in range(8):
        while len(reader.recv(1 << 16)) == 1 << 16 and not worker.poller.select(0):
            pass
        worker.poll()
        worker.after(1.5)
    assert stopped.state == State.CLOSED
    assert slow.state == State.ANSWER
    worker.after(worker.answer_seconds)
    assert slow.state == State.CLOSED
    assert worker.reasons == ["answer", "answer"]
    assert worker.nothing_is_left()


def answered(worker: Worker) -> Connection:
    """A connection that does not read a large answer."""
    _, conn = worker.connect(SMALL + b"12345")
    worker.answer(conn, b"head", *[PART] * 20)
    assert conn.state == State.ANSWER
    return conn


@pytest.mark.attack("vanishing clients")
@pytest.mark.parametrize("failure", ["error", "cut"])
def test_a_file_that_cannot_be_read_ends_its_answer_only(
    worker: Worker, failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the disk, or a file that is shorter than it was."""
    client, conn = worker.connect(SMALL + b"12345", Noting)
    worker.answer(conn, b"head", *[PART] * 20)

    def sendfile(*_: Any) -> int:
        if failure == "error":
            raise OSError(5, "input/output error")
        return 0

    monkeypatch.setattr(os, "sendfile", sendfile)
    while conn.state == State.ANSWER:
        client.recv(1 << 20)
        worker.poll()
    assert conn.state == State.CLOSED
    assert conn.sock.reset  # type: ignore[attr-defined]
    assert not caplog.records  # it is no bug
    assert worker.nothing_is_left()


def test_an_answer_for_which_there_is_no_room_does_not_look_whole(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too much of other answers is not read: this one is given up, also where its end would be the connection's."""
    monkeypatch.setattr(answers, "MOST_IN_MEMORY", 100_000)
    monkeypatch.setattr(answers, "MOST_IN_FILES", 100_000)
    _, conn = worker.connect(SMALL + b"12345", Noting)
    worker.answer(conn, b"head", *[PART] * 20, kept=True)
    assert conn.state == State.CLOSED
    assert conn.sock.reset  # type: ignore[attr-defined]
    assert worker.nothing_is_left()


@pytest.mark.attack("vanishing clients")
def test_who_vanishes_is_forgotten(worker: Worker) -> None:
    """While it sends, while it is answered, and while it reads."""
    sending, _ = worker.connect(SMALL)
    asked, conn = worker.connect(SMALL + b"12345")
    reading, answer = worker.connect(SMALL + b"12345")
    worker.answer(answer, b"head", *[PART] * 20)
    for client in (sending, asked, reading):
        client.close()
    worker.poll()
    worker.answer(conn, b"head", *[PART] * 20, kept=True)
    for cut in [cut for cut, _ in worker.work if cut.state == State.AT_WORK]:
        worker.answer(cut, b"400", b"")
    worker.after(60.0)
    assert worker.nothing_is_left()


def test_who_must_end_at_once_finishes_answers_only(worker: Worker) -> None:
    """What has not asked, or not all, is ended."""
    for sent in (b"", POST, SMALL):
        worker.connect(sent)
    answer = answered(worker)
    worker.end_unanswered()
    assert list(worker.waiting) == [answer]
