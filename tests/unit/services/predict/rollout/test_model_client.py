"""A hostile model service: what it may say, and what is believed."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.state_machine import PinnedVersion

BYTES = b"the model" * 1000
SHA = hashlib.sha256(BYTES).hexdigest()
PIN = PinnedVersion(SHA, "p1")
HEADERS = f'ETag: "{SHA}"\r\nX-PinnedVersion-Id: p1\r\n'


class Liar:
    """A server that sends prepared bytes, one answer per connection, and counts what it could send."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.sent = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                parts = self.answers.pop(0) if self.answers else [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]
                try:
                    for part in parts:
                        connection.sendall(part)
                        self.sent += len(part)
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()


@pytest.fixture
def client(liar: Liar) -> Iterator[ModelClient]:
    made = ModelClient(liar.url, max_bytes=100_000)
    yield made
    made.close()
    made._session.close()


def ok(body: bytes = BYTES, headers: str = HEADERS, length: int | None = None) -> list[bytes]:
    size = len(body) if length is None else length
    return [f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {size}\r\nConnection: close\r\n\r\n".encode(), body]


def fetch(client: ModelClient, pin: PinnedVersion = PIN, seconds: float = 5) -> bytes:
    taken: list[bytes] = []
    client.fetch(pin, taken.append, seconds)
    return b"".join(taken)


def test_one_answer_is_both_the_poll_and_the_download(liar: Liar, client: ModelClient) -> None:
    """The bytes that came with the poll are not asked for twice."""
    liar.answers = [ok()]
    assert client.poll((), 2) == PIN
    assert fetch(client) == BYTES


def test_a_304_says_which_pin_it_means(liar: Liar, client: ModelClient) -> None:
    """By its ETag; one without a SHA-256 in it is no answer."""
    liar.answers = [
        [f"HTTP/1.1 304 Not Modified\r\n{HEADERS}Connection: close\r\n\r\n".encode()],
        [b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"],
    ]
    assert client.poll([SHA], 2) == PIN
    with pytest.raises(ModelClientError, match="ETag"):
        client.poll([SHA], 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ok(b"other bytes"), "hash to"),
        (ok(BYTES[:-10], length=len(BYTES)), "broke off|cut short"),
        (ok(length=100_001), "larger"),
        (ok(headers='ETag: W/"' + SHA + '"\r\n'), "ETag"),
        (ok(headers='ETag: "short"\r\n'), "ETag"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n"], "302"),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "404"),
        ([b"nonsense\r\n\r\n"], "reached"),
    ],
)
def test_what_is_not_the_pinned_file_is_an_error_that_is_tried_again(
    liar: Liar, client: ModelClient, answer: list[bytes], words: str
) -> None:
    """ETag of one with the bytes of another, truncation, too much, redirects."""
    liar.answers = [answer]
    with pytest.raises(ModelClientError, match=words):
        client.poll((), 2)
        fetch(client)


def test_an_endless_body_is_cut_off(liar: Liar, client: ModelClient) -> None:
    """No more is read than the limit and a chunk."""
    head = f"HTTP/1.1 200 OK\r\n{HEADERS}Connection: close\r\n\r\n".encode()
    liar.answers = [(head if n == 0 else b"x" * 65536 for n in range(10_000))]
    with pytest.raises(ModelClientError, match="larger"):
        client.poll((), 2)
        fetch(client)
    client.close()
    assert liar.sent < 100 * 65536


def test_a_slow_drip_is_cut_off(liar: Liar, client: ModelClient) -> None:
    """Each byte comes in time, all of them do not: the deadline is for the whole."""

    def drip() -> Iterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: 9000\r\nConnection: close\r\n\r\n".encode()
        for _ in range(100):
            time.sleep(0.05)
            yield b"x"

    liar.answers = [drip()]
    began = time.monotonic()
    with pytest.raises(ModelClientError, match="too long"):
        client.poll((), 2)
        fetch(client, seconds=0.5)
    assert time.monotonic() - began < 3


def test_the_pin_may_change_between_poll_and_fetch(liar: Liar, client: ModelClient) -> None:
    """Then nothing is taken."""
    liar.answers = [ok(headers=f'ETag: "{"0" * 64}"\r\n')]
    with pytest.raises(ModelClientError, match="changed"):
        fetch(client)
