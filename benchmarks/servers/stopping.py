"""A stop under load: which requests get no answer when SIGTERM comes, and how long the server takes to end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmarks.load.background import Background
from benchmarks.load.closed_loop import Client
from benchmarks.servers.running import Running

MOST = 12.0  # seconds until a server that does not end is killed


@dataclass
class Asking(Background):
    """Clients that ask without pause and open a new connection where the answer ends the old one, until they are refused one.

    A request has failed where it was sent, whole, and no whole answer with status 200 came.
    """

    port: int
    request: bytes
    threads: int = 8
    answered: int = 0
    failed: list[str] = field(default_factory=list)

    def repeat(self, _: int) -> None:
        """Ask until stopped or refused."""
        client = None
        while not self.stopping.is_set():
            try:
                client = client or Client(self.port, self.request, timeout=MOST)
            except OSError:
                return  # nobody listens any more: the proxy would ask another replica
            try:
                status = client.ask()
            except (OSError, ValueError) as error:
                self.failed.append(f"{'a part' if client.parts else 'nothing'} came: {error}")
            else:
                self.answered += status == 200
                if status != 200:
                    self.failed.append(f"status {status}")
                if not client.closes:
                    continue
            client.close()
            client = None
        if client is not None:
            client.close()


@dataclass(frozen=True, slots=True)
class Stop:
    """Answers, failures and seconds to the end of one stop; None where the server had to be killed."""

    answered: int
    failed: list[str]
    seconds: float | None


def measure(server: Running, request: bytes, seconds: float) -> Stop:
    """Load for ``seconds``, then SIGTERM, with the load going on."""
    with Asking(server.port, request) as asking:
        time.sleep(seconds)
        took = server.terminate(MOST)
    return Stop(asking.answered, asking.failed, took)
