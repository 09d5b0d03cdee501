"""gunicorn's threaded worker with two thread pools: predictions under load do not delay any other request.

A thread gets a request only when all of it has arrived, and it never waits for the client to read: the main thread does both
(:mod:`services.predict.server.connections`), so slow clients take no thread.

Predictions use the main pool: ``threads`` threads, and a queue that ends at ``MAX_IN_FLIGHT``. When these threads are busy, a
request other than POST goes to the side pool, which answers it at once. A POST waits for the main pool; when the queue is full,
the side pool refuses it (see :mod:`services.web.middleware`).

Threads mostly wait for the interpreter, and each system call releases it. The worker therefore makes few system calls:
an answer is one write. ``docs/decisions/013`` has the measurements.

The worker overrides only public methods of :class:`gunicorn.workers.gthread.ThreadWorker`, but it relies on how that class calls
them. 27.0.1 is the locked release. ``docs/decisions/013`` lists the releases that were tried. ``docs/decisions/015`` compares the
worker with gunicorn's own workers, waitress and granian.
"""

from __future__ import annotations

import errno
import resource
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.workers.gthread import ThreadWorker

from services.predict.server.accept_balancer import AcceptDelay, ConnectionCounts
from services.predict.server.answers import BufferedSocket
from services.predict.server.connections import Connection, Connections
from services.predict.server.request_collector import RefusedBody
from services.web.malformed_requests import ProblemErrors

SIDE_THREADS = 2
NOTIFY = 0.5  # seconds between two heartbeats for the master
QUIT = 5.0  # seconds that answers have to finish when the worker must end at once
OWN_FILES = 256  # descriptors that are not connections
NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EHOSTUNREACH)
LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)  # errors of accept that are not the new connection's
_here = threading.local()


def in_side_pool() -> bool:
    """Return True in a thread of the side pool."""
    return getattr(_here, "side", False)


def shedding() -> bool:
    """Return True in the thread of a request that must be refused: too many are waiting."""
    return getattr(_here, "shed", False)


class TwoPoolWorker(Connections, ProblemErrors, ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
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
        self.predictions = 0  # of these
        self._notified = self._quit_at = 0.0
        self._delay = AcceptDelay()
        self.worker_connections = min(self.worker_connections, most_connections())
        self.init_connections()
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
        if not self.alive:
            self.stop_listening()
            self.stop_idle()

    def stop_listening(self) -> None:
        """Take the connections that wait to be accepted, then close the listener, so that the system refuses later ones.

        gunicorn leaves its listener open until the worker ends, which resets all that has connected meanwhile.
        """
        listeners: list[Any] = self.sockets
        for listener in listeners:
            with suppress(OSError):  # no more are waiting
                for _ in range(self.cfg.backlog):
                    sock, client = listener.accept()
                    self.begin(sock, client, listener.getsockname())
            listener.close()
        listeners.clear()

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless a worker with fewer connections is accepting."""
        counts = self.counts
        if self.connections > counts.least() and self._delay.wait(counts.sum_below(self.age)):
            return
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in NO_MORE:
                if not self.end_slowest("connections"):
                    time.sleep(0.01)  # the threads may end some
            elif error.errno in LISTENER:
                raise
        else:
            self.begin(sock, client, listener.getsockname())

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Serve what the poller reports; a worker that is stopping looks at the deadlines more often."""
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, 0.1))
        if self._quit_at:
            self.end_unanswered()
            if time.monotonic() > self._quit_at:
                raise SystemExit(0)

    def murder_pending(self) -> None:
        """End connections that are too slow. gunicorn calls it after each round of the poller."""
        self.sweep()

    def dispatch(self, conn: Connection, shed: bool = False) -> None:
        """Put a request into the queue of a pool."""
        pool = self.tpool
        request = conn.collector.request
        conn.predicts = request is not None and request.method == "POST" and not isinstance(request.body, RefusedBody)
        if shed or self.in_flight >= self.cfg.threads:
            shed = shed or (conn.predicts and self.predictions >= self.max_in_flight)
            if shed or not conn.predicts:
                pool = self.side
        conn.shed = shed
        self._count(pool, conn, 1)
        pool.queue.put(conn)

    def _count(self, pool: ThreadPool, conn: Connection, by: int) -> None:
        if pool is self.tpool:
            self.in_flight += by
            self.predictions += by if conn.predicts else 0

    def handle(self, conn: Connection) -> bool:
        """Answer the request of a connection, in a thread of a pool; returns True when the connection is kept."""
        collector = conn.collector
        request = collector.request
        conn.answer = sock = BufferedSocket(conn.sock, request, self.unsent)
        try:
            if collector.error is not None:
                raise collector.error
            kept = self.handle_request(request, SimpleNamespace(sock=sock, client=conn.client, server=conn.server))
            sock.flush()
            return kept and collector.finish()
        except (NoMoreData, StopIteration):
            pass  # gunicorn has logged why the answer ended
        except OSError as error:
            if error.errno not in GONE:
                self.log.exception("an answer is given up")
            sock.drop()
        except Exception as error:
            with suppress(OSError):
                self.handle_error(request, sock, conn.client, error)
                sock.flush()
        return False

    def finished(self, pool: ThreadPool, conn: Connection, kept: bool) -> None:
        """Take a connection back from a pool. The main thread calls it."""
        self._count(pool, conn, -1)
        self.give_back(conn, kept)

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """End within :data:`QUIT` seconds: finish the answers that have begun, and wait for no request."""
        if not self._quit_at:
            self._quit_at = time.monotonic() + QUIT
            self.cfg.worker_int(self)
            self.handle_exit(sig, frame)


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

    def shutdown(self, wait: bool = False) -> None:  # noqa: ARG002
        """End each thread when the queue is empty. gunicorn calls it without ``wait``."""
        for _ in self.threads:
            self.queue.put(None)

    def _run(self) -> None:
        _here.side = self.name == "side"
        worker = self.worker
        while (conn := self.queue.get()) is not None:
            _here.shed = conn.shed
            try:
                kept = worker.handle(conn)
            except BaseException:  # gunicorn has handled what it expects
                worker.log.exception("a connection is given up")
                kept = False
            worker.method_queue.defer(worker.finished, self, conn, kept)


def most_connections() -> int:
    """Let this process open as many files as it may; returns how many of them can be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(soft - OWN_FILES, soft // 2) if soft != resource.RLIM_INFINITY else 1 << 20
