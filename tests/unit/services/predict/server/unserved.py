"""Connections to test with: a worker's main thread without a worker, and sockets that fail as systems do."""

from __future__ import annotations

import logging
import selectors
import socket
from pathlib import Path
from typing import Any

from gunicorn.config import Config

from services.predict.server import connections
from services.predict.server.answers import BufferedSocket
from services.predict.server.connections import Connection, Connections

MOST = 1_000_000  # bytes of the largest body


class Worker(Connections):
    """The main thread of a worker, with a clock that the test turns."""

    max_body = MOST
    room = 2
    worker_connections = 100
    alive = True

    def __init__(self, directory: Path) -> None:
        self.cfg = Config()
        self.log = logging.getLogger("test")
        self.poller = selectors.DefaultSelector()
        self.spool_directory = directory
        self.nr_conns = 0
        self.now = 1000.0
        self.reasons: list[str] = []
        self.ended = self.reasons.append
        self.work: list[tuple[Connection, bool]] = []
        self.sockets: list[socket.socket] = []
        self.init_connections()

    def dispatch(self, conn: Connection, shed: bool = False) -> None:
        """Note what a pool gets."""
        self.work.append((conn, shed))

    def connect(self, sent: bytes = b"", sock: Any = None) -> tuple[socket.socket, Connection]:
        """A client that has sent something, and its connection."""
        theirs, ours = socket.socketpair()
        theirs.settimeout(10)
        theirs.sendall(sent)
        self.sockets += theirs, ours
        self.begin(sock(ours) if sock else ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
        conn = self.last
        self.poll()
        return theirs, conn

    def _do(self, step: Any, conn: Connection) -> None:
        self.last = conn
        super()._do(step, conn)

    def poll(self) -> None:
        """Serve all that is there."""
        while events := self.poller.select(0):
            for key, _ in events:
                key.data(key.fileobj)

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.sweep()

    def answer(self, conn: Connection, *parts: bytes, kept: bool = False) -> None:
        """What a thread does."""
        conn.answer = BufferedSocket(conn.sock, conn.collector.request, self.unsent)
        try:
            for part in parts:
                conn.answer.sendall(part)
            conn.answer.flush()
        except ConnectionError:
            conn.answer.drop()
        self.give_back(conn, kept)

    def nothing_is_left(self) -> bool:
        """Whether all that was counted is given back."""
        total = self.unsent
        return (self.nr_conns, self._held, self._free, total.in_memory, total.in_files) == (
            (0, 0, self.room * self.max_body, 0, 0)
        ) and not self.waiting


class Failing:
    """A socket whose ``send`` fails as the system says."""

    error: type[BaseException] = BrokenPipeError

    def __init__(self, own: socket.socket) -> None:
        self.own = own

    def send(self, _: bytes) -> int:
        """Fail."""
        raise self.error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


class Odd(Failing):
    """One whose ``send`` has a bug."""

    error = RuntimeError


class Full(Failing):
    """One that takes nothing now."""

    error = BlockingIOError


class Noting(Failing):
    """One that works, and notes its options: they say whether its end is a reset."""

    def __init__(self, own: socket.socket) -> None:
        super().__init__(own)
        self.options: list[tuple[Any, ...]] = []

    def send(self, data: bytes) -> int:
        """Send."""
        return self.own.send(data)

    def setsockopt(self, *option: Any) -> None:
        """Note it."""
        self.options.append(option)

    @property
    def reset(self) -> bool:
        """Whether the client will not take what it has for a whole answer."""
        return (socket.SOL_SOCKET, socket.SO_LINGER, connections.RESET) in self.options
