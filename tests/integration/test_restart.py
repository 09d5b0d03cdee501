"""Starting, stopping and being killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import Load, System, ask, until


def test_without_a_model_service_a_restart_answers_from_the_last_known_good(
    serving: System, bundles: list[Made]
) -> None:
    """Ready, but not confirmed, and it says so; confirmed again when the model service is back."""
    serving.stop_predict()
    serving.stop_model()
    serving.start_predict()
    status, facts = serving.readyz()
    assert status == 200
    assert facts["confirmed"] is False
    assert facts["since"]
    assert "reached" in facts["trouble"]
    assert serving.post(LOAN)[1]["x-model-version"] == bundles[0].sha256
    serving.start_model()
    serving.serving(bundles[0].sha256)


def test_without_a_last_known_good_nothing_is_answered_and_the_process_lives(system: System) -> None:
    """/predict and /readyz say 503 as problem or facts, /healthz says 200; the model service's start heals it."""
    system.start_predict(ready=False)
    status, headers, problem = until(lambda: system.post(LOAN), 5, "an answer")
    assert status == 503
    assert headers["content-type"] == "application/problem+json"
    assert headers["retry-after"] == "1"
    assert problem["status"] == 503
    assert system.readyz()[0] == 503
    assert ask(system.port, "GET", "/healthz")[0] == 200
    system.start_model()
    until(lambda: system.post(LOAN)[0] == 200, 10, "an answer of the model")


@pytest.mark.attack("rollback")
def test_a_model_that_was_rolled_back_does_not_return_with_a_restart(serving: System, bundles: list[Made]) -> None:
    """The pin moved while the replica was down: the first answer comes from what is pinned, not from what was current.

    A model service that gives no answer within half a second is a start without one, which proves nothing here: once more.
    """
    for attempt in range(1, 6):
        serving.stop_predict()
        unusable = len(serving.log("model service unusable"))
        made = bundles[attempt % 2]
        serving.pin(made.path.name, made.sha256)
        serving.pinned(made.sha256)
        serving.start_predict(ready=False)
        status, headers, _ = until(lambda: (answer := serving.post(LOAN))[0] != 503 and answer, 20, "an answer")
        assert status == 200
        if len(serving.log("model service unusable")) == unusable:
            assert headers["x-model-version"] == made.sha256
            return
        serving.serving(made.sha256)
    raise AssertionError("the model service did not answer in time, five times")


def test_killed_workers_and_leaders_are_replaced_and_swaps_go_on(serving: System, bundles: list[Made]) -> None:
    """kill -9 of the leader's process, again and again, between pins: the pin is reached each time."""
    for turn in range(1, 5):
        leader = serving.readyz()[1] and _leader(serving)
        os.kill(leader, signal.SIGKILL)
        made = bundles[turn % 2]
        serving.pin(made.path.name, made.sha256)
        serving.serving(made.sha256)
    until(lambda: len(serving.workers()) == 2, 10, "two workers again")


def _leader(system: System) -> int:
    return int(_status(system)["leader"])


@pytest.mark.attack("killed worker")
def test_a_killed_worker_fails_only_what_it_was_sent(serving: System) -> None:
    """Its replacement answers with the current generation from its first request on; no 503, no older model."""
    with Load(serving.port, LOAN) as load:
        for _ in range(3):
            before = set(serving.workers())
            os.kill(min(before), signal.SIGKILL)
            until(lambda before=before: len(set(serving.workers()) - before) == 1, 15, "a new worker")
            time.sleep(0.5)
    assert [a for a in load.answers if a.status != 200] == []
    assert len(load.errors) <= 3 * load.threads
    assert {a.generation for a in load.answers} == {1}


@pytest.mark.attack("killed master")
def test_when_the_master_is_killed_its_workers_free_the_port_and_end(serving: System, bundles: list[Made]) -> None:
    """Under load: what they answer until then is right, a new start takes the port, and the old workers end."""
    assert serving.predict is not None
    old = serving.workers()
    with Load(serving.port, LOAN, clients=2) as load:
        serving.predict.kill()
        serving.predict.wait()
        until(lambda: free(serving.port), 30, "the port is free")
        serving.start_predict()
        until(lambda: not any(map(lives, old)), 60, "the old workers have ended")
    assert {a.status for a in load.answers} <= {200, 503}
    assert {a.version for a in load.answers if a.status == 200} == {bundles[0].sha256}
    serving.pin(bundles[1].path.name, bundles[1].sha256)
    serving.serving(bundles[1].sha256)


def free(port: int) -> bool:
    """Whether another server may listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def lives(pid: int) -> bool:
    """Whether there is such a process, which does not wait for its parent only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.attack("stopped leader")
@pytest.mark.parametrize("who", ["leader", "other worker"])
def test_a_worker_that_is_stopped_delays_a_switch_and_loses_no_pin(
    who: str, system: System, bundles: list[Made]
) -> None:
    """SIGSTOP for longer than every deadline, while the pin changes twice; then SIGCONT. It is no veto, and no step back."""
    system.environment.update(PREPARE_SECONDS="1")
    system.start_model()
    system.start_predict()
    leader = _leader(system)
    (other,) = set(system.workers()) - {leader}
    stopped = leader if who == "leader" else other
    with Load(system.port, LOAN, clients=2) as load:
        os.kill(stopped, signal.SIGSTOP)
        try:
            for made in (bundles[1], bundles[0], bundles[1]):
                system.pin(made.path.name, made.sha256)
                system.pinned(made.sha256)
                time.sleep(2)
            if who == "other worker":
                said = "late, and tried again: a worker does not respond"
                until(lambda: said in _status(system)["trouble"], 60, "it is named")
        finally:
            os.kill(stopped, signal.SIGCONT)
        system.serving(bundles[1].sha256, 60)
    assert load.stale() == []
    assert system.readyz()[1]["refusal"] is None


def _status(system: System) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((system.state / "status.json").read_text("utf-8"))
    return {**found, "trouble": found["trouble"] or ""}


def test_the_model_service_dies_and_nobody_notices(serving: System) -> None:
    """Answers go on; /readyz says unconfirmed once the leader was turned away; it heals without a restart."""
    with Load(serving.port, LOAN, clients=2) as load:
        serving.stop_model(signal.SIGKILL)
        until(lambda: serving.readyz()[1]["confirmed"] is False, 10, "unconfirmed")
        assert serving.readyz()[0] == 200
        serving.start_model()
        until(lambda: serving.readyz()[1]["confirmed"], 10, "confirmed again")
    assert load.failed() == []


def test_a_hanging_model_service_is_the_same_as_a_dead_one(serving: System) -> None:
    """SIGSTOP: it takes connections and answers nothing."""
    assert serving.model is not None
    os.killpg(serving.model.pid, signal.SIGSTOP)
    try:
        until(lambda: serving.readyz()[1]["confirmed"] is False, 10, "unconfirmed")
        assert serving.post(LOAN)[0] == 200
    finally:
        os.killpg(serving.model.pid, signal.SIGCONT)
    until(lambda: serving.readyz()[1]["confirmed"], 10, "confirmed again")


def test_sigterm_drains(serving: System) -> None:
    """Requests that were taken are answered; then the process ends by itself with 0."""
    with Load(serving.port, LOAN, clients=4) as load:
        time.sleep(0.5)
        serving.stop_predict()
        assert serving.predict is not None
        assert serving.predict.returncode == 0
    assert [a for a in load.answers if a.status != 200] == []


def test_a_wrong_pin_ends_the_model_services_start(system: System, bundles: list[Made]) -> None:
    """The exit says which hash was expected and which was found."""
    system.pin(bundles[0].path.name, "0" * 64)
    process = system._spawn(
        "services.model",
        {
            "MODEL_DIR": str(system.models),
            "MODEL_PIN_FILE": str(system.root / "pin.json"),
            "PORT": str(system.model_port),
        },
    )
    assert process.wait(20) == 1
    log = (system.root / "services.log").read_text("utf-8")
    assert f"expected SHA-256 {'0' * 64}, found {bundles[0].sha256}" in log
