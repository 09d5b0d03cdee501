"""Sends answers without waiting for the client: what it does not read at once is kept, and the poller sends it later.

A thread makes an answer as fast as it can. The kernel takes what it has room for. The rest stays in memory up to
:data:`IN_MEMORY` bytes, then in a file without a name, which nobody else can open and which ends with the process.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

LARGE = 1 << 16  # bytes; a body of this size is not copied to save a write
IN_MEMORY = 1 << 20  # bytes of one answer that are kept in memory
STEP = 1 << 18  # bytes that the poller sends at a time
MOST_IN_MEMORY = 64 << 20  # bytes of all answers of a worker in memory
MOST_IN_FILES = 512 << 20  # and in files


class UnsentBytes:
    """Counts what a worker keeps of unread answers. ``directory`` takes the files; without it all is kept in memory."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self.in_memory = self.in_files = 0
        self._lock = threading.Lock()

    def add(self, memory: int, files: int) -> None:
        """Count; raises :class:`ConnectionAbortedError` where it is twice what is allowed."""
        with self._lock:
            self.in_memory += memory
            self.in_files += files
        if self.in_memory > 2 * MOST_IN_MEMORY or self.in_files > 2 * MOST_IN_FILES:
            raise ConnectionAbortedError(errno.ECONNABORTED, "too much of other answers was not read")

    def remove(self, memory: int, files: int) -> None:
        """Count what was sent, or given up."""
        with self._lock:
            self.in_memory -= memory
            self.in_files -= files

    @property
    def too_many(self) -> bool:
        """Whether the slowest client must go."""
        return self.in_memory > MOST_IN_MEMORY or self.in_files > MOST_IN_FILES


class UnsentAnswer:
    """The part of an answer that its client has not read. Bytes leave in the order in which they came."""

    def __init__(self, total: UnsentBytes) -> None:
        self.total = total
        self.sent = 0
        self._memory: deque[memoryview] = deque()  # before the file
        self._held = 0
        self._file: Any = None
        self._read = self._written = 0
        self._after: deque[memoryview] = deque()  # after the file, where that took no more

    def add(self, data: bytes | memoryview) -> None:
        """Keep more."""
        rest = memoryview(data)
        if self._file is None and not self._after and (self._held + len(rest) <= IN_MEMORY or not self._open()):
            self._keep(self._memory, rest)
            return
        if not self._after:
            rest = self._write(rest)
        if rest:
            self._keep(self._after, rest)

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not self._memory and self._read == self._written and not self._after

    def send(self, sock: Any) -> None:
        """Send one step; raises :class:`BlockingIOError` where the socket takes nothing."""
        if self._memory:
            self._send_first(self._memory, sock)
        elif self._read < self._written:
            count = os.sendfile(sock.fileno(), self._file.fileno(), self._read, STEP)
            if not count:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the file of an answer was cut")
            self._read += count
            self.sent += count
        elif self._after:
            self._send_first(self._after, sock)

    def close(self) -> None:
        """Give up what is left."""
        self.total.remove(self._held, self._written)
        self._held = self._written = self._read = 0
        self._memory.clear()
        self._after.clear()
        if self._file is not None:
            self._file.close()

    def _write(self, data: memoryview) -> memoryview:
        """Write to the file; returns what it does not take: a disk may be full."""
        before = self._written
        with suppress(OSError):
            while data:
                written = os.write(self._file.fileno(), data)
                self._written += written
                data = data[written:]
        self.total.add(0, self._written - before)
        return data

    def _keep(self, where: deque[memoryview], data: memoryview) -> None:
        where.append(data)
        self._held += len(data)
        self.total.add(len(data), 0)

    def _send_first(self, where: deque[memoryview], sock: Any) -> None:
        first = where[0]
        count = sock.send(first[:STEP])
        self.sent += count
        self._held -= count
        self.total.remove(count, 0)
        if count == len(first):
            where.popleft()
        else:
            where[0] = first[count:]

    def _open(self) -> bool:
        if self.total.directory is None:
            return False
        try:
            self._file = tempfile.TemporaryFile(buffering=0, dir=self.total.directory)
        except OSError:
            return False
        return True


class BufferedSocket:
    """A non-blocking socket for the answer to ``request``; sends the head with the first part of the body: one packet, one
    system call.

    ``unsent`` is what the client has not read, or None; ``dropped`` says that the answer is given up.
    """

    def __init__(self, sock: Any, request: Any = None, total: UnsentBytes | None = None) -> None:
        self.unsent: UnsentAnswer | None = None
        self.dropped = False
        self._sock = sock
        self._request = request
        self._total = total
        self._head: bytes = b""
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """Send ``data``; the first ``data`` is held back for the next call, or for :meth:`flush`."""
        if not self._begun:
            self._begun, self._head = True, data
        elif self._head and len(data) < LARGE:
            head, self._head = self._head, b""
            self._send(head + data)
        else:
            self.flush()
            self._send(data)

    def end_after_answer(self) -> None:
        """Let the connection end with the answer, because nobody knows where the next request begins."""
        self._request.must_close = True

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file after the head."""
        file.seek(offset)
        data = file.read() if count is None else file.read(count)
        self.sendall(data)
        return len(data)

    def shutdown(self, _: int) -> None:
        """Send the head: an answer that fails after its start has started for the client too. The poller ends the connection."""
        with suppress(OSError):
            self.flush()

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: this socket never waits."""

    def recv(self, _: int) -> bytes:
        """Return nothing: the poller reads."""
        return b""

    def close(self) -> None:
        """Do nothing: the poller closes the connection."""

    def drop(self) -> None:
        """Give up what was not sent."""
        self.dropped = True
        self._head = b""
        if self.unsent is not None:
            self.unsent.close()
            self.unsent = None

    def flush(self) -> None:
        """Send what was held back."""
        if self._head:
            head, self._head = self._head, b""
            self._send(head)

    def _send(self, data: bytes) -> None:
        if (unsent := self.unsent) is None:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.unsent = UnsentAnswer(self._total or UnsentBytes())
                self.unsent.add(memoryview(data)[sent:])
            return
        unsent.add(data)
        with suppress(BlockingIOError):
            while not unsent.empty:
                unsent.send(self._sock)
            unsent.close()
            self.unsent = None
