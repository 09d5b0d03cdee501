"""Requests that are not HTTP: both services answer with a problem document, never with HTML or a stack trace."""

from __future__ import annotations

import json
import socket

import pytest

from tests.integration.system import System

POST = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = [
    "zz\r\n{}\r\n0\r\n\r\n",
    "-5\r\n{}\r\n0\r\n\r\n",
    "2\r\n{}X\r\n0\r\n\r\n",
    "2\r\n{}0\r\n\r\n",
    "\r\n{}\r\n0\r\n\r\n",
    "0x2\r\n{}\r\n0\r\n\r\n",
    "2 2\r\n{}\r\n0\r\n\r\n",
    "1_0\r\n{}\r\n0\r\n\r\n",
]
HEADS = [
    ("GET\r\n\r\n", 400),
    ("GET / HTTP/9.9\r\n\r\n", 400),
    ("G@T / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (f"GET /{'a' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (f"GET / HTTP/1.1\r\nHost: x\r\nX: {'a' * 20000}\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: x\r\n" + "X: a\r\n" * 500 + "\r\n", 431),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: tea, chunked\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: tea\r\n\r\n{}", 417),
]


def answered(port: int, sent: str) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and the problem."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(sent.encode("latin-1"))
        data = b""
        while block := connection.recv(65536):
            data += block
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert headers["content-type"] == "application/problem+json", head
    assert int(headers["content-length"]) == len(body)
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_chunks_that_are_none_are_the_callers_mistake(serving: System, chunks: str) -> None:
    """400, and the connection ends: anybody could raise the alert for errors of ours otherwise."""
    status, headers, problem = answered(serving.port, POST + chunks)
    assert (status, problem["status"], headers["connection"]) == (400, 400, "close")
    assert problem["request_id"] == headers["x-request-id"]
    assert serving.readyz()[0] == 200


@pytest.mark.parametrize(("head", "status"), HEADS, ids=[f"{status}-{k}" for k, (_, status) in enumerate(HEADS)])
def test_what_the_server_refuses_itself_is_a_problem_too(serving: System, head: str, status: int) -> None:
    """Of the prediction API and of the model service."""
    for port in (serving.port, serving.model_port):
        found, headers, problem = answered(port, head)
        assert (found, problem["status"], headers["connection"]) == (status, status, "close")
        assert problem["request_id"] == headers["x-request-id"]
        assert problem["detail"]
