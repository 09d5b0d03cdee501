"""A hostile model service: what it may say, and what is believed."""

from __future__ import annotations

import hashlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from modelbundle.format import statement
from modelbundle.format.statement import CHALLENGER
from services.predict.rollout.model_client import MAX_PIN_BYTES, ModelClient, ModelClientError, NotPinned, ServedPins
from services.predict.rollout.protocol import PinnedVersion

BYTES = b"the model" * 1000
SHA = hashlib.sha256(BYTES).hexdigest()
PIN = PinnedVersion(SHA, "p1")
HEADERS = f'ETag: "{SHA}"\r\nX-Pin-Id: p1\r\n'


class Liar:
    """A server that sends prepared bytes, one answer per connection, and counts what it could send."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[bytes] = []
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
                self.asked.append(connection.recv(65536))
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


def ok(body: bytes = BYTES, headers: str = HEADERS, length: int | None = None) -> list[bytes]:
    size = len(body) if length is None else length
    return [f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {size}\r\nConnection: close\r\n\r\n".encode(), body]


def page(**changes: Any) -> bytes:
    """What an honest model service says at /pin, with changes."""
    facts = {
        "pinned": {"file": "a", "sha256": SHA},
        "serving": {"file": "a", "sha256": SHA, "since": "now"},
        "id": "p1",
    }
    return json.dumps({**facts, "why_not": None, **changes}).encode()


def fetch(client: ModelClient, pin: PinnedVersion = PIN, seconds: float = 5) -> bytes:
    taken: list[bytes] = []
    client.fetch(pin, taken.append, seconds)
    return b"".join(taken)


def endless(head: str) -> Iterator[bytes]:
    yield f"HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n".encode()
    for _ in range(10_000):
        yield b"x" * 65536


def drip(head: str) -> Iterator[bytes]:
    """Each byte comes in time, all of them do not."""
    yield f"HTTP/1.1 200 OK\r\n{head}Content-Length: 9000\r\nConnection: close\r\n\r\n".encode()
    for _ in range(100):
        time.sleep(0.05)
        yield b"x"


def test_a_poll_and_a_download_are_two_requests_that_share_nothing(liar: Liar, client: ModelClient) -> None:
    """The poll asks for the small page; the bytes are asked for by their own path, in whichever order."""
    liar.answers = [ok(page(), ""), ok(), ok(), ok(page(), "")]
    assert client.poll(2) == ServedPins(PIN)
    assert fetch(client) == BYTES
    assert fetch(client) == BYTES
    assert client.poll(2) == ServedPins(PIN)
    assert [asked.split()[1] for asked in liar.asked] == [b"/pin", b"/bundle", b"/bundle", b"/pin"]


OTHER = "f" * 64
CHALLENGERS = {
    "none": ({"pinned": None, "serving": None, "why_not": None, "id": None}, None, ""),
    "served": (
        {"pinned": {}, "serving": {"sha256": OTHER}, "why_not": None, "id": "c1"},
        PinnedVersion(OTHER, "c1"),
        "",
    ),
    "of an older service": ({"pinned": {}, "serving": {"sha256": OTHER}}, PinnedVersion(OTHER, OTHER), ""),
    "being read": (
        {"pinned": {"file": "b"}, "serving": None, "why_not": None},
        None,
        "it is not served: it is being read",
    ),
    "bad": ({"pinned": None, "serving": None, "why_not": "no file"}, None, "it is not served: no file"),
}


@pytest.mark.parametrize(("told", "challenger", "trouble"), CHALLENGERS.values(), ids=CHALLENGERS.keys())
def test_one_poll_tells_of_the_challenger_too(
    liar: Liar, client: ModelClient, told: dict[str, Any], challenger: PinnedVersion | None, trouble: str
) -> None:
    """Served, not pinned, or pinned and not served and why. Without an id its hash is the id."""
    liar.answers = [ok(page(challenger=told), "")]
    assert client.poll(2) == ServedPins(PIN, challenger, trouble)


@pytest.mark.parametrize(
    ("allow", "understood"), [([], ()), (["probation", "contract", "later"], ("contract", "probation"))]
)
def test_a_pin_says_which_gates_it_lifts(
    liar: Liar, client: ModelClient, allow: list[str], understood: tuple[str, ...]
) -> None:
    """For each role; a gate of a later version is left out."""
    serving = {"sha256": SHA, "allow": allow}
    liar.answers = [ok(page(serving=serving, challenger={"pinned": {}, "serving": serving, "id": "c1"}), "")]
    pins = client.poll(2)
    assert pins.challenger is not None
    assert pins.champion.allow == pins.challenger.allow == understood


@pytest.mark.parametrize(
    ("told", "due"),
    [(None, 0.0), ("2026-11-30T06:00:00Z", 1796018400.0), ("soon", math.nan), (7, math.nan), ([], math.nan)],
)
def test_a_pin_says_from_when_on_it_answers(liar: Liar, client: ModelClient, told: object, due: float) -> None:
    """What is no time is not taken for none; the leader refuses it."""
    liar.answers = [ok(page(serving={"sha256": SHA, "notBefore": told}), "")]
    found = client.poll(2).champion.not_before
    assert found == due or (math.isnan(found) and math.isnan(due))


def test_the_date_of_an_answer_tells_of_the_clocks(liar: Liar, client: ModelClient) -> None:
    """Whatever else the answer says."""
    assert not client.clock.read().known
    liar.answers = [[b"HTTP/1.1 404 NO\r\nDate: Mon, 30 Nov 2026 06:00:00 GMT\r\nContent-Length: 0\r\n\r\n"]]
    with pytest.raises(ModelClientError):
        client.poll(2)
    found = client.clock.read()
    assert found.known
    assert found.most >= 1796018401


def test_an_older_model_service_is_understood(liar: Liar, client: ModelClient) -> None:
    """Neither the pin's id nor the challenger is needed; a long reason is cut."""
    liar.answers = [
        ok(json.dumps({"serving": {"sha256": SHA}}).encode(), ""),
        ok(page(challenger={"why_not": "x" * 5000}), ""),
    ]
    assert client.poll(2) == ServedPins(PinnedVersion(SHA, SHA))
    assert len(client.poll(2).challenger_trouble) == 300


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ok(b"other bytes"), "hash to"),
        (ok(BYTES[:-10], length=len(BYTES)), "broke off|cut short"),
        (ok(length=100_001), "larger"),
        (ok(length=int("9" * 30)), "larger"),
        (ok(headers='ETag: W/"' + SHA + '"\r\n'), "ETag"),
        (ok(headers='ETag: "short"\r\n'), "ETag"),
        (ok(headers=f'ETag: "{"0" * 64}"\r\n'), "changed"),
        (ok(headers=""), "ETag"),
        ([f"HTTP/1.1 304 Not Modified\r\n{HEADERS}Connection: close\r\n\r\n".encode()], "304"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n"], "302"),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "404"),
        ([b"nonsense\r\n\r\n"], "reached"),
        ([], "reached"),
    ],
)
def test_what_is_not_the_pinned_file_is_an_error_that_is_tried_again(
    liar: Liar, client: ModelClient, answer: list[bytes], words: str
) -> None:
    """ETag of one with the bytes of another, truncation, too much, redirects, a pin that changed after the poll."""
    liar.answers = [answer]
    with pytest.raises(ModelClientError, match=words):
        fetch(client)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ok(page(serving={"sha256": "short"}), ""), "not understood"),
        (ok(page(serving={"sha256": SHA.upper()}), ""), "not understood"),
        (ok(page(serving={"sha256": SHA + "\n"}), ""), "not understood"),
        (ok(page(serving=None), ""), "not understood"),
        (ok(page(id="a b"), ""), "not understood"),
        (ok(page(id="x" * 65), ""), "not understood"),
        (ok(page(id=7), ""), "not understood"),
        (ok(page(challenger={"serving": {"sha256": OTHER}, "id": "../x"}), ""), "not understood"),
        (ok(page(challenger=[]), ""), "not understood"),
        (ok(b"[" * 10_000, ""), "not understood"),
        (ok(b'{"x": ' + b"[" * 8000 + b"]" * 8000 + b"}", ""), "not understood"),
        (ok(b'{"serving": {"sha256": "\xff"}}', ""), "not understood"),
        (ok(b"<html>", ""), "not understood"),
        (ok(b"", ""), "not understood"),
        (ok(page(), "", length=MAX_PIN_BYTES + 1), "larger"),
        (ok(page() + b" " * MAX_PIN_BYTES, ""), "larger"),
        (ok(page()[:-10], "", length=len(page())), "broke off|cut short"),
        ([b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"], "304"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n"], "302"),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "404"),
        ([b"nonsense\r\n\r\n"], "reached"),
    ],
)
def test_a_pin_page_that_is_not_one_is_no_answer(
    liar: Liar, client: ModelClient, answer: list[bytes], words: str
) -> None:
    """Hashes and ids are checked to the letter; what is too deep, too large or not JSON is not parsed any further."""
    liar.answers = [answer]
    with pytest.raises(ModelClientError, match=words):
        client.poll(2)


def test_an_endless_body_is_cut_off(liar: Liar, client: ModelClient) -> None:
    """No more is read than the limit and a chunk: of a model, of the pin page, and of a statement."""
    for ask in (lambda: fetch(client), lambda: client.poll(2), lambda: client.statement(PIN)):
        liar.sent = 0
        liar.answers = [endless(HEADERS)]
        with pytest.raises(ModelClientError, match="larger"):
            ask()
        assert liar.sent < 100 * 65536


def test_a_slow_drip_is_cut_off(liar: Liar, client: ModelClient) -> None:
    """The deadline is for the whole body, of a model and of the pin page."""
    for ask in (lambda: fetch(client, seconds=0.5), lambda: client.poll(0.5)):
        liar.answers = [drip(HEADERS)]
        with pytest.raises(ModelClientError, match="too long"):
            ask()


def chunk_sizes_that_drip() -> Iterator[bytes]:
    """The size of a chunk may be followed by words without end."""
    yield f"HTTP/1.1 200 OK\r\n{HEADERS}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n9;".encode()
    for _ in range(600):
        time.sleep(0.05)
        yield b"x"


def bodies_without_a_length() -> Iterator[bytes]:
    """The end of the connection is the end of the answer, also where the client ends it."""
    yield f"HTTP/1.1 200 OK\r\n{HEADERS}Connection: close\r\n\r\n".encode()
    for _ in range(600):
        time.sleep(0.05)
        yield b" "


@pytest.mark.attack("dripping model service")
@pytest.mark.parametrize("answer", [chunk_sizes_that_drip, bodies_without_a_length])
def test_one_deadline_holds_for_a_whole_exchange(liar: Liar, client: ModelClient, answer: Any) -> None:
    """Whatever part of an answer comes byte by byte, each byte in time; all of it would take half a minute."""
    liar.answers = [answer()]
    began = time.monotonic()
    with pytest.raises(ModelClientError, match="too long"):
        client.poll(0.5)
    assert time.monotonic() - began < 10


def test_headers_that_drip_are_cut_off(liar: Liar, client: ModelClient) -> None:
    """The time-out is for all headers: the answer, which would be good, is not waited for, and the next one is taken."""
    head, body = ok(page(), "")
    status, _, rest = head.partition(b"\r\n")
    filler = b"X-Filler: " + b"x" * 100 + b"\r\n"
    slowly = [status + b"\r\n", *(bytes([byte]) for byte in filler), rest, body]
    liar.answers = [(time.sleep(0.02) or part for part in slowly), ok(page(), "")]
    with pytest.raises(ModelClientError, match="took too long"):
        client.poll(0.5)
    assert client.poll(30) == ServedPins(PIN)


def test_a_statement_is_taken_with_its_own_pin_only(liar: Liar, client: ModelClient) -> None:
    """None where there is none; the statement of another pin, of no pin, or a broken one is tried again."""
    liar.answers = [
        ok(b"signed", "X-Pin-Id: p1\r\n"),
        [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
        ok(b"signed", "X-Pin-Id: p2\r\n"),
        ok(b"signed", ""),
        ok(b"sig", "X-Pin-Id: p1\r\n", length=6),
        ok(b"", "X-Pin-Id: p1\r\n", length=statement.MAX_BYTES + 1),
        ok(b"signed", "X-Pin-Id: p2\r\n"),
    ]
    assert client.statement(PIN) == b"signed"
    assert client.statement(PIN) is None
    for words in ("changed", "changed", "broke off|cut short", "larger"):
        with pytest.raises(ModelClientError, match=words):
            client.statement(PIN)
    assert client.statement(PinnedVersion(SHA, SHA)) == b"signed", "an older service tells no ids to compare"


def test_the_challenger_has_paths_of_its_own(liar: Liar) -> None:
    """Its bytes and its statement; one that is not pinned is told apart from other errors."""
    client = ModelClient(liar.url, max_bytes=100_000, role=CHALLENGER)
    liar.answers = [
        ok(),
        ok(b"signed"),
        [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
    ]
    assert fetch(client) == BYTES
    assert client.statement(PIN) == b"signed"
    with pytest.raises(NotPinned):
        fetch(client)
    client.close()
    assert [asked.split()[1] for asked in liar.asked] == [b"/challenger", b"/challenger/statement", b"/challenger"]


def test_an_error_of_our_own_disk_is_not_the_model_services(liar: Liar, client: ModelClient) -> None:
    """It passes as it is."""
    liar.answers = [ok()]

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        client.fetch(PIN, full, 5)
