"""A gate before the model service: passes everything on, and does to the bytes of one bundle what a test asks for."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Gate:
    """Listens on ``port``. ``mischief`` happens to the downloads of ``sha256``, until it is None again.

    ``hold``: half of the bytes, and then nothing until ``opened``; ``cut``: half of the bytes; ``flip``: one bit is another.
    ``holding`` is set while a download is held.
    """

    def __init__(self, model_port: int) -> None:
        self.sha256 = ""
        self.mischief: str | None = None
        self.downloads = 0
        self.holding = threading.Event()
        self.opened = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", model_port, timeout=30)
                try:
                    connection.request("GET", self.path, headers=dict(self.headers.items()))
                    response = connection.getresponse()
                    body = response.read()
                except OSError:
                    self.close_connection = True
                    return
                finally:
                    connection.close()
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() != "connection":
                        self.send_header(name, value)
                self.end_headers()
                gate.pass_on(self, response.headers.get("ETag", ""), body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def pass_on(self, handler: BaseHTTPRequestHandler, etag: str, body: bytes) -> None:
        if etag == f'"{self.sha256}"' and body:
            self.downloads += 1
            half = len(body) // 2
            if self.mischief == "flip":
                body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
            elif self.mischief == "cut":
                handler.close_connection = True
                body = body[:half]
            elif self.mischief == "hold":
                handler.wfile.write(body[:half])
                self.holding.set()
                self.opened.wait(60)
                body = body[half:]
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    def close(self) -> None:
        self.opened.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
