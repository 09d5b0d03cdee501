"""The system as its users start it: docker-compose, real containers, requests through the proxy."""

from __future__ import annotations

import hashlib
import json
import time

import pytest

from tests.conftest import LOAN, Made
from tests.e2e.conftest import Project
from tests.integration.system import Load, ask, until

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_a_swap_touches_no_container_but_the_models(fresh: Project, bundles: list[Made]) -> None:
    """Edit the pin, ``up -d model``, under load, back and forth: 0 failed, 0 stale, and the API was never restarted."""
    before = fresh.containers("predict"), fresh.containers("proxy")
    with Load(fresh.port, LOAN) as load:
        for turn in range(1, 5):
            made = bundles[turn % 2]
            fresh.pin(made.path.name, made.sha256)
            fresh.up_model()
            fresh.serving(made.sha256)
        time.sleep(0.2)
    assert load.failed() == []
    assert load.stale() == []
    assert {a.version for a in load.answers} == {made.sha256 for made in bundles}
    assert (fresh.containers("predict"), fresh.containers("proxy")) == before


def test_three_replicas_answer_and_switch_together(fresh: Project, bundles: list[Made]) -> None:
    """Scaled up under load, swapped, one killed, scaled down: nothing fails, nobody is answered by the old model."""
    with Load(fresh.port, LOAN, clients=4) as load:
        fresh.run("up", "-d", "--no-recreate", "--scale", "predict=3")
        assert len(fresh.containers("predict")) == 3
        time.sleep(4)
        fresh.pin(bundles[1].path.name, bundles[1].sha256)
        fresh.up_model()
        fresh.serving(bundles[1].sha256)
        fresh.run("up", "-d", "--no-recreate", "--scale", "predict=1")
    assert load.failed() == []
    assert load.stale() == []
    assert {a.version for a in load.answers} == {made.sha256 for made in bundles}


def test_the_model_service_is_killed(fresh: Project) -> None:
    """Answers go on, unconfirmed; it comes back by itself."""
    with Load(fresh.port, LOAN, clients=2) as load:
        (model,) = fresh.containers("model")
        fresh.docker("pause", model)
        until(lambda: fresh.readyz()["confirmed"] is False, 20, "unconfirmed")
        fresh.docker("unpause", model)
        until(lambda: fresh.readyz().get("confirmed"), 20, "confirmed again")
        fresh.docker("exec", model, "python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
        until(lambda: fresh.readyz().get("confirmed"), 40, "confirmed after a restart")
    assert load.failed() == []


def test_the_network_between_the_services_is_cut(fresh: Project, bundles: list[Made]) -> None:
    """Answers go on, unconfirmed; a pin that changes meanwhile is reached when the network is back, without any restart."""
    (model,) = fresh.containers("model")
    (network,) = json.loads(fresh.docker("inspect", model))[0]["NetworkSettings"]["Networks"]
    before = fresh.containers("predict")
    with Load(fresh.port, LOAN, clients=2) as load:
        fresh.docker("network", "disconnect", network, model)
        until(lambda: fresh.readyz()["confirmed"] is False, 30, "unconfirmed")
        assert fresh.readyz()["ready"]
        fresh.docker("network", "connect", "--alias", "model", network, model)
        fresh.serving(bundles[0].sha256)
    assert load.failed() == []
    assert {a.version for a in load.answers} == {bundles[0].sha256}
    assert fresh.containers("predict") == before


def test_a_replica_behind_the_proxy_is_killed(fresh: Project, bundles: list[Made]) -> None:
    """kill -9 of one of two replicas: only what was sent to it may fail, the other one answers, and it comes back."""
    fresh.run("up", "-d", "--no-recreate", "--scale", "predict=2")
    until(lambda: len(healthy(fresh)) == 2, 60, "two healthy replicas")
    time.sleep(4)  # the proxy asks for names every two seconds, and for health
    victim = fresh.containers("predict")[0]
    with Load(fresh.port, LOAN, clients=4) as load:
        until(lambda: len(load.answers) > 100, 20, "answers")
        at = time.monotonic()
        fresh.docker("kill", "--signal", "KILL", victim)
        until(lambda: sum(a.sent > at + 1 for a in load.answers) > 100, 60, "answers after the kill")
        late = [a for a in load.answers if a.status != 200 and a.sent > at + 15]
    assert late == []
    assert len(load.failed()) <= 4 * 4, "more failed than was at work in the killed replica"
    assert {a.version for a in load.answers if a.status == 200} == {bundles[0].sha256}
    fresh.run("up", "-d", "--no-recreate", "--scale", "predict=1")


def healthy(project: Project) -> list[str]:
    """The replicas that their own health check finds well."""
    found = project.containers("predict")
    return [c for c in found if project.docker("inspect", "-f", "{{.State.Health.Status}}", c).strip() == "healthy"]


def test_a_wrong_pin_stops_the_model_service_and_nothing_else(fresh: Project, bundles: list[Made]) -> None:
    """The log says which hash was expected and which was found; the old model answers on."""
    fresh.pin(bundles[1].path.name, "0" * 64)
    fresh.up_model()
    said = until(
        lambda: "expected SHA-256" in (log := fresh.run("logs", "--no-color", "model")) and log, 20, "a complaint"
    )
    assert bundles[1].sha256 in said
    assert fresh.post(LOAN)[1]["x-model-version"] == bundles[0].sha256


def test_a_corrupted_volume_stops_the_model_service_and_nothing_else(fresh: Project, bundles: list[Made]) -> None:
    """One flipped byte in the pinned file: it is never handed out; mended, it is."""
    target = fresh.models / bundles[1].path.name
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    fresh.pin(target.name, bundles[1].sha256)
    fresh.up_model()
    until(lambda: "expected SHA-256" in fresh.run("logs", "--no-color", "model"), 20, "a complaint")
    assert fresh.post(LOAN)[1]["x-model-version"] == bundles[0].sha256
    target.write_bytes(bundles[1].path.read_bytes())
    fresh.serving(bundles[1].sha256, 90)


def test_a_replica_that_restarts_alone_answers_from_the_last_known_good(fresh: Project, bundles: list[Made]) -> None:
    """The model service is gone; the replica is restarted; it answers, and says that it is not confirmed."""
    fresh.run("stop", "model")
    fresh.run("restart", "predict")
    facts = until(lambda: (f := fresh.readyz()).get("ready") and f, 60, "ready again")
    assert facts["confirmed"] is False
    assert fresh.post(LOAN)[1]["x-model-version"] == bundles[0].sha256


def test_the_containers_can_do_little(fresh: Project) -> None:
    """Not root, nothing to write to but their volumes, no capabilities, no way from the model service to the outside."""
    for service in ("predict", "model", "proxy"):
        (container,) = fresh.containers(service)
        facts = json.loads(fresh.docker("inspect", container))[0]
        assert facts["Config"]["User"] not in ("", "0", "root")
        assert facts["HostConfig"]["ReadonlyRootfs"]
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert facts["HostConfig"]["Memory"] > 0
        published = {port for port, hosts in facts["NetworkSettings"]["Ports"].items() if hosts}
        assert published == ({"5000/tcp"} if service == "proxy" else set())
        if service == "model":
            (mount,) = [m for m in facts["Mounts"] if m["Destination"] == "/models"]
            assert mount["RW"] is False


def test_the_proxys_own_errors_are_problems_too(fresh: Project) -> None:
    """What never reached the API is answered in the API's shape; the operators' metrics do not pass."""
    for path, headers, status in (
        *(
            (path, {}, 404)
            for path in ("/metrics", "//metrics", "/%6detrics", "/docs/..//metrics", "/metrics/", "/nothing")
        ),
        ("/predict", {"Content-Length": "99999999"}, 413),
    ):
        found, answer, raw = ask(fresh.port, "GET" if status == 404 else "POST", path, None, headers)
        assert found == status
        assert answer["content-type"] == "application/problem+json"
        assert json.loads(raw)["status"] == status


def test_one_address_has_a_limit_and_callers_may_need_keys(fresh: Project) -> None:
    """429 with Retry-After beyond RATE_LIMIT; with API_KEYS_FILE a key is asked for, and one put into the file works."""
    (fresh.folder / "keys" / "api-keys").write_text(f"desk {hashlib.sha256(b'secret').hexdigest()}\n", "utf-8")
    ordinary = fresh.environment
    fresh.environment = {**ordinary, "RATE_LIMIT": "200", "API_KEYS_FILE": "/keys/api-keys"}
    try:
        fresh.renew("proxy", "predict")
        until(lambda: fresh.readyz().get("confirmed"), 60, "ready again")
        time.sleep(20)  # what was asked while it started counts in its period of ten seconds and, in part, in the next
        assert fresh.post(LOAN)[0] == 401
        assert fresh.post(LOAN, Authorization="Bearer secret")[0] == 200
        answers = [ask(fresh.port, "GET", "/healthz") for _ in range(250)]
        status, headers, raw = answers[-1]
        assert status == json.loads(raw)["status"] == 429
        assert headers["retry-after"] == "10"
        assert headers["content-type"] == "application/problem+json"
        assert 190 <= [status for status, _, _ in answers].count(200) < 200
    finally:
        fresh.environment = ordinary
        fresh.renew("proxy", "predict")
