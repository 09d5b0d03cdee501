"""Whatever a client got an answer for is in the database exactly once, whoever is killed, however long the database is away."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.background import Background
from services.predictionlog import event, shipper, spool
from services.supervisor import take
from tests.conftest import LOAN, Made
from tests.integration.system import ROOT, System, ask, free_port, parent, until


class Asking(Background):
    """Clients that keep the id of every prediction they got: two with each answer. ``asked`` has those of each request by its id,
    None where it failed."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.port = port
        self.threads = clients
        self.ids: list[str] = []
        self.asked: dict[str, list[str] | None] = {}
        self.failed = 0

    def repeat(self, number: int) -> None:
        body = json.dumps([LOAN, LOAN]).encode()
        while not self.stopping.is_set():
            request = uuid.uuid4().hex
            headers = {"Content-Type": "application/json", "X-Request-Id": request}
            self.asked[request] = None
            try:
                status, _, raw = ask(self.port, "POST", "/predict", body, headers)
            except (OSError, http.client.HTTPException):
                status = 0
            if status == 200:
                told = self.asked[request] = [p["prediction_id"] for p in json.loads(raw)["predictions"]]
                self.ids.extend(told)
            else:
                self.failed += 1
                time.sleep(0.02)


def database(system: System) -> Path:
    return system.root / "data" / "predictions.sqlite"


def logged(path: Path) -> Counter[str]:
    """How often each prediction is in the database."""
    with sqlite3.connect(path, timeout=10) as connection:
        return Counter(row[0] for row in connection.execute("SELECT prediction_id FROM predictions"))


def settled(system: System) -> bool:
    """Nothing waits in the spool."""
    return spool.oldest(system.root / "data" / "spool") is None


def command(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATA_DIR": str(system.root / "data"), "STATE_DIR": str(system.state)}
    return subprocess.run(
        [sys.executable, "-m", "services.predictionlog", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def shippers(system: System) -> list[int]:
    """The processes that ship this system's spool."""
    return system.called("shipper")


@pytest.mark.slow
@pytest.mark.attack("kills")
def test_kills_lose_and_double_nothing(serving: System, record_property: Any) -> None:
    """kill -9 of workers, of the shipper, of the master, again and again under load: each answer once."""
    with Asking(serving.port) as asking:
        for turn in range(8):
            time.sleep(0.7)
            if turn % 4 == 3:
                assert serving.predict is not None
                workers = serving.workers()
                serving.predict.kill()
                serving.predict.wait()
                until(lambda gone=workers: not any(Path(f"/proc/{pid}").exists() for pid in gone), 60, "workers end")
                serving.start_predict()
            elif turn % 2:
                for pid in shippers(serving):
                    os.kill(pid, signal.SIGKILL)
            else:
                os.kill(serving.workers()[0], signal.SIGKILL)
    until(lambda: settled(serving), 30, "the spool is empty")
    found = logged(database(serving))
    assert len(asking.ids) > 200
    assert set(asking.ids) <= set(found)
    assert set(found.values()) == {1}
    with sqlite3.connect(database(serving)) as connection:
        query = "SELECT count(*) FROM events WHERE kind = 'switch'"
        assert connection.execute(query).fetchone()[0] == serving.readyz()[1]["generation"]
    serving.stop_predict()
    until(lambda: not shippers(serving), 20, "the shipper ends with the service")
    record_property("sent", len(asking.ids))


def test_a_master_that_dies_alone_takes_the_shipper_along(serving: System) -> None:
    """Once the last worker has ended: until then somebody may append. No copy keeps another, or the port, from being free."""
    assert serving.predict is not None
    (first,) = shippers(serving)
    assert parent(first) == serving.predict.pid
    serving.predict.kill()
    serving.predict.wait()
    until(lambda: not shippers(serving) and not serving.called("monitor"), 60, "both ended")
    serving.start_predict()
    assert serving.post(LOAN)[0] == 200


def test_an_address_of_no_database_ends_the_start(tmp_path: Path) -> None:
    """In one line, without the address: it may hold a password."""
    places = {"STATE_DIR": str(tmp_path / "state"), "DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}
    log = {"MODEL_SERVER_URL": "http://127.0.0.1:9", "PREDICTION_LOG_URL": "nonsense://ann:secret@nowhere/log"}
    done = subprocess.run(
        [sys.executable, "-m", "services.predict"],
        cwd=ROOT,
        env={**os.environ, **places, **log},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == "prediction API: PREDICTION_LOG_URL cannot be used (NoSuchModuleError)\n"
    assert "secret" not in done.stdout


def test_an_orderly_end_ships_everything_first(serving: System) -> None:
    """When the service has ended, nothing of it runs and nothing waits: in a container the end of one process is that of all."""
    with Asking(serving.port) as asking:
        time.sleep(0.3)
    serving.stop_predict()
    assert settled(serving)
    found = logged(database(serving))
    assert set(asking.ids) == set(found)
    assert set(found.values()) == {1}


def test_replicas_that_end_together_ship_what_each_of_them_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last round that finds another's at work waits for that, and ships what it had left: nobody else will."""
    root = tmp_path / "spool"
    held = take(root / shipper.LOCK)
    assert held is not None
    writer = spool.Writer(root, max_bytes=1 << 20)
    writer.append(event.encode("e1", event.SWITCH, 0.0, {}))
    writer.close()
    rounds: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(shipper, "free", lambda _: not rounds or rounds[0].poll() is not None)  # it was, a moment ago

    def start(*arguments: Any, **own: Any) -> subprocess.Popen[bytes]:
        if rounds:
            os.close(held)
        rounds.append(popen(*arguments, **own))
        return rounds[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    shipper.drain(root, f"sqlite:///{tmp_path}/log.sqlite", 60)
    assert [one.wait() for one in rounds] == [0, 0]
    assert spool.oldest(root) is None


@pytest.mark.slow
def test_the_database_may_be_away(system: System, tmp_path: Path) -> None:
    """No failed request; all rows arrive once it is there; a stop in between loses nothing."""
    away = tmp_path / "mounted" / "log.sqlite"
    system.environment["PREDICTION_LOG_URL"] = f"sqlite:///{away}"
    system.start_model()
    system.start_predict()
    with Asking(system.port, clients=2) as asking:
        until(lambda: system.log("prediction log away"), 20, "the trouble is logged")
        time.sleep(1)
        raw = ask(system.port, "GET", "/metrics")[2]
        waiting = [line for line in raw.decode().splitlines() if line.startswith("peerloan_log_spool_bytes")]
        assert float(waiting[0].split()[1]) > 0
    assert asking.failed == 0
    system.stop_predict()
    assert not settled(system)
    away.parent.mkdir()
    system.start_predict()
    until(lambda: settled(system), 30, "everything has arrived")
    assert logged(away) == Counter(asking.ids)


def test_a_full_spool_is_said_and_answers_go_on(system: System, tmp_path: Path) -> None:
    """What was not logged is counted."""
    system.environment.update(PREDICTION_LOG_URL=f"sqlite:///{tmp_path}/nowhere/log.sqlite", MAX_SPOOL_BYTES="3000")
    system.start_model()
    system.start_predict()

    def unlogged() -> float:
        lines = ask(system.port, "GET", "/metrics")[2].decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("peerloan_predictions_unlogged_total"))

    def full() -> bool:
        assert system.post([LOAN] * 20)[0] == 200
        return unlogged() > 0

    until(full, 20, "the spool is full")
    assert system.log("predictions not logged")
    assert spool.size(tmp_path / "data" / "spool") < 200_000


@pytest.mark.slow
def test_a_prediction_is_reproduced_bit_for_bit_after_two_swaps(serving: System, bundles: list[Made]) -> None:
    """Its input, version, reasons, request and caller; from the log and the bundle alone. And it can be forgotten."""
    loans: list[dict[str, Any]] = [
        {**LOAN, "id": f"loan-{i}", "amount": 1000.1 * i, "purpose": "unheard of" if i % 2 else "boat"}
        for i in range(1, 9)
    ]
    _, _, answer = serving.post(loans, **{"X-Request-Id": "quarter-end"})
    late = {p["prediction_id"]: p["id"] == "loan-3" for p in answer["predictions"]}
    claims = [{"prediction_id": own, "is_late": is_late} for own, is_late in late.items()]
    # At once: the rows are on their way, or the database is being made.
    told = until(lambda: (r := serving.post(claims, "/outcomes"))[0] == 200 and r[2], 20, "the outcomes are recorded")
    assert told["recorded"] == 8
    for made in (bundles[1], bundles[0]):
        serving.pin(made.path.name, made.sha256)
        serving.serving(made.sha256)
    until(lambda: settled(serving) and len(logged(database(serving))) == 8, 20, "it is in the database")
    models = str(bundles[0].path.parent)
    done = command(serving, "audit", "quarter-end", "--models", models)
    assert done.returncode == 0, done.stderr
    stories = json.loads(done.stdout)
    assert [s["record_id"] for s in stories].sort() == [loan["id"] for loan in loans].sort()
    for story in stories:
        sent = next(p for p in answer["predictions"] if p["prediction_id"] == story["prediction_id"])
        assert story["reproduced"]
        assert story["probabilities"] == sent["predict_proba"] == story["again"]["probabilities"]
        assert story["reasons"] == sent["reasons"]
        assert story["warnings"] == [] or story["warnings"] == sent["warnings"]
        assert story["model_version"] == bundles[0].sha256
        assert story["is_late"] == late[story["prediction_id"]]
    assert (
        json.loads(command(serving, "audit", "loan-3", "--models", models).stdout)[0]["input"]["amount"] == 1000.1 * 3
    )
    missing = command(serving, "audit", "loan-3", "--models", str(serving.root))
    assert missing.returncode == 1
    assert "the model is not kept here" in missing.stdout
    assert command(serving, "audit", "nobody").stderr.startswith("audit: no prediction has nobody as its")

    assert command(serving, "erase", "--record-id", "loan-3").stdout.startswith("1 predictions were erased")
    assert command(serving, "audit", "loan-3").returncode == 1
    assert command(serving, "erase", "--before", "2020-01-01").stdout.startswith("0 predictions")
    assert command(serving, "erase", "--request-id", "quarter-end").stdout.startswith("7 predictions")
    with sqlite3.connect(database(serving)) as connection:
        query = "SELECT detail FROM events WHERE kind = 'erasure' ORDER BY id"
        recorded = [json.loads(row[0]) for row in connection.execute(query)]
    assert [(event["predictions"], "by" in event) for event in recorded] == [(1, True), (0, True), (7, True)]


@pytest.mark.parametrize("kind", ["csv", "mlflow", "oip", "retry"])
def test_every_way_of_asking_is_logged(serving: System, kind: str) -> None:
    """And a retry with the same key is the same prediction."""
    names = list(LOAN)
    if kind == "csv":
        rows = "\n".join(",".join("" if LOAN[n] is None else str(LOAN[n]) for n in names) for _ in range(3))
        body, path, content = f"{','.join(names)}\n{rows}\nbad\n".encode(), "/predict", "text/csv"
    elif kind == "mlflow":
        body, path, content = json.dumps({"dataframe_records": [LOAN] * 3}).encode(), "/invocations", "application/json"
    elif kind == "oip":
        inputs = [
            {"name": n, "shape": [3], "datatype": "BYTES" if isinstance(v, str) else "FP64", "data": [v] * 3}
            for n, v in LOAN.items()
            if v is not None
        ]
        body, path, content = json.dumps({"inputs": inputs}).encode(), "/v2/models/first/infer", "application/json"
    else:
        body, path, content = json.dumps([LOAN] * 3).encode(), "/predict", "application/json"
    for _ in range(2):
        status, *_ = ask(serving.port, "POST", path, body, {"Content-Type": content, "Idempotency-Key": "k1"})
        assert status == 200
    until(lambda: settled(serving) and len(logged(database(serving))) == 3, 20, "three rows")
