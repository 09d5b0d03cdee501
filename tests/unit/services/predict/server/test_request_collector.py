"""Requests are collected from any pieces, and end where the parser says."""

from __future__ import annotations

import pytest
from gunicorn.config import Config

from services.predict.server.request_collector import HEAD_BYTES, OVERHEAD, SMALL, RequestCollector

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
LENGTH = HEAD + b"Content-Length: 5\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MOST = 1 << 20


def collector() -> RequestCollector:
    return RequestCollector(Config(), ("127.0.0.1", 1), MOST)


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (LENGTH + b"12345", b"12345"),
        (CHUNKED + b"3\r\n123\r\n2;a=b\r\n45\r\n0\r\n\r\n", b"12345"),
        (CHUNKED + b"5\r\n1\r\n\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n", b"1\r\n\r\n"),
        (CHUNKED + b"0\r\n\r\n", b""),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_a_request_is_complete_with_its_last_byte(sent: bytes, body: bytes, step: int) -> None:
    """However it is split; what follows is the next request."""
    collected = collector()
    data = sent + sent
    answers = []
    for at in range(0, len(data), step):
        complete = collected.feed(data[at : at + step])
        while complete:
            assert collected.error is None
            assert collected.request.body.read() == body
            answers.append(at)
            assert collected.finish()
            complete = collected.next()
    assert len(answers) == 2
    assert answers[0] < len(sent) <= answers[0] + step
    assert not collected.begun


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET /" + b"a" * 9000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * (HEAD_BYTES // 6),
        b"\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: \xb2\r\n\r\n",
    ],
)
def test_a_head_that_is_wrong_is_an_error_at_once(head: bytes) -> None:
    """Nobody waits for the end of what cannot be right."""
    collected = collector()
    assert collected.feed(head)
    assert collected.error is not None


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"5\n", b"2\r\n123\r\n", b"\r\n", b"-1\r\n", b"2\r\n12\r\n0\r\na\nb\r\n\r\n"]
)
def test_chunks_that_are_wrong_end_the_connection(body: bytes) -> None:
    """Also where the application does not read them: nobody knows where the next request begins."""
    collected = collector()
    assert collected.feed(CHUNKED + body)
    assert not collected.finish()


def test_a_body_that_ends_early_is_no_request_to_follow() -> None:
    """It is answered, and the connection ends."""
    for sent in (LENGTH + b"123", CHUNKED + b"5\r\n123"):
        collected = collector()
        assert not collected.feed(sent)
        assert collected.cut()
        assert collected.request.should_close()
    assert not collector().cut()


def test_a_large_body_asks_for_room() -> None:
    """When more has arrived than is taken from everybody; it asks for all that it says it has."""
    collected = collector()
    assert not collected.feed(HEAD + b"Content-Length: 900000\r\n\r\n")
    assert collected.room == 0
    assert not collected.feed(bytes(SMALL))
    assert collected.room == 900_000


def test_too_large_a_body_is_not_collected() -> None:
    """With a length, its head is enough; in chunks, its first byte too many."""
    collected = collector()
    assert collected.feed(HEAD + b"Content-Length: 1048577\r\n\r\n")
    assert collected.oversized
    exact = collector()
    assert not exact.feed(CHUNKED + b"100000\r\n" + bytes(MOST) + b"\r\n")
    assert exact.feed(b"0\r\n\r\n")
    assert len(exact.request.body.read()) == MOST
    large = collector()
    assert not large.feed(CHUNKED + b"fffffff\r\n" + bytes(MOST))
    assert large.feed(b"1")
    with pytest.raises(OverflowError):
        large.request.body.read(1)


def test_chunks_may_not_be_mostly_sizes() -> None:
    """A byte in each would cost much processor time for little."""
    collected = collector()
    one = b"1\r\nx\r\n" * 1000
    fed = collected.feed(CHUNKED)
    sent = 0
    while not fed:
        fed = collected.feed(one)
        sent += len(one)
    assert OVERHEAD < sent < 2 * OVERHEAD


def test_a_late_body_cannot_be_read() -> None:
    """The application learns of it, and the connection ends."""
    collected = collector()
    assert not collected.feed(LENGTH)
    collected.late()
    assert collected.request.should_close()
    with pytest.raises(TimeoutError):
        collected.request.body.read(5)
