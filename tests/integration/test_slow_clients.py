"""Clients that send or read slowly hold nobody up: not predictions, not probes."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from select import select

import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import System, ask, running, until

EACH = 25  # of each of eight kinds; the replica has two workers with two threads each
SECONDS = 20  # for a head and for a body
POST = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40000\r\n\r\n"
KINDS = {
    "silent": "",
    "a head without an end": "POST /predict HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "a probe's head without an end": "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "no body": POST.format("/predict"),
    "a part of a body": POST.format("/predict") + " " * 17_000,
    "chunks without an end": POST.format("/predict").replace("Content-Length: 40000", "Transfer-Encoding: chunked")
    + "40\r\n",
    "a body nobody wants": POST.format("/nothing/here"),
    "a probe's body": "GET /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
}
STATUS = {"a body nobody wants": 404, "a probe's body": 200}  # of the kinds that are not told 408


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    """Two workers with two threads each."""
    seconds = {"HEAD_SECONDS": str(SECONDS), "BODY_SECONDS": str(SECONDS), "ANSWER_SECONDS": "60"}
    with running(tmp_path_factory.mktemp("slow"), WORKERS="2", THREADS="2", **seconds) as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        system.serving(bundles[0].sha256)
        yield system


def answers_others(system: System) -> None:
    """Predictions and probes."""
    for _ in range(5):
        assert system.post(LOAN)[0] == 200
        for path in ("/healthz", "/readyz", "/metrics"):
            assert ask(system.port, "GET", path)[0] == 200


@pytest.mark.slow
@pytest.mark.attack("slow senders")
def test_who_sends_slowly_holds_nobody_up(system: System) -> None:
    """Many more than there are threads are held while others are answered; then each is told that it was too slow."""
    with ExitStack() as stack:
        slow: list[tuple[str, socket.socket]] = []
        for kind, sent in KINDS.items():
            for _ in range(EACH):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", system.port), 60))
                client.sendall(sent.encode())
                slow.append((kind, client))
        answers_others(system)
        assert select([client for _, client in slow], [], [], 0)[0] == []  # none was answered or ended for that
        for kind, client in slow[::EACH] + slow[EACH - 1 :: EACH]:
            if kind != "silent":
                is_told(client, STATUS.get(kind, 408))
            assert client.recv(1) == b""
        answers_others(system)


def is_told(client: socket.socket, status: int) -> None:
    """The answer to a connection that was too slow."""
    with closing(http.client.HTTPResponse(client)) as response:
        response.begin()
        raw = response.read()
    assert response.status == status
    if status != 200:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert json.loads(raw)["request_id"] == response.headers["X-Request-Id"]


def table(rows: int) -> bytes:
    """A request for so many rows, as CSV."""
    line = ",".join(map(str, LOAN.values()))
    body = "\n".join([",".join(LOAN), *[line] * rows]).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def lazy(port: int, sent: bytes) -> socket.socket:
    """A client with little room for an answer, which it does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(60)
    client.connect(("127.0.0.1", port))
    client.sendall(sent)
    return client


@pytest.mark.attack("slow readers")
def test_who_reads_slowly_holds_nobody_up(system: System) -> None:
    """Many more large answers than threads; they are whole when they are read at last, and no file with a name holds them."""
    rows, many = 20_000, 12
    data = Path(system.root) / "data"
    answered = 'peerloan_http_requests_total{method="POST",route="/predict",status="200"}'
    first = settled(system, answered)
    before = {path.name for path in data.rglob("*")} | {"chain.json"}  # the shipper's, with its first batch
    with ExitStack() as stack:
        slow: list[socket.socket] = []
        while len(slow) < many:  # one by one: a worker weighs bodies, and refuses what it has no room for at the moment
            slow.append(stack.enter_context(lazy(system.port, table(rows))))
            until(lambda: count(system, answered) == first + len(slow), 120, "the answer is made")
        until(lambda: count(system, "peerloan_in_flight") == 1, 60, "no thread is at work for them")
        answers_others(system)
        assert {path.name for path in data.rglob("*") if path.suffix not in (".open", ".segment")} <= before
        for client in slow:
            with closing(http.client.HTTPResponse(client)) as response:
                response.begin()
                assert response.status == 200
                assert response.read().count(b"\n") == rows + 1


def count(system: System, series: str) -> float:
    """The value of a counter; 0 where it has none."""
    lines = ask(system.port, "GET", "/metrics")[2].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


def settled(system: System, series: str) -> float:
    """:func:`count`, once all workers have written what they counted before: they do so four times a second."""
    value = count(system, series)
    for _ in range(20):
        time.sleep(1)
        before, value = value, count(system, series)
        if before == value:
            return value
    raise AssertionError(f"{series} does not settle")


@pytest.mark.slow
def test_an_answer_that_is_not_read_ends(tmp_path: Path, bundles: list[Made]) -> None:
    """After ANSWER_SECONDS at the latest, and it is counted."""
    with running(tmp_path, WORKERS="1", ANSWER_SECONDS="2", PREDICTION_LOG_URL="none") as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        system.serving(bundles[0].sha256)
        with lazy(system.port, table(90_000)):
            ended = 'peerloan_slow_connections_total{reason="answer"}'
            until(lambda: count(system, ended) == 1, 30, "it was ended")
        answers_others(system)
