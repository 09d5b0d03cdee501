"""Healthy requests while a server is under pressure, as by slow clients: how many are answered in time, and how soon."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass

from benchmarks import footprint
from benchmarks.load.closed_loop import Client
from benchmarks.servers.application import STREAMED, WHOLE

OWED = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 40000\r\n\r\n"
KINDS = {
    "a head that never ends": "POST /predict HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "a body that never comes": "POST /predict HTTP/1.1\r\n" + OWED,
    "a 404 whose body is owed": "POST /nothing/here HTTP/1.1\r\n" + OWED,
    "a 6 MB answer, whole, not read": f"GET {WHOLE} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a 6 MB answer, streamed, not read": f"GET {STREAMED} HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
RATE = 40  # healthy requests a second, each on a connection of its own
IN_TIME = 2.0  # seconds
SETTLE = 0.5  # seconds between the last slow client, or the first busy one, and the first healthy request


@dataclass(frozen=True, slots=True)
class Healthy:
    """How many healthy requests there were, the seconds of those answered in time (sorted), and the server's megabytes."""

    asked: int
    answered: list[float]
    megabytes: float

    @property
    def share(self) -> float:
        """Answered in time, of all."""
        return len(self.answered) / self.asked

    @property
    def p99(self) -> float | None:
        """Seconds that 99 % of all requests did not exceed; None where fewer were answered in time."""
        at = int(0.99 * (self.asked - 1))
        return self.answered[at] if at < len(self.answered) else None


@contextmanager
def slow(port: int, sent: str, many: int = 200) -> Iterator[None]:
    """While entered, ``many`` connections have sent this, read nothing, and have little room for an answer."""
    with ExitStack() as stack:
        for _ in range(many):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(5)
            with suppress(OSError):  # a server may end it at once, or have no more room
                client.connect(("127.0.0.1", port))
                client.sendall(sent.encode())
        yield


def ask_once(port: int, request: bytes, due: float) -> float | None:
    """One request at ``due`` (of ``time.monotonic``); seconds until the whole answer, None where it failed or came too late."""
    time.sleep(max(0.0, due - time.monotonic()))
    try:
        client = Client(port, request, timeout=IN_TIME)
        try:
            status = client.ask()
        finally:
            client.close()
    except (OSError, ValueError):
        return None
    took = time.monotonic() - due
    return took if status == 200 and took <= IN_TIME else None


def measure(port: int, pid: int, request: bytes, seconds: float, pressure: AbstractContextManager[object]) -> Healthy:
    """Ask at :data:`RATE` for ``seconds`` while ``pressure`` is entered; ``pid`` is the server's first process."""
    asked = max(int(seconds * RATE), 1)
    with pressure, ThreadPoolExecutor(int(IN_TIME * RATE) + 16) as threads:
        time.sleep(SETTLE)
        began = time.monotonic()
        took = [threads.submit(ask_once, port, request, began + number / RATE) for number in range(asked)]
        answered = sorted(found for each in took if (found := each.result()) is not None)
        megabytes = footprint.proportional_set_size(pid) / 1e6
    return Healthy(asked, answered, megabytes)
