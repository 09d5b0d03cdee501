"""The HTTP client of the model service: which models are pinned, and their bytes. Nothing that the service says is trusted.

Every call is a request of its own; no answer stays open between two calls. Each answer has a limit in bytes, a deadline for
its headers, and one for the whole exchange, from connecting to its last byte. ``GET /pin`` is parsed strictly.

Both services may be upgraded in either order. The ``/pin`` of an older model service lacks the id of the challenger's pin: then
the SHA-256 is the id. The only difference: a refused challenger is not tried again when the same file is pinned again.
A challenger without a share is silent.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from modelbundle import instant
from modelbundle.format import statement
from modelbundle.format.allowance import GATES
from modelbundle.format.statement import CHALLENGER, CHAMPION
from services.predict.rollout.instant.clock import ServiceClock
from services.predict.rollout.protocol import PinnedVersion

CHUNK = 256 * 1024
MAX_PIN_BYTES = 16_384
MAX_REASON = 300  # characters of a reason that the model service gives
TIMEOUT = 5.0  # seconds to connect, and between two parts of an answer
PATHS = {CHAMPION: ("bundle", "statement"), CHALLENGER: ("challenger", "challenger/statement")}


class ModelClientError(Exception):
    """The model service gave no usable answer. The message says what happened. Another try may succeed."""


class NotPinned(ModelClientError):
    """The model service has no such model."""


@dataclass(frozen=True, slots=True)
class ServedPins:
    """What the model service serves. ``challenger`` is None where none is served; ``challenger_trouble`` says why not.

    Without a challenger and without trouble, no challenger is pinned.
    """

    champion: PinnedVersion
    challenger: PinnedVersion | None = None
    challenger_trouble: str = ""


class ModelClient:
    """A connection to one model service, for models in one role. It is not thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int,
        role: str = CHAMPION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self.max_bytes = max_bytes
        self.bundle_path, self.statement_path = PATHS[role]
        self.request_id = ""  # of the last request; the model service logs it too
        self.clock = ServiceClock()
        self._clock = clock
        self._session = requests.Session()
        self._session.mount(self.url, _Adapter())
        self._session.trust_env = False  # no proxy stands between the services, and no .netrc is read

    def poll(self, timeout: float) -> ServedPins:
        """The pins that are served now. Raises :class:`ModelClientError`."""
        body = bytearray()
        self._get("pin", body.extend, MAX_PIN_BYTES, timeout, timeout)
        try:
            page = _decoder.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise ModelClientError(f"the model service's /pin is not understood ({error})") from None
        champion = page.serving.version(page.id)
        other = page.challenger
        if other is None or (other.serving is None and other.pinned is None and other.why_not is None):
            return ServedPins(champion)
        if other.serving is None:
            return ServedPins(champion, None, f"it is not served: {other.why_not or 'it is being read'}"[:MAX_REASON])
        return ServedPins(champion, other.serving.version(other.id, other.serving.share))

    def fetch(self, pin: PinnedVersion, write: Callable[[bytes], object], seconds: float) -> None:
        """Pass the bytes of ``pin`` to ``write`` in chunks, within ``seconds`` in all and ``max_bytes``.

        Raises :class:`ModelClientError` unless all bytes came and hash to the pin, and :class:`OSError` where ``write`` does.
        """
        found = self._get(self.bundle_path, write, self.max_bytes, seconds, TIMEOUT, {"ETag": f'"{pin.sha256}"'})
        if found != pin.sha256:
            raise ModelClientError(f"the bytes received hash to {found}, not to the pin {pin.sha256}")

    def statement(self, pin: PinnedVersion) -> bytes | None:
        """The statement that goes with ``pin``; None where there is none. Raises :class:`ModelClientError`."""
        body = bytearray()
        expected = {} if pin.id == pin.sha256 else {"X-Pin-Id": pin.id}
        try:
            self._get(self.statement_path, body.extend, statement.MAX_BYTES, TIMEOUT, TIMEOUT, expected)
        except NotPinned:
            return None
        return bytes(body)

    def close(self) -> None:
        """Close the connection. The next call opens another one."""
        self._session.close()

    def _get(
        self,
        path: str,
        write: Callable[[bytes], object],
        max_bytes: int,
        seconds: float,
        timeout: float,
        expected: dict[str, str] | None = None,
    ) -> str:
        """Pass the body at ``path`` to ``write``, and return its SHA-256. ``expected`` are headers that the answer must have."""
        self.request_id = uuid.uuid4().hex
        headers = {"Accept-Encoding": "identity", "X-Request-Id": self.request_id}
        trouble, deadline = "the model service cannot be reached", _Deadline(seconds, self._clock)
        sent = time.monotonic()
        try:
            with (
                deadline,
                self._session.get(
                    f"{self.url}/{path}", headers=headers, timeout=timeout, stream=True, allow_redirects=False
                ) as response,
            ):
                self.clock.heard(response.headers.get("Date"), sent)
                trouble = f"the answer at /{path} broke off"
                if response.status_code != 200:
                    kind = NotPinned if response.status_code == 404 else ModelClientError
                    raise kind(f"the model service answered {response.status_code}")
                for name, value in (expected or {}).items():
                    if response.headers.get(name) != value:
                        raise ModelClientError(f"the pin changed before /{path} was fetched: {name} is not {value}")
                return _body(response, path, write, max_bytes, deadline)
        except (requests.RequestException, HTTPError, ConnectionError, TimeoutError) as error:
            late = "; it took too long" if deadline.over else ""
            raise ModelClientError(f"{trouble} ({type(error).__name__}{late})") from None


def _body(
    response: requests.Response, path: str, write: Callable[[bytes], object], max_bytes: int, deadline: _Deadline
) -> str:
    """Pass the body to ``write``, and return its SHA-256."""
    found, came = hashlib.sha256(), 0
    announced = response.headers.get("Content-Length", "")[:18]
    if announced.isdecimal() and int(announced) > max_bytes:
        raise ModelClientError(f"the answer at /{path} is larger than {max_bytes} bytes")
    while chunk := response.raw.read1(CHUNK):
        came += len(chunk)
        if came > max_bytes:
            raise ModelClientError(f"the answer at /{path} is larger than {max_bytes} bytes")
        if deadline.over:
            break
        found.update(chunk)
        write(chunk)
    if deadline.over:  # the connection has ended then, which looks like the end of the answer
        raise ModelClientError(f"the answer at /{path} took too long; {came} bytes had come")
    if announced.isdecimal() and came != int(announced):
        raise ModelClientError(f"the answer at /{path} was cut short: {came} of {announced} bytes")
    return found.hexdigest()


class _Deadline:
    """Ends the connections of this thread that are used within it, once its time is ``over``. Nothing that is sent prolongs it.

    A socket's own time-out begins anew with each byte.
    """

    _running = threading.local()

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ended = False
        self._clock, self._until = clock, clock() + seconds
        self._held: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._outer = getattr(self._running, "innermost", None)
        self._running.innermost = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.innermost = self._outer
        self._timer.cancel()
        with self._lock:
            for held in self._held:
                held.close()
            self._held.clear()

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._ended or self._clock() > self._until

    @classmethod
    def holds(cls, used: socket.socket) -> None:
        """A connection of this thread is used: the deadlines that run hold for it."""
        deadline = getattr(cls._running, "innermost", None)
        while deadline is not None:
            held = socket.socket(fileno=os.dup(used.fileno()))  # TLS takes the descriptor away from the socket
            with deadline._lock:
                deadline._held.append(held)
            if deadline._ended:
                deadline._end()
            deadline = deadline._outer

    def _end(self) -> None:
        self._ended = True
        with self._lock:
            for held in self._held:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """Its time-out is for all headers of an answer together."""

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        _Deadline.holds(made)
        return made

    def getresponse(self) -> Any:
        with _Deadline(self.timeout or TIMEOUT) as deadline:
            _Deadline.holds(self.sock)
            response = super().getresponse()
        if deadline.over:  # what had come looks like all headers, since the connection has ended
            response.close()
            raise TimeoutError
        return response


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_PinId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]


class _Serving(msgspec.Struct, rename={"not_before": "notBefore"}):
    sha256: _Sha256
    allow: tuple[str, ...] = ()
    not_before: Any = None

    def version(self, pin_id: str | None, share: float = 0.0) -> PinnedVersion:
        lifted = tuple(gate for gate in GATES if gate in self.allow)
        try:
            due = instant.parse(self.not_before)
        except instant.InstantError:
            due = math.nan  # the leader refuses it: it must not answer at once
        return PinnedVersion(self.sha256, pin_id or self.sha256, lifted, share, due)


class _Answering(_Serving):
    share: Annotated[float, msgspec.Meta(ge=0, le=50)] = 0.0


class _Challenger(msgspec.Struct):
    pinned: object = None
    serving: _Answering | None = None
    why_not: str | None = None
    id: _PinId | None = None


class _PinPage(msgspec.Struct):
    serving: _Serving
    id: _PinId | None = None
    challenger: _Challenger | None = None


_decoder = msgspec.json.Decoder(_PinPage)
