"""``make outage`` for a few seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.integration.system import ROOT

pytestmark = pytest.mark.docker


@pytest.mark.usefixtures("compose")
@pytest.mark.slow
def test_a_database_that_falls_silent_is_noticed_by_no_request_and_misses_nothing() -> None:
    """It takes connections and says nothing. No request fails; when it is back, what clients were told is in it, and no more."""
    command = [sys.executable, "-m", "benchmarks.outage", "--seconds", "4", "--window", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert all(facts["promises"].values())
    for replica in facts["replicas"].values():
        assert all(replica["phases"][phase]["answers"] > 0 for phase in ("before", "away", "after"))
