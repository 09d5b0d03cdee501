"""``GET /monitor.json`` and the gauges: what was computed last, how old it is, and which model it is about."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelbundle.format import bundle
from services.monitoring import unseen
from services.monitoring.log_reader import request_counts
from services.monitoring.process import Process
from services.monitoring.summary import FILE, SummaryFile
from services.predict.app import create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.supervisor import fork
from tests.conftest import Made, make_book
from tests.unit.services.conftest import make_current
from tests.unit.services.logs import Written
from tests.unit.services.predict.api.test_api_keys import line as line_of


def process(settings: Settings, bundles: list[Made], url: str) -> Process:
    """A monitor as the replica starts it, with the tests' bundles for those of STATE_DIR."""
    (settings.state_dir / "bundles").mkdir(parents=True, exist_ok=True)
    for made in bundles:
        (settings.state_dir / "bundles" / made.sha256).write_bytes(made.path.read_bytes())
    environment = {"DATA_DIR": str(settings.data_dir), "STATE_DIR": str(settings.state_dir), "PREDICTION_LOG_URL": url}
    return Process({**environment, "MONITOR_SECONDS": "60", "MONITOR_DAYS": "7"})


def test_before_the_first_round_everything_is_empty(client: FlaskClient, bundles: list[Made]) -> None:
    """Every key is there; nothing is stale that was never computed; the replica's state is live."""
    content = client.get("/monitor.json").get_json()
    assert (content["computed"], content["age_seconds"], content["stale"]) == (None, None, False)
    assert content["verdict"]["status"] == "waiting"
    assert content["replica"]["serving"] == bundles[0].sha256
    assert content["models"] == []
    assert set(content["traffic"]) == {"minute", "hour", "day"}
    assert "peerloan_drift_psi{" not in client.get("/metrics").get_data(as_text=True)


def test_the_gauges_are_those_of_the_model_that_answers(
    client: FlaskClient, settings: Settings, bundles: list[Made]
) -> None:
    """Per feature and for the score, with what outcomes say."""
    log = Written(settings.data_dir)
    frame, late = make_book(700, seed=3)
    rows = log.add(bundle.read(bundles[0].path), frame.assign(amount=frame["amount"] * 0.5), time.time() - 65)
    log.judge(rows, late)
    log.add(bundle.read(bundles[1].path), frame[:3], time.time() - 1)
    process(settings, bundles, log.url).compute(time.time())
    content = client.get("/monitor.json").get_json()
    assert [model["current"] for model in content["models"]] == [False, True]
    assert content["verdict"]["status"] == "drifted"
    text = client.get("/metrics").get_data(as_text=True)
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("peerloan_"))
    model = content["models"][1]
    by_name = {part["name"]: part for part in model["features"]}
    assert values['peerloan_drift_alert{feature="amount"}'] == "1.0"
    assert values['peerloan_drift_alert{feature="grade"}'] == "0.0"
    assert float(values['peerloan_drift_psi{feature="amount"}']) == by_name["amount"]["psi"]
    assert float(values["peerloan_score_psi"]) == model["score"]["psi"]
    assert float(values["peerloan_live_roc_auc"]) == model["performance"]["roc_auc"]["value"]
    assert float(values["peerloan_estimated_roc_auc"]) == model["estimated_roc_auc"]
    assert float(values["peerloan_expected_rate"]) == pytest.approx(sum(r["probability"] for r in rows) / 700)


@pytest.mark.attack("names in wrong fields")
@pytest.mark.parametrize("by_earlier_version", [False, True])
def test_a_name_in_the_wrong_field_is_shown_to_auditors_only(
    settings: Settings, store: StateDir, bundles: list[Made], tmp_path: Path, by_earlier_version: bool
) -> None:
    """Also where hundreds of rows have it. Others see how long it is and in how many rows; without keys, everybody is another."""
    name = "Zaphod Beeblebrox"
    log = Written(settings.data_dir)
    frame, _ = make_book(700, seed=3)
    log.add(bundle.read(bundles[0].path), frame.assign(purpose=name), time.time() - 65)
    process(settings, bundles, log.url).compute(time.time())
    if by_earlier_version:
        path = settings.data_dir / FILE
        content = unseen.with_values(json.loads(path.read_text("utf-8")))
        for model in content["models"]:
            for part in model["features"]:
                part["unseen_values"] = [{k: v[k] for k in ("value", "share")} for v in part["unseen_values"]]
        path.write_text(json.dumps(content), "utf-8")
    (tmp_path / "keys").write_text(
        line_of("desk", "desk") + line_of("auditor", "auditor").strip() + " audit\n", "utf-8"
    )
    make_current(store, bundles[0])
    store.settle()
    public = create_app(settings, store).flask.test_client()
    keyed = create_app(replace(settings, api_keys_file=str(tmp_path / "keys")), store).flask.test_client()
    shown = {
        "public": public.get("/monitor.json", headers={"X-API-Key": "auditor"}),
        "desk": keyed.get("/monitor.json", headers={"X-API-Key": "desk"}),
        "auditor": keyed.get("/monitor.json", headers={"X-API-Key": "auditor"}),
    }
    assert [who for who, answer in shown.items() if name in answer.get_data(as_text=True)] == ["auditor"]
    assert keyed.get("/monitor.json").status_code == 401
    purpose = next(p for p in shown["desk"].get_json()["models"][0]["features"] if p["name"] == "purpose")
    if not by_earlier_version:
        assert f"a text of {len(name)} characters in 700 rows" in purpose["text"]
        assert purpose["unseen_values"] == [{"length": len(name), "rows": 700, "share": 1.0}]
    for page in (public.get("/monitor"), public.get("/metrics"), public.get("/readyz")):
        assert name not in page.get_data(as_text=True)


def test_what_is_old_is_called_stale(client: FlaskClient, settings: Settings, bundles: list[Made]) -> None:
    """After five rounds that did not come."""
    log = Written(settings.data_dir)
    own = process(settings, bundles, log.url)
    own.compute(time.time() - 301)
    assert client.get("/monitor.json").get_json()["stale"]
    before = (settings.data_dir / FILE).stat()
    own.compute(time.time() - 1)
    os.utime(settings.data_dir / FILE, ns=(before.st_atime_ns, before.st_mtime_ns))  # as where file times are coarse
    assert client.get("/monitor.json").get_json()["age_seconds"] < 60


def test_a_database_that_is_away_is_said_and_the_last_summary_stays(
    settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message may hold rows, so only the kind of error is written."""
    log = Written(settings.data_dir)
    frame, _ = make_book(30)
    log.add(bundle.read(bundles[0].path), frame, time.time() - 5)
    own = process(settings, bundles, log.url)
    own.compute(time.time())
    path = Path(settings.data_dir / "predictions.sqlite")
    path.write_bytes(b"not a database, and a secret" * 100)
    own.compute(time.time())
    content = json.loads((settings.data_dir / FILE).read_bytes())
    assert content["trouble"] == "the prediction log's database is away (DatabaseError)"
    assert content["models"][0]["rows"] == 30


def test_one_of_all_monitors_of_a_data_directory_writes(
    settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others only write down their replica's counters. Computed in place: the tests' process has other threads."""
    monkeypatch.setattr("services.monitoring.process.apart", lambda work, seconds: work())
    log = Written(settings.data_dir)
    first, second = (process(settings, bundles, log.url) for _ in range(2))
    first.round(1_000_000.0)
    second.round(2_000_000.0)
    content = json.loads((settings.data_dir / FILE).read_bytes())
    assert content["computed"].startswith("1970-01-12")


def test_counters_of_replicas_become_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What grew between two samples; from zero when the replica was started anew; replicas are added up."""
    said: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(request_counts, "totals", lambda path: said[path.name])

    def totals(requests: int, client: int, server: int, fast: int) -> dict[str, float]:
        return {"requests": requests, "client": client, "server": server, "0.01": fast, "+Inf": requests}

    one, other = (request_counts.RequestCounts(tmp_path, name, Path("/nowhere") / name) for name in ("one", "other"))
    now = 600_000.0 * 60
    said["one"], said["other"] = totals(10, 1, 0, 8), totals(4, 0, 0, 4)
    one.sample(now - 60)
    other.sample(now)
    said["one"] = totals(16, 1, 2, 14)
    one.sample(now)
    again = request_counts.RequestCounts(tmp_path, "one", Path("/nowhere/renewed"))
    said["renewed"] = {"requests": 0.0, "client": 0.0, "server": 0.0}  # no bucket before the first prediction
    again.sample(now)
    said["renewed"] = totals(3, 0, 0, 3)
    again.sample(now)
    found = request_counts.merged(tmp_path, now)
    assert found["replicas"] == ["one", "other"]
    assert found["requests"][-3:] == [None, 10, 13]
    assert found["client_errors"][-2:] == [1, 0]
    assert found["server_errors"][-2:] == [0, 2]
    assert found["p50_ms"][-1] == pytest.approx(5, abs=0.1)
    assert len(found["requests"]) == 24 * 60
    request_counts.merged(tmp_path, now + 2 * 86_400)
    assert list(tmp_path.iterdir()) == []


def test_a_round_goes_on_from_what_the_one_before_it_read(
    settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process: the same summary, and not all of the log is read again."""
    from services.monitoring.log_reader.queries import PredictionLog

    log = Written(settings.data_dir)
    frame, late = make_book(200)
    for hours in (2, 5, 9, 20):
        log.judge(log.add(bundle.read(bundles[0].path), frame, time.time() - hours * 3600), late)
    own, now = process(settings, bundles, log.url), time.time()
    read: list[float] = []
    counts = PredictionLog.counts
    monkeypatch.setattr(
        PredictionLog, "counts", lambda self, since, until: read.append(since) or counts(self, since, until)
    )
    own.kept, trouble = pickle.loads(own.compute(now))
    first, rounds = json.loads((settings.data_dir / FILE).read_bytes()), len(read)
    assert (trouble, first["models"][0]["rows"]) == (None, 800)
    own.compute(now)
    assert json.loads((settings.data_dir / FILE).read_bytes()) == first
    assert len(read) - rounds < rounds / 2


APART = """
import sys, time
from services.monitoring.process import apart
print(apart(lambda: b"x" * 1_000_000, 30) == b"x" * 1_000_000, apart(lambda: 1 / 0, 30), apart(lambda: time.sleep(30), 0.1))
"""


def test_what_is_done_apart_comes_back_or_is_given_up() -> None:
    """Work that fails says why; work that takes too long is ended; whoever asked goes on."""
    done = subprocess.run([sys.executable, "-c", APART], capture_output=True, text=True, timeout=20)
    assert done.stdout == "True None None\n"
    assert "ZeroDivisionError" in done.stderr


def test_only_a_process_with_one_thread_is_copied() -> None:
    """Another thread may hold a lock, which nobody would ever free in the copy."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        with pytest.raises(RuntimeError, match="one thread"):
            fork()
    finally:
        done.set()
        other.join()


def test_the_page_is_there_with_and_without_a_model(client: FlaskClient, store: StateDir) -> None:
    """It says what it needs without JavaScript."""
    assert client.get("/monitor").status_code == 200
    (store.root / "current").unlink()
    page = client.get("/monitor")
    assert page.status_code == 200
    assert "readyz" in page.text


def test_readyz_says_the_evidence_of_the_two_models_that_are_there(tmp_path: Path) -> None:
    """Without the path; of no other pair, and of none before the monitor wrote anything."""
    file = SummaryFile(tmp_path, {"models": [], "computed": None})
    assert file.evidence("a", "b") is None
    found = {"rows": 3, "challenger": 2.0, "path": [1]}
    others = [{"model_version": "b", "evidence": found}, {"model_version": "c", "evidence": None}]
    written = {"models": [{"model_version": "a", "challengers": others}, {"model_version": "b"}], "computed": "now"}
    (tmp_path / FILE).write_text(json.dumps(written), "utf-8")
    assert file.evidence("a", "b") == {"rows": 3, "challenger": 2.0, "computed": "now"}
    assert [file.evidence(*pair) for pair in (("b", "a"), ("a", "c"), ("a", None), (None, "b"))] == [None] * 4
