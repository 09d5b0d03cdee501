"""The connections of a worker that no thread has: they send a request, read an answer, or do nothing.

The worker's main thread serves all of them with its poller and never waits for one. Each has a deadline, and their number is
bounded: when it is reached, the slowest goes first.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from enum import IntEnum
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from services.predict.server.answers import BufferedSocket, UnsentBytes
from services.predict.server.request_collector import RequestCollector
from services.web.malformed_requests import as_problem

RECEIVE = 1 << 16  # bytes that are read at a time of a head: each reading waits for the interpreter
RECEIVE_BODY = 1 << 18  # and of a body
EVEN = 2.0  # seconds after which a large body must arrive at an even pace
PATIENCE = 10.0  # seconds that an answer may wait for its client at first
LEAST_RATE = 1 << 16  # bytes a second that a client must read then
CLOSING = 2.0  # seconds that a client has to read its last answer
DISCARDED = 4  # times the largest body: what is beyond is not even taken to be thrown away
LINGER = 2.0  # seconds that a worker which is stopping waits for the first byte of a request
SWEEP = 0.25  # seconds between two looks at the deadlines
SLOW = 1.0  # seconds after which a connection may be ended in favour of another
COLLECTED = 64 << 20  # bytes that heads and small bodies which are not complete may take in a worker
RESET = struct.pack("ii", 1, 0)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(IntEnum):
    """What a connection does. Lower ones are ended first when there are too many."""

    CLOSING = 0  # its last answer is sent, it may still send
    HEAD = 1  # it is new, or has sent a part of a head
    WAITING = 2  # for room for its body
    BODY = 3
    IDLE = 4  # it was answered
    ANSWER = 5  # it has not read all of it
    AT_WORK = 6  # a pool has it
    CLOSED = 7


class Connection:
    """One connection. ``deadline`` and ``since`` are of the monotonic clock; ``since`` is when it came into its state."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, collector: RequestCollector) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.collector = collector
        self.answer: BufferedSocket | None = None
        self.state = State.CLOSED
        self.since = self.deadline = 0.0
        self.events = 0  # that the poller reports
        self.room = 0  # bytes that are kept for its body
        self.held = 0  # bytes of a request that is not complete
        self.predicts = False  # its request counts as a prediction: a POST whose body was collected
        self.shed = False  # its request is refused
        self.kept = False  # another request may follow the answer
        self.discarded = 0
        self.on_event: Any = None


class Connections:
    """For a gunicorn worker class, before gunicorn's own. Only the main thread calls it.

    ``ended(reason)`` is told of connections that were ended because they were slow.
    """

    head_seconds = 10.0
    body_seconds = 10.0
    answer_seconds = 300.0
    max_body = 16 << 20
    room = 4  # times the largest body: what large bodies may take at a time in a worker
    spool_directory: Any = None
    ended: Any = staticmethod(lambda _: None)

    cfg: Any
    poller: Any
    alive: bool
    nr_conns: int
    worker_connections: int
    log: Any

    def init_connections(self) -> None:
        """Begin with none."""
        self.waiting: dict[Connection, None] = {}  # those that no thread has
        self.unsent = UnsentBytes(self.spool_directory)
        self._free = self.room * self.max_body
        self._held = 0
        self._for_room: deque[Connection] = deque()
        self._swept = 0.0

    def dispatch(self, conn: Connection, shed: bool = False) -> None:
        """Give a request to a pool."""
        raise NotImplementedError

    def begin(self, sock: socket.socket, client: Any, server: Any) -> None:
        """Take a new connection."""
        sock.setblocking(False)
        conn = Connection(sock, client, server, RequestCollector(self.cfg, client, self.max_body))
        conn.on_event = partial(self._on_event, conn)
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self.end_slowest("connections")
        self._enter(conn, State.HEAD, self.head_seconds if self.alive else LINGER)
        self._do(self._receive, conn)

    def give_back(self, conn: Connection, kept: bool) -> None:
        """Take a connection back from a pool: send what is left of its answer, then wait for the next request or close."""
        conn.kept = kept
        self._do(self._take_back, conn)

    def _do(self, step: Any, conn: Connection) -> None:
        """Take a step; an error that nobody expects ends this connection, and no other."""
        try:
            step(conn)
        except Exception:
            self.log.exception("a connection is given up")
            self.close(conn, reset=True)

    def _take_back(self, conn: Connection) -> None:
        self._release(conn)
        if conn.answer is not None and conn.answer.dropped:
            self.close(conn, reset=True)
        elif conn.answer is not None and conn.answer.unsent is not None:
            self._enter(conn, State.ANSWER, min(PATIENCE, self.answer_seconds))
            self._watch(conn, EVENT_WRITE)
            if self.unsent.too_many:
                self.end_slowest("answer", State.ANSWER)
        else:
            self._answered(conn)

    def _answered(self, conn: Connection) -> None:
        conn.answer = None
        if not conn.kept:
            self._close_after_answer(conn)
        elif conn.collector.next():
            self._to_pool(conn)
        elif conn.collector.begun:
            self._enter(conn, State.HEAD, self.head_seconds)
            self._collect(conn)
        else:
            self._enter(conn, State.IDLE, self.cfg.keepalive if self.alive else LINGER)
            self._watch(conn, EVENT_READ)

    def _on_event(self, conn: Connection, _: Any) -> None:
        if not conn.events:  # it was closed after this event was reported
            return
        if conn.state == State.ANSWER:
            self._do(self._send, conn)
        elif conn.state == State.CLOSING:
            self._do(self._discard, conn)
        else:
            self._do(self._receive, conn)

    def _receive(self, conn: Connection) -> None:
        collector = conn.collector
        try:
            data = conn.sock.recv(RECEIVE if collector.request is None else RECEIVE_BODY)
        except BlockingIOError:
            self._watch(conn, EVENT_READ)
            return
        except OSError:
            self.close(conn)
            return
        if not data:
            if collector.cut():
                self._to_pool(conn)
            else:
                self.close(conn)
        elif collector.feed(data):
            self._to_pool(conn)
        else:
            self._collect(conn)

    def _collect(self, conn: Connection) -> None:
        """Go on with a request that is not complete."""
        collector = conn.collector
        if collector.request is None:
            if conn.state == State.IDLE:
                self._enter(conn, State.HEAD, self.head_seconds)
        elif conn.state != State.BODY:
            self._enter(conn, State.BODY, self.body_seconds)
            if collector.request._expected_100_continue and not self._invite(conn):
                return
        elif (size := collector.room) and not conn.room:
            if self._for_room or size > self._free:
                self._watch(conn, 0)
                self._enter(conn, State.WAITING, self.body_seconds)
                self._for_room.append(conn)
                self._hold(conn, collector.held)
                return
            self._grant(conn, size)
        if conn.room:
            share = collector.received / max(collector.expected or self.max_body, 1)
            conn.deadline = conn.since + min(self.body_seconds, EVEN + self.body_seconds * share)
        self._hold(conn, 0 if conn.room else collector.held)
        if conn.state != State.CLOSED:
            self._watch(conn, EVENT_READ)

    def _invite(self, conn: Connection) -> bool:
        """Ask for the body; False where the connection is lost. A client that has not read what it was sent is not asked."""
        conn.collector.request._expected_100_continue = False
        try:
            sent = conn.sock.send(CONTINUE)
        except BlockingIOError:
            return True
        except OSError:
            sent = 0
        if sent < len(CONTINUE):
            self.close(conn)
        return sent == len(CONTINUE)

    def _hold(self, conn: Connection, size: int) -> None:
        """Count what is kept of a request; where all take too much, the largest goes."""
        self._held += size - conn.held
        conn.held = size
        while self._held > COLLECTED:
            self.ended("connections")
            self.close(max(self.waiting, key=lambda other: other.held))

    def _grant(self, conn: Connection, size: int) -> None:
        self._free -= size
        conn.room = size

    def _release(self, conn: Connection) -> None:
        """Give the room of a body to those that wait for it."""
        if not conn.room:
            return
        self._free += conn.room
        conn.room = 0
        queue = self._for_room
        while queue and (queue[0].state != State.WAITING or queue[0].collector.room <= self._free):
            if (first := queue.popleft()).state == State.WAITING:
                self._grant(first, first.collector.room)
                self._enter(first, State.BODY, self.body_seconds)
                self._watch(first, EVENT_READ)

    def _to_pool(self, conn: Connection, shed: bool = False) -> None:
        self._watch(conn, 0)
        self.waiting.pop(conn, None)
        self._held -= conn.held
        conn.held = 0
        conn.state = State.AT_WORK
        if (request := conn.collector.request) is not None:
            request._expected_100_continue = False
        self.dispatch(conn, shed)

    def _send(self, conn: Connection) -> None:
        assert conn.answer is not None
        unsent = conn.answer.unsent
        assert unsent is not None
        try:
            unsent.send(conn.sock)
        except BlockingIOError:
            return
        except OSError:
            self.close(conn, reset=True)
            return
        if unsent.empty:
            unsent.close()
            self._answered(conn)
        else:
            conn.deadline = conn.since + min(self.answer_seconds, PATIENCE + unsent.sent / LEAST_RATE)

    def _close_after_answer(self, conn: Connection) -> None:
        """Close without losing the answer: a client that is still sending does not read it yet (RFC 9112, 9.6)."""
        owed = conn.collector.oversized
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(conn)
            return
        self._enter(conn, State.CLOSING, self.body_seconds if owed else CLOSING)
        self._discard(conn)

    def _discard(self, conn: Connection) -> None:
        try:
            data = conn.sock.recv(RECEIVE_BODY)
        except BlockingIOError:
            self._watch(conn, EVENT_READ)
            return
        except OSError:
            data = b""
        conn.discarded += len(data)
        if not data or conn.discarded > DISCARDED * self.max_body:
            self.close(conn)
        else:
            self._watch(conn, EVENT_READ)

    def _enter(self, conn: Connection, state: State, seconds: float) -> None:
        conn.state = state
        conn.since = time.monotonic()
        conn.deadline = conn.since + seconds
        self.waiting[conn] = None

    def _watch(self, conn: Connection, events: int) -> None:
        if events == conn.events:
            return
        if not conn.events:
            self.poller.register(conn.sock, events, conn.on_event)
        elif events:
            self.poller.modify(conn.sock, events, conn.on_event)
        else:
            self.poller.unregister(conn.sock)
        conn.events = events

    def close(self, conn: Connection, reset: bool = False) -> None:
        """End a connection at once; with ``reset``, drop what the kernel has not sent."""
        if conn.state == State.CLOSED:
            return
        conn.state = State.CLOSED
        self.waiting.pop(conn, None)
        self._watch(conn, 0)
        self._held -= conn.held
        self._release(conn)
        if conn.answer is not None:
            conn.answer.drop()
        self.nr_conns -= 1
        try:
            if reset:
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            conn.sock.close()
        except OSError:
            pass

    def sweep(self) -> None:
        """End what is over its deadline."""
        now = time.monotonic()
        if now - self._swept < SWEEP:
            return
        self._swept = now
        for conn in [conn for conn in self.waiting if conn.deadline <= now]:
            if conn in self.waiting:
                self._do(self._expire, conn)
        while self.unsent.too_many and self.end_slowest("answer", State.ANSWER):
            pass
        while self.nr_conns >= self.worker_connections and self.end_slowest("connections"):
            pass

    def _expire(self, conn: Connection) -> None:
        if conn.state == State.BODY:
            self.ended("body")
            conn.collector.late()
            self._to_pool(conn)
        elif conn.state == State.WAITING:
            conn.collector.late()
            self._to_pool(conn, shed=True)
        elif conn.state == State.HEAD and conn.collector.begun:
            self.ended("head")
            self._refuse(conn)
        else:
            if conn.state == State.ANSWER:
                self.ended("answer")
            self.close(conn, reset=conn.state == State.ANSWER)

    def _refuse(self, conn: Connection) -> None:
        """Say that the head came too late, if the socket takes it."""
        detail = f"The head did not arrive within {self.head_seconds:g} seconds."
        try:
            conn.sock.send(as_problem(b"HTTP/1.1 408 Request Timeout", 408, detail))
        except OSError:
            self.close(conn)
            return
        self._close_after_answer(conn)

    def end_slowest(self, reason: str, state: State | None = None) -> bool:
        """End the connection that comes first by its state, or is in ``state``, for longest; False if none is slow."""
        now = time.monotonic()
        slow = [conn for conn in self.waiting if now - conn.since > SLOW and state in (None, conn.state)]
        if not slow:
            return False
        self.ended(reason)
        first = min(slow, key=lambda conn: (conn.state, conn.since))
        self.close(first, reset=first.state == State.ANSWER)
        return True

    def stop_idle(self) -> None:
        """Let idle connections end soon."""
        deadline = time.monotonic() + LINGER
        for conn in self.waiting:
            if not conn.collector.begun and conn.state in (State.IDLE, State.HEAD):
                conn.deadline = min(conn.deadline, deadline)

    def end_unanswered(self) -> None:
        """End all connections to which no answer has begun."""
        for conn in list(self.waiting):
            if conn.state not in (State.ANSWER, State.CLOSING):
                self.close(conn)
