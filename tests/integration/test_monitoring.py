"""The monitor of a running replica: it computes beside the workers, says what it found, and is replaced when it is killed."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.conftest import LOAN, Made, make_book
from tests.integration.system import System, ask, parent, until


def summary(system: System) -> dict[str, Any]:
    status, _, raw = ask(system.port, "GET", "/monitor.json")
    assert status == 200
    found: dict[str, Any] = json.loads(raw)
    return found


def monitors(system: System) -> list[int]:
    """The monitor processes of this system, those that do a round for it left out."""
    found = system.called("monitor")
    return [pid for pid in found if parent(pid) not in found]


def test_a_replica_watches_itself(system: System, bundles: list[Made]) -> None:
    """Rows, drift, requests and errors are seen within a round or two; a killed monitor is replaced, and goes on."""
    system.environment["MONITOR_SECONDS"] = "1"
    system.start_model()
    system.start_predict()
    frame, _ = make_book(600, seed=2)
    frame = frame.astype(object).where(frame.notna(), None)
    frame["purpose"] = "rocket"
    for start in range(0, 600, 300):
        assert system.post(frame[start : start + 300].to_dict("records"))[0] == 200
    assert system.post({**LOAN, "amount": "text"})[0] == 422
    until(lambda: (summary(system)["models"] or [{}])[0].get("rows") == 600, 30, "the rows were counted")
    until(lambda: sum(filter(None, summary(system)["http"]["client_errors"])) == 1, 30, "the error was counted")
    found = summary(system)
    assert found["verdict"]["status"] == "drifted"
    assert found["models"][0]["current"]
    assert sum(filter(None, found["http"]["requests"])) == 3
    assert any(found["http"]["p99_ms"])
    assert found["events"][-1]["kind"] == "switch"
    text = ask(system.port, "GET", "/metrics")[2].decode()
    assert 'peerloan_drift_alert{feature="purpose"} 1.0' in text
    assert 'peerloan_drift_alert{feature="amount"} 0.0' in text
    (first,) = monitors(system)
    assert system.predict is not None
    assert parent(first) == system.predict.pid
    os.kill(first, signal.SIGKILL)
    # the round that it was at is an orphan for a moment
    until(
        lambda: [parent(pid) in system.workers() for pid in monitors(system)] == [True], 20, "a worker started another"
    )
    assert system.post(LOAN)[0] == 200
    until(lambda: sum(filter(None, summary(system)["http"]["requests"])) == 4, 30, "it goes on counting")
    system.stop_predict()
    until(lambda: not monitors(system), 20, "it ends with the service")


def test_processes_beside_the_workers_yield_to_them(serving: System) -> None:
    """They are nicer, which counts within a session only (``man 7 sched``, autogroup), and no signal to the workers' group
    is theirs; so are those that take the place of the first ones."""
    worker = serving.workers()[0]

    def yields(pid: int) -> bool:
        nicer = os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, worker)
        return nicer and os.getsid(pid) == os.getsid(worker) and os.getpgid(pid) != os.getpgid(worker)

    for name in ("shipper", "monitor"):
        first = until(lambda name=name: serving.called(name), 20, name)
        until(lambda first=first: all(map(yields, first)), 20, f"the {name} yields")
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        until(lambda name=name, first=first: set(serving.called(name)) - set(first), 20, f"another {name}")
        until(lambda name=name: all(map(yields, serving.called(name))), 20, f"it yields, too: {name}")
