"""gunicorn's threaded worker with two lanes, so that load on predictions is nobody else's load.

Predictions take the main lane: ``threads`` threads, and a queue that ends at ``MAX_IN_FLIGHT``. When its threads are busy, the
first bytes of a request decide: what is not a POST takes the side lane and is answered at once, whatever the predictions do; a
POST waits in the main lane, or, where that is full, takes the side lane to be refused (see :mod:`services.web.middleware`). A
connection that has sent nothing yet takes no thread.

Threads wait for the interpreter more than for anything else, so the way through a worker has few calls of the system, each of
which lets go of it: an answer is one write, and what gunicorn does for any kind of work is done here for one.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from selectors import EVENT_READ
from types import SimpleNamespace
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from services.predict.server.accept_balancer import Crowd, Manners

SIDE_THREADS = 2
NOTIFY = 0.5  # seconds between two signs of life for the master
QUIT = 5.0  # seconds that answers have to be done when the worker is told to end at once
LARGE = 1 << 16  # bytes of a body that are not copied to save a write
_here = threading.local()


def beside() -> bool:
    """True in a thread of the side lane."""
    return getattr(_here, "beside", False)


class Lanes(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """See the module. ``most`` is how many predictions may be at work or waiting."""

    _accepting = False

    most = 64
    crowd = Crowd()
    connections = 0

    @property
    def nr_conns(self) -> int:
        """gunicorn's count of this worker's connections, which the others see."""
        return self.connections

    @nr_conns.setter
    def nr_conns(self, number: int) -> None:
        self.connections = number
        self.crowd.tell(self.age, number if self._accepting else None)

    def init_process(self) -> None:
        """Make the side lane, then run."""
        self.at_work = 0  # in the main lane; only the main thread counts
        self._notified = 0.0
        self._manners = Manners()
        self.side = Lane(self, "side", SIDE_THREADS)
        super().init_process()

    def get_thread_pool(self) -> Lane:
        """The main lane."""
        return Lane(self, "main", self.cfg.threads)

    def run(self) -> None:
        """Until the worker is stopped and its connections are done."""
        super().run()
        self.side.shutdown()

    def notify(self) -> None:
        """Give a sign of life, not with every event."""
        now = time.monotonic()
        if now - self._notified > NOTIFY:
            self._notified = now
            super().notify()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections from now on, or no more."""
        super().set_accept_enabled(enabled)
        self.nr_conns = self.connections

    def accept(self, listener: Any) -> None:
        """Take a connection, unless another worker has fewer, and does."""
        crowd = self.crowd
        if self.connections <= crowd.fewest() or not self._manners.wait(crowd.fewer(self.age)):
            super().accept(listener)

    def enqueue_req(self, conn: Any) -> None:
        """Put a connection that is readable, or new, into a lane."""
        fresh = not (conn.initialized or conn.data_ready)
        lane = self.tpool
        if fresh or self.at_work >= self.cfg.threads:
            method = _peek(conn)
            if method is None:
                self._wait(conn)
                return
            begun = method and b"POST".startswith(method)  # a first packet may be shorter
            if self.at_work >= (self.most if begun else self.cfg.threads):
                lane = self.side
        self.at_work += lane is self.tpool
        lane.waiting.put(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer one request; True where the connection is kept."""
        sock = Joining(conn.sock)
        kept: bool = super().handle_request(req, SimpleNamespace(sock=sock, client=conn.client, server=conn.server))
        sock.flush()
        return kept

    def finished(self, lane: Lane, conn: Any, done: Done) -> None:
        """In the main thread, when a lane has answered."""
        self.at_work -= lane is self.tpool
        if conn.sock.fileno() < 0:  # gunicorn has closed it in the middle of an answer, and would count it twice
            self.nr_conns -= 1
        else:
            self.finish_request(conn, done)

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """End without waiting for anybody's next request, but with the answers that are being made."""
        for lane in (self.tpool, self.side):
            lane.shutdown(wait=True)
        super().handle_quit(sig, frame)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _wait(self, conn: Any) -> None:
        """Let the poller say when a new connection has sent something."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + (self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))


class Lane:
    """Threads that answer what waits, first come, first served; they stop no process from ending."""

    def __init__(self, worker: Lanes, name: str, threads: int) -> None:
        self.worker = worker
        self.name = name
        self.waiting: SimpleQueue[Any] = SimpleQueue()
        self.threads = [
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True) for number in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    def shutdown(self, wait: bool = False) -> None:
        """Let each thread end when nothing waits any more; ``wait`` for that, :data:`QUIT` at most."""
        for _ in self.threads:
            self.waiting.put(None)
        deadline = time.monotonic() + QUIT
        for thread in self.threads if wait else ():
            thread.join(max(deadline - time.monotonic(), 0))

    def _run(self) -> None:
        _here.beside = self.name == "side"
        worker = self.worker
        while (conn := self.waiting.get()) is not None:
            try:
                done = Done(worker.handle(conn))
            except BaseException:  # gunicorn has handled what it expects
                worker.log.exception("a connection is given up")
                done = Done(False)
            worker.method_queue.defer(worker.finished, self, conn, done)


class Done:
    """What gunicorn asks of the future of a finished request."""

    __slots__ = ("kept",)

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def cancelled(self) -> bool:
        """Never."""
        return False

    def result(self) -> Any:
        """What :meth:`ThreadWorker.handle` returned."""
        return self.kept


class Joining:
    """A socket for one answer, whose head leaves with the first of its body: one packet, and one call of the system."""

    __slots__ = ("_begun", "_head", "_sock")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._head = b""
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """Send ``data``, or, where it is the first, keep it for the next, or for :meth:`flush`."""
        if not self._begun:
            self._begun, self._head = True, data
        elif self._head and len(data) < LARGE:
            head, self._head = self._head, b""
            self._sock.sendall(head + data)
        else:
            self.flush()
            self._sock.sendall(data)

    def sendfile(self, *what: Any, **more: Any) -> Any:
        """As the socket does, after the head."""
        self.flush()
        return self._sock.sendfile(*what, **more)

    def shutdown(self, how: int) -> None:
        """As the socket does, after the head: an answer that fails after it began is begun all the same."""
        with suppress(OSError):
            self.flush()
        self._sock.shutdown(how)

    def flush(self) -> None:
        """Send what is kept."""
        if self._head:
            head, self._head = self._head, b""
            self._sock.sendall(head)


def _peek(conn: Any) -> bytes | None:
    """The first four bytes of the request, left where they are; None if nothing has come yet."""
    if conn.parser is not None and (ahead := conn.parser.unreader.buf.getvalue()):
        return bytes(ahead[:4])
    try:
        return conn.sock.recv(4, socket.MSG_PEEK | socket.MSG_DONTWAIT)  # type: ignore[no-any-return]
    except BlockingIOError:
        return None
    except OSError:
        return b""  # the connection is gone: a thread will find out
