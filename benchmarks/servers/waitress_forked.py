"""``python -m benchmarks.servers.waitress_forked``: waitress in ``WORKERS`` processes on one socket.

waitress has one process. This forks it, and passes SIGTERM on; it does not replace a process that dies.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from typing import Any

from benchmarks.servers import application
from services.predict.settings import Settings

CONNECTIONS = 2000  # its default, 100, is fewer than the slow clients


def serve(listener: socket.socket, app: application.WithLargeAnswers, threads: int) -> None:
    """Serve in this process until SIGTERM, as ``waitress.serve`` does until Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    application.start(app)
    waitress: Any = importlib.import_module("waitress")  # in an environment of its own
    waitress.serve(
        app,
        sockets=[listener],
        threads=threads,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,
        backlog=2048,
        _quiet=True,
    )


def main() -> None:
    """Fork the processes and wait for them."""
    settings = Settings.from_environment()
    app = application.create()
    application.share()
    listener = socket.create_server((settings.host, settings.port), backlog=2048)
    listener.setblocking(False)
    children = []
    for _ in range(settings.workers):
        child = os.fork()
        if not child:
            serve(listener, app, settings.threads)
            sys.exit(0)
        children.append(child)
    listener.close()

    def stop(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
