"""Collects requests from bytes as they arrive, without waiting: the head, then the body.

gunicorn's own parser reads heads and chunks, and it decides where a request ends. It reads from memory only. This module decides
*when* a request is complete. Where the two disagree, the parser meets the end of its input, which is an error of the request.
"""

from __future__ import annotations

from collections import deque
from io import BytesIO
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

HEAD_BYTES = 1 << 16  # the largest head
LINE_BYTES = 8190  # the longest request line, as gunicorn has it; also of a chunk
SMALL = 1 << 16  # bytes of a body that is collected without asking for room
OVERHEAD = 1 << 20  # bytes that chunks may take in addition to what they hold, and once more what they hold
PIECE = LINE_BYTES  # the parser copies what it holds with every chunk, so it is given little at a time


class RequestCollector:
    """Collects the requests of one connection, one at a time.

    ``request`` is gunicorn's, once the head is complete; ``error`` is why there is none. ``received`` counts the bytes of the
    body, ``expected`` says how many there must be (None for chunks).
    """

    def __init__(self, cfg: Any, peer: Any, max_body: int) -> None:
        self.cfg = cfg
        self.peer = peer
        self.max_body = max_body
        self.unreader = CollectedInput()
        self.number = 0
        self.head = bytearray()
        self._begin()

    def _begin(self) -> None:
        self.request: Any = None
        self.error: Exception | None = None
        self.expected: int | None = 0
        self.received = 0
        self._body = BytesIO()  # one block that grows: parts side by side would leave as much free memory in the heap
        self._chunks: ChunkScanner | None = None

    @property
    def begun(self) -> bool:
        """Whether a part of a request has arrived."""
        return bool(self.head) or self.request is not None

    @property
    def held(self) -> int:
        """The bytes of a request that is not complete."""
        return len(self.head) + self.received

    @property
    def room(self) -> int:
        """The bytes for which this body must ask before more of it is collected."""
        if self.received < SMALL or self.request is None:
            return 0
        return self.max_body if self.expected is None else self.expected

    @property
    def oversized(self) -> bool:
        """Whether the body is larger than any that is collected."""
        return (self._chunks.held if self._chunks else self.expected or 0) > self.max_body

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; returns True when there is a request, or an error, to be answered."""
        if self.request is not None:
            return self._take_body(data)
        head = self.head
        searched = max(len(head) - 3, 0)
        head += data
        if head.find(b"\r\n\r\n", searched) < 0 and not _hopeless(head):
            return False
        self.head = bytearray()
        self.unreader.pieces.append(bytes(head))
        self.number += 1
        try:
            self.request = Request(self.cfg, self.unreader, self.peer, self.number)
        except Exception as error:  # gunicorn has one for each way in which a head can be wrong
            self.error = LimitRequestHeaders("head") if len(head) > HEAD_BYTES else error
            return True
        return self._take_head()

    def next(self) -> bool:
        """Go on to the request after the one that was answered; returns True when it has arrived already."""
        self._begin()
        ahead = self.unreader.take_all()
        return bool(ahead) and self.feed(ahead)

    def late(self) -> None:
        """Let the request be answered although its body is not complete: reading it raises :class:`TimeoutError`."""
        self.request.force_close()
        self.request.body = RefusedBody(TimeoutError)

    def cut(self) -> bool:
        """Take the end of the input; returns True when there is a request that can be told of it."""
        if self.request is None:
            return False
        self.request.force_close()
        self._complete()
        return True

    def finish(self) -> bool:
        """Skip what the application has not read of a body; returns False when nobody knows where the next request begins."""
        if self._chunks is None:
            return True
        body = self.request.body
        try:
            while body.read(SMALL):
                pass
        except Exception:  # gunicorn has one for each way in which chunks can be wrong
            return False
        return not body.failed

    def _take_head(self) -> bool:
        request = self.request
        reader = request.body.reader
        rest = self.unreader.take_all()
        if isinstance(reader, ChunkedReader):
            self.expected = None
            self._chunks = ChunkScanner(self.max_body)
        else:
            self.expected = reader.length
            if self.oversized:
                return self._complete()
        return self._take_body(rest)

    def _take_body(self, data: bytes) -> bool:
        if self._chunks is not None:
            self.received += len(data)
            if data:  # nothing would be the end
                self.unreader.pieces.append(data)
            return self._chunks.feed(data) and self._complete()
        missing = (self.expected or 0) - self.received
        if len(data) > missing:
            self.unreader.unread(data[missing:])
            data = data[:missing]
        if self.received:
            self._body.seek(self.received)
            self._body.write(data)
        else:
            self._body = BytesIO(data)  # no copy
        self.received += len(data)
        return self.received == self.expected and self._complete()

    def _complete(self) -> bool:
        if self.oversized:
            self.request.force_close()
            self.request.body = RefusedBody(OverflowError)
        elif self._chunks is None:
            self.request.body = BytesIO(self._body.getvalue())  # no copy: reading the whole gives this very object
            self._body = BytesIO()
        return True


class CollectedInput(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """What the parser reads from. It ends where that ends which has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: deque[bytes] = deque()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes; the parser hints at the size of a chunk."""
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        size = max(size_hint or 0, PIECE)
        if len(piece) > size:
            self.pieces.appendleft(piece[size:])
            return piece[:size]
        return piece

    def take_all(self) -> bytes:
        """Remove and return all that was not read."""
        ahead = b"".join([self.take_buffered(), *self.pieces])
        self.pieces.clear()
        return ahead


class ChunkScanner:
    """Finds the end of a chunked body without keeping it. An error or too large a body is an end too: the parser will see it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0  # bytes of chunks that have arrived
        self._taken = 0
        self._skip = 0
        self._line = b""
        self._trailers = False

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; returns True when the body has ended."""
        self._taken += len(data)
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self.held += max(min(step, self._skip - 2), 0)  # a chunk ends with two bytes that it does not hold
                self._skip -= step
                at += step
                if self.held > self.most:
                    return True
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            at = end or len(data)
            if end and self._ends(self._line):
                return True
            if end:
                self._line = b""
            elif len(self._line) > 2 * LINE_BYTES:
                return True
        return self._taken > 2 * self.held + OVERHEAD

    def _ends(self, line: bytes) -> bool:
        if not line.endswith(b"\r\n"):
            return True
        if self._trailers:
            return line == b"\r\n"
        size = line.split(b";", 1)[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            return True
        length = int(size, 16)
        self._trailers = not length
        self._skip = length + 2 if length else 0
        return False


class RefusedBody:
    """A body that was not collected: whoever reads it gets ``error``."""

    failed = True

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def read(self, *_: Any) -> bytes:
        """Raise the error."""
        raise self.error

    readline = readlines = __iter__ = read


def _hopeless(head: bytearray) -> bool:
    """Whether the parser would refuse a head, whatever follows."""
    if len(head) > HEAD_BYTES or head.count(b"\n") != head.count(b"\r\n"):
        return True
    return len(head) > LINE_BYTES + 4 and head.find(b"\r\n", 2, LINE_BYTES + 4) < 0
