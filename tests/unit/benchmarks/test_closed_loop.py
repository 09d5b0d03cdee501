"""A client of the load generator knows when an answer is whole."""

from __future__ import annotations

import socket
import threading

import pytest

from benchmarks.load.closed_loop import Client

BODIES = [b"a", b"version 0\r\n", b"0\r\n\r\n", b"5\r\nabc", b"x" * 300]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("head", [CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 325\r\n\r\n"])
def test_an_answer_is_whole_once_its_last_byte_is_there(size: int, head: bytes) -> None:
    """In chunks too, whatever they hold, and in whatever pieces it comes; and the next answer is another."""
    body = (
        b"".join(b"%x\r\n%b\r\n" % (len(own), own) for own in BODIES) + b"0\r\n\r\n" if head is CHUNKED else b"x" * 325
    )
    answer = head + body
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client(server.getsockname()[1], b"ask", timeout=10)
        other, _ = server.accept()

        def serve() -> None:
            with other:
                other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(2):
                    assert other.recv(3) == b"ask"
                    for begin in range(0, len(answer), size):
                        other.sendall(answer[begin : begin + size])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert [client.ask(), client.ask()] == [200, 200]
            with pytest.raises(ConnectionError):
                client.receive()  # nothing of the answers was left
        finally:
            client.close()
            thread.join(10)
