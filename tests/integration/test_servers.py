"""The servers that `make bench-servers` compares: each serves the same application and stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import serving
from benchmarks.load.closed_loop import post
from benchmarks.servers import stopping
from benchmarks.servers.application import PIECE, PIECES, STREAMED, WHOLE
from benchmarks.servers.running import SERVERS, Running, Server, installed, make_current
from tests.conftest import LOAN, Made
from tests.integration.system import ask


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_each_server_answers_alike(tmp_path: Path, bundles: list[Made], server: Server) -> None:
    """Predictions of the shipped form, large answers whole, and an end."""
    if server not in installed():
        pytest.skip(f"needs {server.package}: make bench-servers installs it, in an environment of its own")
    make_current(bundles[0].path, tmp_path / "state")
    body = json.dumps(LOAN).encode()
    running = Running(server, tmp_path, tmp_path / "state")
    try:
        running.wait(body)
        assert serving.ask(running.port, body)["model_version"] == bundles[0].sha256
        for path in (WHOLE, STREAMED):
            status, _, answer = ask(running.port, "GET", path)
            assert (status, len(answer)) == (200, PIECES * len(PIECE))
        assert stopping.measure(running, post(body), 0.5).answered
    finally:
        running.kill()
