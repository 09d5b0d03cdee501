"""Requests that mean harm, as the bytes that are sent: one file each, and a new one for each defect that bytes can show.

``STATUS-words.http`` holds one or more requests of one connection, and the last answer must have that status.
``STATUS-PROXYS-words.http`` says what comes through the shipped proxy where that is another (``000``: an answer of HTTP/2,
which the proxy speaks too). The last request says ``Connection: close``, or is one after which the server ends the connection:
an answer that does not end is a hang.
"""

from __future__ import annotations

import io
import json
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any

NAME = re.compile(r"(\d{3})-(?:(\d{3})-)?[a-z0-9-]+\.http")
LONGEST = 20  # seconds without a byte: what takes longer never comes


@dataclass(frozen=True)
class Case:
    """One file: what is sent, and the status that the replica and the proxy before it answer."""

    name: str
    raw: bytes
    status: int
    proxied: int


@dataclass(frozen=True)
class Answered:
    """The last answer on a connection."""

    status: int
    headers: HTTPMessage
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The problem document of an error; fails where it is none, or says more than it should."""
        assert self.headers["Content-Type"] == "application/problem+json", self.headers
        assert int(self.headers["Content-Length"]) == len(self.body)
        assert b"Traceback" not in self.body
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["detail"]
        return document


def cases() -> list[Case]:
    """Every file of this directory, in the order of the names."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.http")):
        match = NAME.fullmatch(path.name)
        assert match, f"{path.name}: a name says the status first"
        status = int(match[1])
        found.append(Case(path.stem, path.read_bytes(), status, status if match[2] is None else int(match[2])))
    return found


def exchange(port: int, raw: bytes) -> Answered:
    """Send bytes on a connection of their own and read until its end. TimeoutError where that does not come."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        with suppress(ConnectionError):  # the answer came before the request had ended
            connection.sendall(raw)
        with suppress(ConnectionResetError):  # what was sent after the answer was not read
            while block := connection.recv(65536):
                data += block
    return last(data)


class _Received(io.BytesIO):
    """What came, as the socket of an answer that is read and as its file; the next answer begins where it ended."""

    def makefile(self, _mode: str) -> _Received:
        return self

    def close(self) -> None:
        """Stay open for the next answer."""


def last(data: bytes) -> Answered:
    """The last answer of those that came one after another."""
    stream = _Received(data)
    answered = None
    while stream.tell() < len(data):
        response = HTTPResponse(stream)  # type: ignore[arg-type]
        response.begin()
        answered = Answered(response.status, response.headers, response.read())
    assert answered is not None, "the connection ended without an answer"
    return answered
