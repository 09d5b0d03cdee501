"""Metrics are those of the whole replica, whichever worker is asked and whichever died."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import System, ask, until


def value(system: System, name: str) -> float:
    """The sum of a metric's samples; ValueError while there are none, so that it can be waited for."""
    lines = ask(system.port, "GET", "/metrics")[2].decode().splitlines()
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
    if not found:
        raise ValueError(name)
    return sum(found)


@pytest.mark.slow
def test_counts_outlive_the_workers_that_counted(serving: System, bundles: list[Made]) -> None:
    """kill -9 of each worker in turn: no count goes back, no gauge stays behind, and what was shipped is what was scored."""
    asked = 0
    for turn in range(3):
        for _ in range(20):
            assert serving.post([LOAN, LOAN])[0] == 200
        asked += 20
        until(lambda scored=2 * asked: value(serving, "peerloan_rows_total") == scored, 10, "all are counted")
        assert {value(serving, "peerloan_predictions_total") for _ in range(8)} == {2 * asked}
        before = set(serving.workers())
        os.kill(serving.workers()[turn % 2], signal.SIGKILL)
        until(lambda gone=before: len(now := set(serving.workers())) == 2 and now != gone, 20, "a new worker")
        until(lambda: serving.readyz()[0] == 200, 20, "ready again")
    until(lambda: value(serving, "peerloan_in_flight") <= 1, 10, "nothing but the scrape is at work")
    until(lambda: value(serving, "peerloan_log_shipped_rows_total") == 2 * asked, 20, "all of it is shipped")
    serving.pin(bundles[1].path.name, bundles[1].sha256)
    serving.serving(bundles[1].sha256)
    switched = [line["request_id"] for line in serving.log("model switched")]
    downloads = [line["request_id"] for line in serving.log("request") if line["path"] == "/bundle"]
    assert switched == downloads, "the model service's log has each download under the id that the switch names"
    assert value(serving, "peerloan_model_info") == 1
    assert value(serving, "peerloan_model_generation") == 2
    assert value(serving, "peerloan_model_switches_total") == 2
    assert value(serving, "peerloan_bugs_total") == 0
