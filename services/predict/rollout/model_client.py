"""The model service as the leader sees it: which pin, and its bytes. Trusts nothing that it says."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable

import requests
from urllib3.exceptions import HTTPError

from modelbundle.format import statement
from services.predict.rollout.state_machine import PinnedVersion
from services.web.request_ids import fresh

CHUNK = 256 * 1024
CHAMPION = ("bundle", "statement")
CHALLENGER = ("challenger", "challenger/statement")
_ETAG = re.compile(r'"([0-9a-f]{64})"')
_PIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ModelClientError(Exception):
    """The model service gave no usable answer; the message says what happened. Always worth another try."""


class NotPinned(ModelClientError):
    """The model service says that there is no such model."""


class ModelClient:
    """A connection to one model service. Not thread-safe: the leader has its own."""

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        paths: tuple[str, str] = CHAMPION,
    ) -> None:
        self.url = url.rstrip("/")
        self.max_bytes = max_bytes
        self.bundle_path, self.statement_path = paths
        self.challenger: str | None = None  # the identity of the challenger's pin, as the last poll told
        self._clock = clock
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between the services, and no .netrc is read
        self._open: requests.Response | None = None
        self.request_id = ""  # of what was asked last; the model service's log has it too

    def poll(self, known: Iterable[str], timeout: float) -> PinnedVersion:
        """The pin that is served now. Bytes of the ``known`` SHA-256 are not sent again; those of another pin are left
        waiting on the connection for :meth:`fetch`.

        Raises :class:`ModelClientError`.
        """
        self.close()
        response = self._get(known, timeout)
        pin = self._pin(response)
        told = response.headers.get("X-Challenger-Id", "")
        self.challenger = told if _PIN_ID.fullmatch(told) else None
        if response.status_code == 304:
            response.close()
        else:
            self._open = response
        return pin

    def fetch(self, pin: PinnedVersion, write: Callable[[bytes], None], seconds: float, timeout: float = 5.0) -> None:
        """Hand the bytes of ``pin`` to ``write`` in chunks, within ``seconds`` in all and ``max_bytes``.

        Raises :class:`ModelClientError` unless all bytes came and hash to the pin.
        """
        deadline = self._clock() + seconds
        response, self._open = self._open, None
        if response is None or self._pin(response) != pin:
            if response is not None:
                response.close()
            response = self._get((), timeout)
            if response.status_code != 200 or self._pin(response) != pin:
                response.close()
                raise ModelClientError("the pin changed while its file was about to be fetched")
        try:
            self._read(response, pin, write, deadline)
        except (requests.RequestException, HTTPError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(
                error, (requests.RequestException, ConnectionError, TimeoutError)
            ):
                raise  # our own disk
            raise ModelClientError(f"the download broke off ({type(error).__name__})") from None
        finally:
            response.close()

    def statement(self, pin: PinnedVersion, timeout: float = 5.0) -> bytes | None:
        """The statement that goes with ``pin``; None where there is none. Raises :class:`ModelClientError`."""
        self.close()
        response = self._ask(self.statement_path, {}, timeout, (200, 404))
        try:
            if response.status_code == 404:
                return None
            if response.headers.get("X-PinnedVersion-Id", pin.id) != pin.id:
                raise ModelClientError("the pin changed while its statement was about to be fetched")
            raw: bytes = response.raw.read(statement.MAX_BYTES + 1)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise ModelClientError(f"the statement's download broke off ({type(error).__name__})") from None
        finally:
            response.close()
        return raw

    def close(self) -> None:
        """Drop an answer that nobody fetched."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _get(self, known: Iterable[str], timeout: float) -> requests.Response:
        tags = ", ".join(f'"{sha256}"' for sha256 in known if sha256)
        return self._ask(self.bundle_path, {"If-None-Match": tags} if tags else {}, timeout, (200, 304))

    def _ask(self, path: str, more: dict[str, str], timeout: float, expected: tuple[int, int]) -> requests.Response:
        self.request_id = fresh()
        headers = {"Accept-Encoding": "identity", "X-Request-Id": self.request_id, **more}
        try:
            response = self._session.get(
                f"{self.url}/{path}", headers=headers, timeout=timeout, stream=True, allow_redirects=False
            )
        except (requests.RequestException, HTTPError) as error:
            raise ModelClientError(f"the model service cannot be reached ({type(error).__name__})") from None
        if response.status_code not in expected:
            response.close()
            kind = NotPinned if response.status_code == 404 else ModelClientError
            raise kind(f"the model service answered {response.status_code}")
        return response

    @staticmethod
    def _pin(response: requests.Response) -> PinnedVersion:
        match = _ETAG.fullmatch(response.headers.get("ETag", ""))
        if match is None:
            response.close()
            raise ModelClientError("the model service sent no strong ETag that is a SHA-256")
        sha256 = match.group(1)
        own = response.headers.get("X-PinnedVersion-Id", sha256)
        return PinnedVersion(sha256, own if _PIN_ID.fullmatch(own) else sha256)

    def _read(
        self, response: requests.Response, pin: PinnedVersion, write: Callable[[bytes], None], deadline: float
    ) -> None:
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > self.max_bytes:
            raise ModelClientError(f"the file is larger than {self.max_bytes} bytes")
        found = hashlib.sha256()
        taken = 0
        while chunk := response.raw.read1(CHUNK):
            taken += len(chunk)
            if taken > self.max_bytes:
                raise ModelClientError(f"the file is larger than {self.max_bytes} bytes")
            if self._clock() > deadline:
                raise ModelClientError(f"the download took too long; {taken} bytes had come")
            found.update(chunk)
            write(chunk)
        if announced.isdigit() and taken != int(announced):
            raise ModelClientError(f"the download was cut short: {taken} of {announced} bytes")
        if found.hexdigest() != pin.sha256:
            raise ModelClientError(f"the bytes received hash to {found.hexdigest()}, not to the pin {pin.sha256}")
