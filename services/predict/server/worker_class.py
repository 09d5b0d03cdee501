"""gunicorn's threaded worker with two thread pools: predictions under load do not delay any other request.

Predictions use the main pool: ``threads`` threads, and a queue that ends at ``MAX_IN_FLIGHT``. When these threads are busy, the
first bytes of a request decide. A request other than POST goes to the side pool, which answers it at once. A POST waits for the
main pool; when the queue is full, the side pool refuses it (see :mod:`services.web.middleware`). A connection that has sent
nothing takes no thread.

Threads mostly wait for the interpreter, and each system call releases it. The worker therefore makes few system calls:
an answer is one write. ``docs/decisions/013`` has the measurements.

The worker overrides only public methods of :class:`gunicorn.workers.gthread.ThreadWorker`, but it relies on how that class calls
them, and on the attributes of its connections. 27.0.1 is the locked release. ``docs/decisions/013`` lists the releases that were
tried.
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

from gunicorn.workers.gthread import ThreadWorker

from services.predict.server.accept_balancer import AcceptDelay, ConnectionCounts
from services.web.malformed_requests import ProblemErrors

SIDE_THREADS = 2
NOTIFY = 0.5  # seconds between two heartbeats for the master
QUIT = 5.0  # seconds that answers have to finish when the worker must end at once
LINGER = 2.0  # seconds that a worker which is stopping waits for the first byte of a connection
LARGE = 1 << 16  # bytes; a body of this size is not copied to save a write
_here = threading.local()


def in_side_pool() -> bool:
    """Return True in a thread of the side pool."""
    return getattr(_here, "side", False)


class TwoPoolWorker(ProblemErrors, ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker class of the prediction API. ``max_in_flight`` bounds the predictions that are running or waiting."""

    max_in_flight = 64
    counts = ConnectionCounts()
    accepting = False
    connections = 0

    @property
    def nr_conns(self) -> int:
        """gunicorn's count of this worker's connections. The other workers see it."""
        return self.connections

    @nr_conns.setter
    def nr_conns(self, number: int) -> None:
        self.connections = number
        self.counts.publish(self.age, number if self.accepting else None)

    def init_process(self) -> None:
        """Make the side pool, then run."""
        self.in_flight = 0  # in the main pool; only the main thread counts
        self._notified = 0.0
        self._delay = AcceptDelay()
        self.side = ThreadPool(self, "side", SIDE_THREADS)
        self.log.access = lambda *_: (
            None
        )  # gunicorn would collect the facts of each request for a line that is not logged
        super().init_process()

    def get_thread_pool(self) -> ThreadPool:
        """Return the main pool."""
        return ThreadPool(self, "main", self.cfg.threads)

    def run(self) -> None:
        """Run until the worker is stopped and its connections are done."""
        super().run()
        self.side.shutdown()

    def notify(self) -> None:
        """Send a heartbeat to the master, but not with every event."""
        now = time.monotonic()
        if now - self._notified > NOTIFY:
            self._notified = now
            super().notify()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections. A silent connection does not hold up a worker that has stopped."""
        super().set_accept_enabled(enabled)
        self.accepting = enabled
        self.nr_conns = self.connections
        if not enabled:
            deadline = time.monotonic() + LINGER
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, deadline)

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless a worker with fewer connections is accepting."""
        counts = self.counts
        if self.connections <= counts.least() or not self._delay.wait(counts.sum_below(self.age)):
            super().accept(listener)

    def enqueue_req(self, conn: Any) -> None:
        """Put a new or readable connection into the queue of a pool."""
        fresh = not (conn.initialized or conn.data_ready)
        pool = self.tpool
        if fresh or self.in_flight >= self.cfg.threads:
            method = _peek(conn)
            if method is None:
                self._wait(conn)
                return
            is_post = method and b"POST".startswith(method)  # a first packet may be shorter
            if self.in_flight >= (self.max_in_flight if is_post else self.cfg.threads):
                pool = self.side
        self.in_flight += pool is self.tpool
        pool.queue.put(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer one request; returns True when the connection is kept."""
        sock = BufferedSocket(conn.sock, req)
        kept: bool = super().handle_request(req, SimpleNamespace(sock=sock, client=conn.client, server=conn.server))
        sock.flush()
        return kept

    def finished(self, pool: ThreadPool, conn: Any, result: FinishedRequest) -> None:
        """Take a connection back from a pool. The main thread calls it."""
        self.in_flight -= pool is self.tpool
        if conn.sock.fileno() < 0:  # gunicorn closed it during an answer that failed, and would count it twice
            self.nr_conns -= 1
        else:
            self.finish_request(conn, result)

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """End without waiting for another request, but finish the answers that have begun."""
        for pool in (self.tpool, self.side):
            pool.shutdown(wait=True)
        super().handle_quit(sig, frame)

    def _wait(self, conn: Any) -> None:
        """Let the poller report when a new connection has sent something."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + (self.cfg.keepalive if self.alive else LINGER)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))


class ThreadPool:
    """Threads that answer connections in the order of their arrival. They are daemons, so they do not keep a process alive."""

    def __init__(self, worker: TwoPoolWorker, name: str, threads: int) -> None:
        self.worker = worker
        self.name = name
        self.queue: SimpleQueue[Any] = SimpleQueue()
        self.threads = [
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True) for number in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    def shutdown(self, wait: bool = False) -> None:
        """End each thread when the queue is empty; with ``wait``, wait for that at most :data:`QUIT` seconds."""
        for _ in self.threads:
            self.queue.put(None)
        deadline = time.monotonic() + QUIT
        for thread in self.threads if wait else ():
            thread.join(max(deadline - time.monotonic(), 0))

    def _run(self) -> None:
        _here.side = self.name == "side"
        worker = self.worker
        while (conn := self.queue.get()) is not None:
            try:
                result = FinishedRequest(worker.handle(conn))
            except BaseException:  # gunicorn has handled what it expects
                worker.log.exception("a connection is given up")
                result = FinishedRequest(False)
            worker.method_queue.defer(worker.finished, self, conn, result)


class FinishedRequest:
    """The part of a future that gunicorn reads after a request."""

    __slots__ = ("kept",)

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def cancelled(self) -> bool:
        """Return False: a request is never cancelled."""
        return False

    def result(self) -> Any:
        """Return the result of :meth:`ThreadWorker.handle`."""
        return self.kept


class BufferedSocket:
    """A socket for the answer to ``request``; sends the head with the first part of the body: one packet, one system call."""

    __slots__ = ("_begun", "_head", "_request", "_sock")

    def __init__(self, sock: Any, request: Any = None) -> None:
        self._sock = sock
        self._request = request
        self._head = b""
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """Send ``data``; the first ``data`` is held back for the next call, or for :meth:`flush`."""
        if not self._begun:
            self._begun, self._head = True, data
        elif self._head and len(data) < LARGE:
            head, self._head = self._head, b""
            self._sock.sendall(head + data)
        else:
            self.flush()
            self._sock.sendall(data)

    def end_after_answer(self) -> None:
        """Let the connection end with the answer, because nobody knows where the next request begins."""
        self._request.must_close = True

    def sendfile(self, *what: Any, **more: Any) -> Any:
        """Send a file after the head."""
        self.flush()
        return self._sock.sendfile(*what, **more)

    def shutdown(self, how: int) -> None:
        """Send the head, then shut down: an answer that fails after its start has started for the client too."""
        with suppress(OSError):
            self.flush()
        self._sock.shutdown(how)

    def flush(self) -> None:
        """Send what was held back."""
        if self._head:
            head, self._head = self._head, b""
            self._sock.sendall(head)


def _peek(conn: Any) -> bytes | None:
    """Return the first four bytes of the request without consuming them; None if nothing has arrived yet."""
    if conn.parser is not None and (ahead := conn.parser.unreader.buf.getvalue()):
        return bytes(ahead[:4])
    try:
        return conn.sock.recv(4, socket.MSG_PEEK | socket.MSG_DONTWAIT)  # type: ignore[no-any-return]
    except BlockingIOError:
        return None
    except OSError:
        return b""  # the connection is gone: a thread will find out
