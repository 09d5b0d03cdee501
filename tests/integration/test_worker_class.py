"""The worker class alone, with an application that does what ours never should."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.integration.system import ROOT, ask, children, free_port, until

PROGRAM = """
import os, resource, threading, time
from services.predict.server import worker_class as own

worker_connections = 30
worker_class = own.TwoPoolWorker
threads = 2
keepalive = 60
graceful_timeout = 60
control_socket_disable = True
started = []
own.TwoPoolWorker.max_in_flight = 4

def post_worker_init(worker):
    started.append(worker)
    threading.Thread(target=tell, args=(worker,), daemon=True).start()
    if os.environ.get("FILES"):
        open_now = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + int(os.environ["FILES"]),) * 2)

def tell(worker):
    told = os.open(os.environ["IN_FLIGHT"], os.O_WRONLY | os.O_CREAT)
    while True:
        os.pwrite(told, b"%4d" % worker.in_flight, 0)
        time.sleep(0.01)

def app(environ, start):
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    while path == "/hold" and not os.path.exists(os.environ["OPEN"]):
        time.sleep(0.01)
    start("200 OK", [("Content-Length", "4")] if path == "/fails" else [])
    if path in ("/fails", "/large"):
        return fails() if path == "/fails" else [bytes(100_000)] * 80
    if path == "/count":
        return [str(started[0].connections).encode()]
    return [b"shed" if own.shedding() else b"side" if own.in_side_pool() else b"main"]

def fails():
    yield b""
    raise RuntimeError("in the middle of an answer")
"""


@dataclass
class Server:
    """One worker and its master."""

    process: subprocess.Popen[bytes]
    port: int
    open: Path  # requests to /hold are answered when it exists
    told: Path  # what the worker tells without being asked: who asks would take a place

    def connections(self) -> int:
        """How many the worker thinks that it has, with the one that asks."""
        return int(ask(self.port, "GET", "/count")[2])

    def in_flight(self) -> int:
        """How many requests are at work or wait for the main pool."""
        return int(self.told.read_text("ascii"))


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """It answers. A parameter is the number of files that it may open beyond those that it has at first."""
    (tmp_path / "odd.py").write_text(PROGRAM, "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:odd", "-b", f"127.0.0.1:{port}", "odd:app"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OPEN": str(tmp_path / "open")}
    environment["IN_FLIGHT"] = str(tmp_path / "in flight")
    environment["FILES"] = str(getattr(request, "param", ""))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    made = Server(process, port, tmp_path / "open", tmp_path / "in flight")
    try:
        until(lambda: made.connections() == 1, 20, "it answers")
        until(lambda: made.in_flight() == 0, 20, "who asked has left its place")
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


HOLD = b"POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
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
        held = [stack.enter_context(begin(server.port, HOLD)) for _ in range(2)]
        until(lambda: server.in_flight() == 2, 20, "both threads are held")
        split = stack.enter_context(begin(server.port, POST[:2]))
        time.sleep(0.2)  # let it be looked at
        split.sendall(POST[2:] + b"x")
        assert ask(server.port, "GET", "/")[2] == b"side"
        server.open.touch()
        assert [answer(client) for client in (*held, split)] == [b"main"] * 3


def test_who_is_told_to_end_at_once_answers_first(server: Server) -> None:
    """As Ctrl-C does: what a thread is at is not dropped."""
    with begin(server.port, HOLD) as client:
        until(lambda: server.connections() == 2, 20, "it is connected")
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        server.open.touch()
        assert answer(client) == b"main"


def test_a_silent_connection_does_not_hold_a_stop(server: Server) -> None:
    """It may speak for as long as a kept one, not until the time for the stop is over."""
    with begin(server.port, b""):
        until(lambda: server.connections() == 2, 20, "it is connected")
        server.process.terminate()
        server.process.wait(20)


@pytest.mark.attack("slow senders")
def test_a_stop_answers_who_waits_to_be_accepted(server: Server) -> None:
    """A client that has connected does not know that nobody has accepted it: it is answered, not reset."""
    (worker,) = children(server.process.pid)
    os.kill(worker, signal.SIGSTOP)
    with ExitStack() as stack:
        waiting = [stack.enter_context(begin(server.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) for _ in range(8)]
        server.process.terminate()
        until(lambda: is_pending(worker, signal.SIGTERM), 20, "the master tells the worker to stop")
        os.kill(worker, signal.SIGCONT)
        assert {answer(client) for client in waiting} <= {b"main", b"side"}  # and each is answered, with 200
    assert server.process.wait(20) == 0


def is_pending(pid: int, sent: signal.Signals) -> bool:
    """Whether a process that is stopped has not yet received a signal."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines() if line.startswith("ShdPnd:")
    )
    return bool(int(line.split()[1], 16) & 1 << sent - 1)


def test_a_worker_that_stops_refuses_connections(server: Server) -> None:
    """While it finishes an answer: whoever is refused asks another replica."""
    with begin(server.port, b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n") as held:
        until(lambda: server.in_flight() == 1, 20, "it is at work")
        server.process.terminate()

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=30).close()
            except ConnectionRefusedError:
                return True
            return False

        until(refused, 20, "connections are refused")
        server.open.touch()
        assert answer(held) == b"main"
    assert server.process.wait(20) == 0


def test_the_slowest_connection_goes_when_there_are_too_many(server: Server) -> None:
    """Whoever opens more connections than a worker has does not keep others out."""
    with ExitStack() as stack:
        for _ in range(2 * 30):
            stack.enter_context(begin(server.port, POST[:9]))
        for _ in range(5):
            assert ask(server.port, "GET", "/")[2] in (b"main", b"side")
        assert server.connections() <= 30


def test_a_stop_lets_the_body_of_a_request_arrive(server: Server) -> None:
    """A worker that is stopping answers a request that has begun."""
    with begin(server.port, POST) as client:
        until(lambda: server.connections() == 2, 20, "it is connected")
        server.process.terminate()
        time.sleep(0.3)
        client.sendall(b"x")
        assert answer(client) == b"main"
    server.process.wait(20)


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Whatever their bodies are, and wherever the packets are split."""
    chunked = b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    sent = POST + b"x" + chunked + b"GET /count HTTP/1.1\r\nHost: x\r\n\r\n" + POST + b"y"
    for step in (1, 7, len(sent)):
        with begin(server.port, b"") as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(sent), step):
                client.sendall(sent[at : at + step])
            with client.makefile("rb") as file:
                found = [read_chunked(file) for _ in range(4)]
            assert found[0] == found[3] == b"main"
            assert all(body.isdigit() for body in found[1:3])


def read_chunked(file: BinaryIO) -> bytes:
    """The next answer of a connection: our application gives no lengths."""
    assert file.readline().split()[1] == b"200"
    while file.readline() != b"\r\n":
        pass
    body = b""
    while size := int(file.readline(), 16):
        body += file.read(size)
        file.readline()
    file.readline()
    return body


def test_a_body_is_invited_once(server: Server) -> None:
    """``Expect: 100-continue`` is answered when the body is missing, and the answer follows the body."""
    head = POST.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
    with begin(server.port, head) as client, client.makefile("rb") as file:
        assert (file.readline(), file.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        client.sendall(b"x")
        assert read_chunked(file) == b"main"
    with begin(server.port, head + b"x") as client, client.makefile("rb") as file:
        assert read_chunked(file) == b"main"


def test_what_is_beyond_the_queue_is_refused_and_others_are_not(server: Server) -> None:
    """Four are at work or wait; a fifth is refused at once, by the threads that also answer probes."""
    with ExitStack() as stack:
        held = [stack.enter_context(begin(server.port, HOLD)) for _ in range(4)]
        until(lambda: server.in_flight() == 4, 20, "two are held, and two wait")
        assert ask(server.port, "POST", "/", b"x")[2] == b"shed"
        assert ask(server.port, "GET", "/")[2] == b"side"
        server.open.touch()
        assert [answer(client) for client in held] == [b"main"] * 4
        until(lambda: server.in_flight() == 0, 20, "they are counted no more")
        assert ask(server.port, "POST", "/", b"x")[2] == b"main"


def test_what_is_no_prediction_takes_no_place_of_one(server: Server) -> None:
    """Two probes hold both threads; four predictions wait, and only a fifth is refused."""
    with ExitStack() as stack:
        probes = [stack.enter_context(begin(server.port, HOLD.replace(b"POST", b"GET"))) for _ in range(2)]
        until(lambda: server.in_flight() == 2, 20, "both threads are held")
        held = [stack.enter_context(begin(server.port, HOLD)) for _ in range(4)]
        until(lambda: server.in_flight() == 6, 20, "four wait")
        assert ask(server.port, "POST", "/", b"x")[2] == b"shed"
        server.open.touch()
        assert [answer(client) for client in probes + held] == [b"main"] * 6


def test_a_head_has_no_body_and_the_connection_is_kept(server: Server) -> None:
    """``HEAD`` of a large answer too."""
    with begin(server.port, b"HEAD /large HTTP/1.1\r\nHost: x\r\n\r\n" + POST + b"x") as client:
        with client.makefile("rb") as file:
            while file.readline() != b"\r\n":
                pass
            assert read_chunked(file) == b"main"


def vanish(client: socket.socket) -> None:
    """Reset a connection."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.attack("vanishing clients")
def test_who_vanishes_takes_nobody_along(server: Server) -> None:
    """Whatever a client was at, its worker lives on and forgets it."""
    workers = children(server.process.pid)
    expects = POST.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
    for sent in (b"", POST[:9], POST, expects, POST + b"x", b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"):
        for wait in (0.0, 0.05):
            client = begin(server.port, sent)
            time.sleep(wait)
            vanish(client)
    until(lambda: server.connections() == 1, 20, "all are forgotten")
    assert children(server.process.pid) == workers


@pytest.mark.attack("vanishing clients")
@pytest.mark.parametrize("server", [12], indirect=True)
def test_a_worker_without_files_ends_its_slowest_connection(server: Server) -> None:
    """It cannot accept another one before."""
    workers = children(server.process.pid)
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(begin(server.port, POST[:9]))
        for _ in range(5):
            assert ask(server.port, "GET", "/")[2] in (b"main", b"side")
        assert children(server.process.pid) == workers


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_who_reads(server: Server, how: signal.Signals) -> None:
    """An answer that is made, but not yet read, is not dropped; a probe and an idle connection do not hold the stop."""
    with ExitStack() as stack:
        stack.enter_context(begin(server.port, b""))
        client = stack.enter_context(begin(server.port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"))
        until(lambda: client.recv(1, socket.MSG_PEEK), 20, "it has begun")
        until(lambda: ask(server.port, "GET", "/")[2] == b"main", 20, "others are answered")
        server.process.send_signal(how)
        time.sleep(0.5)
        assert len(answer(client)) == 8_000_000
    assert server.process.wait(20) == 0
