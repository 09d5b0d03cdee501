"""A load generator that costs little: keep-alive connections on one epoll, bytes in, bytes out.

Each connection sends the same prepared request as soon as its answer has come (closed loop). Only loopback is ever a target.
"""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Round:
    """One round of load: requests per second, latencies in seconds (sorted), and answers that were not 200."""

    rate: float
    latencies: list[float]
    failed: int

    def percentile(self, share: float) -> float:
        """The latency that ``share`` of the requests did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Client:
    """One kept connection. ``parts``, put together, are what has come of the answer; ``closes`` says that it is the last.

    ``timeout`` is in seconds, for each wait for the server. One that does not keep answers only counts their bytes.
    """

    def __init__(self, port: int, request: bytes, timeout: float | None = None, keeps: bool = True) -> None:
        self.port = port
        self.keeps = keeps
        self.place = memoryview(bytearray(1 << 20))  # a new one for each wait would cost as much as receiving
        self.timeout = timeout
        self.request = request
        self.parts: list[bytes] = []
        self.missing = -1  # bytes of its body, or of its chunk; negative until the head is complete
        self.chunked = False
        self.status = 0
        self.closes = False
        self.sent = 0.0
        self.connect()

    def connect(self) -> None:
        """Open the connection."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reconnect(self) -> None:
        """Open another connection in place of this one."""
        self.close()
        self.connect()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def send(self) -> None:
        """Send the request."""
        self.parts, self.missing = [], -1
        self.sent = time.perf_counter()
        self.socket.sendall(self.request)

    def receive(self) -> int | None:
        """The status once the whole answer is here. Only its head is looked at, once; what follows is counted, however long."""
        count = self.socket.recv_into(self.place)
        if not count:
            raise ConnectionError("the server closed a kept connection")
        if self.keeps or self.missing < 0 or self.chunked:
            self.parts.append(bytes(self.place[:count]))
        if self.missing < 0:
            begun = b"".join(self.parts)
            end = begun.find(b"\r\n\r\n") + 4
            if end < 4:
                return None
            head, count = begun[:end].lower(), len(begun) - end
            self.status = int(head[9:12])
            self.closes = b"\r\nconnection: close" in head
            self.chunked = b"\r\ntransfer-encoding: chunked" in head
            if self.chunked:
                self.missing, self.parts = 0, [begun[end:]]
            else:
                at = head.index(b"content-length:") + 15
                self.missing = int(head[at : head.index(b"\r\n", at)])
        if self.chunked:
            return self.status if self._last_chunk() else None
        self.missing -= count
        return None if self.missing > 0 else self.status

    def _last_chunk(self) -> bool:
        """Whether the last chunk has come whole. ``parts`` keeps the bytes from the next size on, ``missing`` those before it."""
        content, place = b"".join(self.parts), self.missing
        while (end := content.find(b"\r\n", place)) >= 0:
            size = int(content[place:end], 16)
            after = end + size + 4
            if not size:
                if after <= len(content):
                    return True
                break
            place = after
        self.missing, self.parts = max(0, place - len(content)), [content[place:]]
        return False

    def ask(self) -> int:
        """Send the request, wait for the whole answer, and return its status."""
        self.send()
        while (status := self.receive()) is None:
            pass
        return status


def post(body: bytes, path: str = "/predict", kind: str = "application/json") -> bytes:
    """A prepared HTTP/1.1 request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def run(port: int, request: bytes, seconds: float, connections: int = 8, reopen: bool = False) -> Round:
    """Ask without pause for ``seconds``; raises :class:`ConnectionError` where the server hangs up.

    With ``reopen``, an answer may say that it is the last of its connection. The next request then opens another, which counts.

    Each connection is opened, and has had an answer, before the next is: opened at once, all of them often land in the queue of
    one worker, which would measure that.
    """
    latencies: list[float] = []
    failed = 0
    with ExitStack() as stack:
        clients = []
        for _ in range(connections):
            client = Client(port, request, keeps=False)
            stack.callback(client.close)
            client.ask()
            clients.append(client)
        selector = stack.enter_context(selectors.DefaultSelector())
        began = time.perf_counter()
        for client in clients:
            if reopen and client.closes:
                client.reconnect()
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        while (now := time.perf_counter()) - began < seconds:
            for key, _ in selector.select(1.0):
                client = key.data
                status = client.receive()
                if status is None:
                    continue
                now = time.perf_counter()
                latencies.append(now - client.sent)
                failed += status != 200
                if reopen and client.closes:
                    selector.unregister(client.socket)
                    client.reconnect()
                    selector.register(client.socket, selectors.EVENT_READ, client)
                client.send()
        took = now - began
    return Round(len(latencies) / took, sorted(latencies), failed)
