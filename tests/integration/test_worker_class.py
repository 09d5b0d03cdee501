"""The worker class alone, with an application that does what ours never should."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.system import ROOT, ask, children, free_port, until

PROGRAM = """
from services.predict.server import worker_class as own

worker_class = own.TwoPoolWorker
threads = 2
keepalive = 60
graceful_timeout = 60
control_socket_disable = True
started = []

def post_worker_init(worker):
    started.append(worker)

def app(environ, start):
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", "4")] if path == "/fails" else [])
    return fails() if path == "/fails" else [str(started[0].connections).encode() if path == "/count" else
                                             b"side" if own.in_side_pool() else b"main"]

def fails():
    yield b""
    raise RuntimeError("in the middle of an answer")
"""


@dataclass
class Server:
    """One worker and its master."""

    process: subprocess.Popen[bytes]
    port: int

    def connections(self) -> int:
        """How many the worker thinks that it has, with the one that asks."""
        return int(ask(self.port, "GET", "/count")[2])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """It answers."""
    (tmp_path / "odd.py").write_text(PROGRAM, "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:odd", "-b", f"127.0.0.1:{port}", "odd:app"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    made = Server(process, port)
    try:
        until(lambda: made.connections() == 1, 20, "it answers")
        yield made
    finally:
        for pid in [] if process.poll() is not None else [*children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()


def begin(port: int, sent: bytes) -> socket.socket:
    """A connection that has sent ``sent``."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(sent)
    return client


def answer(client: socket.socket) -> bytes:
    """The body of what this connection is answered."""
    response = http.client.HTTPResponse(client)
    response.begin()
    assert response.status == 200
    return response.read()


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"


def test_an_answer_that_fails_is_begun_and_its_connection_counted_once(server: Server) -> None:
    """The client sees the head, and that the rest is missing; the worker does not think that it has fewer connections."""
    for _ in range(3):
        with begin(server.port, b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n") as client:
            with pytest.raises(http.client.IncompleteRead):
                answer(client)
    until(lambda: server.connections() == 1, 20, "only who asks is connected")


def test_a_post_in_two_packets_waits_for_its_pool(server: Server) -> None:
    """Where the first has less than its method; what is no POST does not wait."""
    with ExitStack() as stack:
        held = [stack.enter_context(begin(server.port, POST)) for _ in range(2)]
        until(lambda: ask(server.port, "GET", "/")[2] == b"side", 20, "both threads are held")
        split = stack.enter_context(begin(server.port, POST[:2]))
        time.sleep(0.2)  # let it be looked at
        split.sendall(POST[2:] + b"x")
        assert ask(server.port, "GET", "/")[2] == b"side"
        for client in held:
            client.sendall(b"x")
        assert [answer(client) for client in (*held, split)] == [b"main"] * 3


def test_who_is_told_to_end_at_once_answers_first(server: Server) -> None:
    """As Ctrl-C does: what a thread is at is not dropped."""
    with begin(server.port, POST) as client:
        until(lambda: server.connections() == 2, 20, "it is connected")
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        client.sendall(b"x")
        assert answer(client) == b"main"


def test_a_silent_connection_does_not_hold_a_stop(server: Server) -> None:
    """It may speak for as long as a kept one, not until the time for the stop is over."""
    with begin(server.port, b""):
        until(lambda: server.connections() == 2, 20, "it is connected")
        server.process.terminate()
        server.process.wait(20)
