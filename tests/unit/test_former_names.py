"""The module names that pages gave before still work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import modelbundle.author
import modelbundle.publish
from modelbundle.publishing import annotations, publish
from tests.integration.system import ROOT, free_port


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PORT": str(free_port())}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("former", "arguments"), [("services.predict.access", ("night-batch",)), ("services.health", ("/readyz",))]
)
def test_a_command_is_still_called_so(former: str, arguments: tuple[str, ...]) -> None:
    """It takes the same arguments, and ends as the command of today does."""
    today = {"services.predict.access": "services.predict.api.api_keys", "services.health": "services.web.healthcheck"}
    before, now = run(former, *arguments), run(today[former], *arguments)
    assert before.returncode == now.returncode
    assert before.stdout.split(" ")[0] == now.stdout.split(" ")[0]
    assert bool(before.stderr) == bool(now.stderr)


def test_publishing_is_still_imported_so() -> None:
    """The same function and classes, no copies."""
    assert modelbundle.publish.publish is publish.publish
    assert modelbundle.author.Author is annotations.Author
