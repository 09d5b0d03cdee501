"""More work than a worker has threads for: what is refused, what waits, and what must not notice."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import System, ask, connected, running, until

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def narrow(tmp_path: Path, bundles: list[Made]) -> Iterator[System]:
    """One worker with two threads that takes four predictions."""
    with running(tmp_path, WORKERS="1", THREADS="2", MAX_IN_FLIGHT="4", BODY_SECONDS="8") as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        yield system


def begin(port: int, body: bytes) -> socket.socket:
    """A prediction whose body has not come yet."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(HEAD % len(body))
    return client


def answer_of(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what this connection is answered."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def test_beyond_the_bound_predictions_are_refused_and_health_is_not(narrow: System) -> None:
    """Of many large predictions at once some get a 503, probes get their 200; all others are answered."""
    body = json.dumps({name: [value] * 10_000 for name, value in LOAN.items()}).encode()
    until(lambda: not connected(narrow.port), 20, "who asked whether it is ready is gone")
    with ExitStack() as stack:
        held = [stack.enter_context(begin(narrow.port, body)) for _ in range(24)]
        for client in held:
            client.sendall(body)
        for path in ("/healthz", "/readyz", "/model", "/metrics"):
            assert ask(narrow.port, "GET", path)[0] == 200
        answers = [answer_of(client) for client in held]
        refused = [(headers, answer) for status, headers, answer in answers if status == 503]
        assert {status for status, _, _ in answers} == {200, 503}
        assert len(answers) - len(refused) >= 4
        for headers, answer in refused:
            assert headers["retry-after"] == "1"
            assert headers["content-type"] == "application/problem+json"
            assert json.loads(answer)["request_id"] == headers["x-request-id"]
        measured = ask(narrow.port, "GET", "/metrics")[2].decode().splitlines()
        [shed] = [line for line in measured if line.startswith("peerloan_shed_total")]
        assert shed == f"peerloan_shed_total {len(refused)}.0"
    assert narrow.post(LOAN)[0] == 200


def test_bodies_that_are_late_are_told_so_however_many(narrow: System) -> None:
    """They become no predictions, so they take no place of one: 24 at a time, where four predictions may be at work."""
    with ExitStack() as stack:
        late = [stack.enter_context(begin(narrow.port, bytes(100))) for _ in range(24)]
        assert {answer_of(client)[0] for client in late} == {408}


def test_silent_connections_take_no_thread(narrow: System) -> None:
    """Connections that send nothing, many more than there are threads, hold nobody up."""
    silent = [socket.create_connection(("127.0.0.1", narrow.port)) for _ in range(20)]
    assert narrow.post(LOAN)[0] == 200
    silent[7].sendall(HEAD % len(json.dumps(LOAN)) + json.dumps(LOAN).encode())
    assert answer_of(silent[7])[0] == 200
    for client in silent:
        client.close()


def test_a_body_that_never_ends_is_answered(narrow: System) -> None:
    """408 after BODY_SECONDS, however it drips."""
    client = begin(narrow.port, json.dumps(LOAN).encode())
    client.sendall(b"{")
    assert answer_of(client)[0] == 408
    client.close()
    assert narrow.post(LOAN)[0] == 200


@pytest.fixture
def wide(tmp_path: Path, bundles: list[Made]) -> Iterator[System]:
    """Three workers."""
    with running(tmp_path, WORKERS="3", PREDICTION_LOG_URL="none") as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        until(lambda: len(list(filter(listens, system.workers()))) == 3, 20, "all workers take connections")
        yield system


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += os.readlink(path).startswith("socket:")
    return found


def listens(pid: int) -> bool:
    """Whether a worker takes connections: its poller has more than the pipe of its own threads."""
    polled = 0
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):
            polled += path.read_text("utf-8").count("tfd:")
    return polled > 1


def test_a_connection_goes_where_there_are_fewest(wide: System) -> None:
    """Kept connections are spread over the workers, those of a worker that ended go to the one after it, and one that hangs
    holds nobody up."""
    before = {pid: sockets(pid) for pid in wide.workers()}

    def spread() -> list[int]:
        return [sockets(pid) - before.get(pid, min(before.values())) for pid in wide.workers()]

    with ExitStack() as stack:
        for _ in range(30):
            client = stack.enter_context(begin(wide.port, b"{}"))
            client.sendall(b"{}")
            assert answer_of(client)[0] == 422
        assert sum(spread()) >= 28  # some that asked whether it is ready may have been open before
        assert max(spread()) - min(spread()) <= 3  # who is busy for long lets one go to another
        os.kill(wide.workers()[0], signal.SIGKILL)
        until(lambda: len(wide.workers()) == 3 and set(wide.workers()) - set(before), 20, "another worker")
        [new] = set(wide.workers()) - set(before)
        until(lambda: listens(new), 20, "it takes connections")
        for _ in range(8):
            client = stack.enter_context(begin(wide.port, b"{}"))
            client.sendall(b"{}")
            assert answer_of(client)[0] == 422
        assert sockets(new) - min(before.values()) >= 6
        os.kill(new, signal.SIGSTOP)
        try:
            for _ in range(8):
                assert wide.post(LOAN)[0] == 200
        finally:
            os.kill(new, signal.SIGCONT)
