"""PostgreSQL and Prometheus beside the system, as their profiles start them; and one request id in every log."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from services.predictionlog import event
from tests.conftest import LOAN, Made
from tests.e2e.conftest import Project
from tests.integration.system import ask, free_port, until
from tests.integration.test_predictionlog import Asking

pytestmark = pytest.mark.docker
CLAIM = """
import os
from services.predictionlog import database, outcomes
from services.predictionlog.outcome import Claim
engine = database.connect(os.environ["PREDICTION_LOG_URL"], 5)
for is_late in (True, True, False):
    print(*[r.status for r in outcomes.record(engine, [Claim({id!r}, None, None, is_late), Claim("no", None, None, True)], "me")])
"""
WATCH = """
import os, time
from pathlib import Path
from services.monitoring.monitor import Monitor
from services.monitoring.log_reader.queries import PredictionLog
from services.monitoring.log_reader.model_versions import ModelVersions
log, versions = PredictionLog(os.environ["PREDICTION_LOG_URL"]), ModelVersions([Path(os.environ["STATE_DIR"]) / "bundles"])
(model,) = Monitor(log, versions, 7).summary(time.time())["models"]
print(model["rows"], model["sampled"], model["performance"]["outcomes"])
"""
SPOOLED = """
import os, pathlib
from services.predictionlog import spool
print(spool.size(pathlib.Path(os.environ["DATA_DIR"]) / "spool"))
"""
KILL = "import os; found = open('/proc/1/task/1/children').read().split(); os.kill(int(found[{turn} % len(found)]), 9)"


@pytest.fixture
def observed(fresh: Project) -> Iterator[Project]:
    """Both profiles up, two replicas that log into PostgreSQL."""
    ordinary = fresh.environment
    fresh.environment = {
        **ordinary,
        "COMPOSE_PROFILES": "postgres,monitoring",
        "POSTGRES_PASSWORD": "only-here",
        "PREDICTION_LOG_URL": "postgresql://peerloan:only-here@postgres/predictions",
        "PROMETHEUS_PORT": str(free_port()),
    }
    settle(fresh)  # what a test before asked goes into its own database: any shipper would bring it into the new one
    try:
        fresh.run("rm", "-sf", "predict")
        fresh.run("up", "-d", "--no-recreate", "--scale", "predict=2")
        until(lambda: fresh.readyz().get("confirmed"), 60, "ready with PostgreSQL")
        yield fresh
    finally:
        fresh.run("rm", "-sf", "postgres", "prometheus", "predict")
        fresh.docker("volume", "rm", "--force", f"{ordinary['COMPOSE_PROJECT_NAME']}_postgres")
        fresh.environment = ordinary
        fresh.run("up", "-d", "--no-deps", "predict")


def query(project: Project, sql: str) -> list[str]:
    """The first column of the answer; raises :class:`ValueError` while the database is not there."""
    (container,) = project.containers("postgres")
    try:
        said = project.docker(
            "exec", container, "psql", "postgresql://peerloan:only-here@127.0.0.1/predictions", "-Atc", sql
        )
    except subprocess.CalledProcessError as error:
        raise ValueError(error.stderr) from None
    return said.split()


def settle(project: Project) -> None:
    """Wait until the spool that the replicas share is empty."""
    until(
        lambda: project.run("exec", "-T", "predict", "python", "-c", SPOOLED).strip() == "0", 60, "the spool is empty"
    )


def unexplained(project: Project, clients: Asking) -> dict[str, int]:
    """Rows that nobody was told of, by request, where there are more than answers of it were lost.

    A row is logged before its answer leaves. Each time that a client got no answer, and each time that the proxy asked again, one
    answer of two rows may have been lost; the proxy keeps the request's id, and logs how often it did.
    """
    asked_again = {}
    for line in project.run("logs", "--no-color", "proxy").splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line[line.index("{") :])
            asked_again[said["request_id"]] = int(said["retries"])
    rows = [row.split("|") for row in query(project, "SELECT concat(prediction_id, '|', request_id) FROM predictions")]
    told = set(clients.ids)
    untold = Counter(request for prediction, request in rows if prediction not in told)
    lost = {request: asked_again.get(request, 0) + (ids is None) for request, ids in clients.asked.items()}
    return {request: count for request, count in untold.items() if count > 2 * lost.get(request, 0)}


def prometheus(project: Project, path: str) -> Any:
    return json.loads(ask(int(project.environment["PROMETHEUS_PORT"]), "GET", f"/api/v1/{path}")[2])["data"]


@pytest.mark.slow
def test_postgres_is_killed_under_load_and_prometheus_sees_all_of_it(observed: Project, bundles: list[Made]) -> None:
    """kill -9 of the database, again and again: no request fails, and each answer is in it once. Every replica is scraped."""
    (database,) = observed.containers("postgres")
    with Asking(observed.port, clients=2) as asking:
        until(lambda: int(query(observed, "SELECT count(*) FROM predictions")[0]) > 0, 40, "the first rows")
        for _ in range(3):
            time.sleep(1)
            observed.docker("kill", "--signal", "KILL", database)
            time.sleep(1)
            observed.docker("start", database)
    assert asking.failed == 0
    assert len(asking.ids) > 200
    settle(observed)
    found = Counter(query(observed, "SELECT prediction_id FROM predictions"))
    assert set(found) >= set(asking.ids)
    assert set(found.values()) == {1}
    assert unexplained(observed, asking) == {}
    generation = observed.readyz()["generation"]
    switch = f"""SELECT count(*) FROM events WHERE kind = 'switch' AND detail LIKE '%"generation":{generation},%'"""
    assert query(observed, switch) == ["1"]

    tell = ("python", "-m", "services.predictionlog.event", event.DEPLOYMENT, '{"user": "ann"}')  # as make deploy does
    observed.run("exec", "-T", "predict", *tell)
    told = "SELECT detail FROM events WHERE kind = 'deployment'"
    until(lambda: query(observed, told) == ['{"user":"ann"}'], 20, "the deployment is a row")

    replica = observed.containers("predict")[0]
    said = observed.docker("exec", replica, "python", "-c", CLAIM.format(id=asking.ids[0]))
    assert said.split() == ["recorded", "unknown", "repeated", "unknown", "contradicted", "unknown"]
    rows, sampled, judged = map(int, observed.docker("exec", replica, "python", "-c", WATCH).split())
    assert (rows, judged) == (len(found), 1)
    assert sampled >= min(rows, 2000)

    def scraped() -> bool:
        targets = prometheus(observed, "targets")["activeTargets"]
        up = Counter(t["labels"]["job"] for t in targets if t["health"] == "up")
        return up == {"peerloan": 2, "peerloan-proxy": 1}

    until(scraped, 40, "both replicas and the proxy are scraped")
    versions = prometheus(observed, "query?query=peerloan_model_info")["result"]
    assert {v["metric"]["version"] for v in versions} == {bundles[0].sha256}
    rules = [rule for group in prometheus(observed, "rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    for service in ("postgres", "prometheus"):
        (container,) = observed.containers(service)
        facts = json.loads(observed.docker("inspect", container))[0]["HostConfig"]
        assert facts["ReadonlyRootfs"]
        assert facts["CapDrop"] == ["ALL"]


@pytest.mark.slow
def test_what_is_killed_behind_the_proxy_loses_no_row_and_makes_none_up(observed: Project) -> None:
    """kill -9 of the replicas' processes: what clients were told is logged, what else there is was an answer that was lost."""
    with Asking(observed.port, clients=6) as asking:
        for turn in range(8):
            for replica in observed.containers("predict"):
                observed.docker("exec", replica, "python", "-c", KILL.format(turn=turn))
        until(lambda: observed.readyz().get("confirmed"), 20, "answers go on")
    settle(observed)
    assert set(query(observed, "SELECT prediction_id FROM predictions")) >= set(asking.ids)
    assert len(asking.ids) > 200
    assert asking.failed <= 16 * 6, "more failed than was at work in what was killed"
    assert unexplained(observed, asking) == {}


@pytest.mark.slow
def test_one_request_id_from_the_proxy_to_the_api(fresh: Project) -> None:
    """What the caller calls a request is in the API's line; what the proxy could not bring through is in the proxy's."""
    status, headers, _ = fresh.post(LOAN, **{"X-Request-Id": "callers-own.1"})
    assert (status, headers["x-request-id"]) == (200, "callers-own.1")
    made = fresh.post(LOAN, **{"X-Request-Id": 'not "one'})[1]["x-request-id"]
    lines = fresh.run("logs", "--no-color", "predict")
    assert '"request_id":"callers-own.1"' in lines
    assert f'"request_id":"{made}"' in lines
    fresh.run("stop", "-t", "5", "predict")
    try:
        status, headers, _ = fresh.post(LOAN, **{"X-Request-Id": "nobody-there.2"})
        assert (status, headers["x-request-id"]) == (503, "nobody-there.2")
        said = until(
            lambda: "nobody-there.2" in (log := fresh.run("logs", "--no-color", "proxy")) and log, 10, "a line"
        )
        (line,) = [json.loads(one[one.index("{") :]) for one in said.splitlines() if "nobody-there.2" in one]
        assert (line["event"], line["status"], line["path"]) == ("proxy", 503, "/predict")
    finally:
        fresh.run("start", "predict")
