"""gunicorn's threaded worker with two lanes, so that load on predictions is nobody else's load.

Predictions take the main lane: ``threads`` threads, and a queue that ends at ``MAX_IN_FLIGHT``. When its threads are busy, the
first bytes of a request decide: what is not a POST takes the side lane and is answered at once, whatever the predictions do; a
POST waits in the main lane, or, where that is full, takes the side lane to be refused (see :mod:`services.edge`). A
connection that has sent nothing yet takes no thread.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

SIDE_THREADS = 2
_here = threading.local()


def beside() -> bool:
    """True in a thread of the side lane."""
    return getattr(_here, "beside", False)


class Lanes(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """See the module. ``most`` is how many predictions may be at work or waiting."""

    most = 64

    def init_process(self) -> None:
        """Make the side lane, then run."""
        self.at_work = 0  # in the main lane; only the main thread counts
        self.side = ThreadPoolExecutor(SIDE_THREADS, "side", initializer=partial(setattr, _here, "beside", True))
        super().init_process()

    def run(self) -> None:
        """Until the worker is stopped and its connections are done."""
        super().run()
        self.side.shutdown(wait=False)

    def enqueue_req(self, conn: Any) -> None:
        """Put a connection that is readable, or new, into a lane."""
        fresh = not (conn.initialized or conn.data_ready)
        lane = self.tpool
        if fresh or self.at_work >= self.cfg.threads:
            method = _peek(conn)
            if method is None:
                self._wait(conn)
                return
            if self.at_work >= (self.most if method == b"POST" else self.cfg.threads):
                lane = self.side
        self.at_work += lane is self.tpool
        future = lane.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self._finish, lane, conn, done))

    def _finish(self, lane: ThreadPoolExecutor, conn: Any, done: Future[Any]) -> None:
        self.at_work -= lane is self.tpool
        self.finish_request(conn, done)

    def _wait(self, conn: Any) -> None:
        """Let the poller say when a new connection has sent something."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))


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
