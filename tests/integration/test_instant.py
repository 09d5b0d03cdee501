"""Three hosts with wrong clocks follow a pin with an instant."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbundle import instant
from services.predict.rollout.instant.clock import BOUND
from tests.conftest import LOAN, Made
from tests.integration.place import Place
from tests.integration.system import ROOT, Load, System, ask, until

SKEWS = (0.2, -30.0, 0.0)  # seconds that each host's clock is ahead of the model service's; the last host cannot stage
SECOND = 1.0  # the most by which the model service's time is uncertain: one Date
SOON = 40.0  # seconds from the pin to its instant, enough to stage the model again


@pytest.fixture
def hosts(system: System) -> Iterator[list[System]]:
    """Three hosts that answer with the first bundle, each with a directory and a clock of its own."""
    system.start_model()
    made = []
    with contextlib.ExitStack() as stack:
        for number, skew in enumerate(SKEWS):
            root = system.root / f"host-{number}"
            root.mkdir()
            clock = {"PYTHONPATH": str(ROOT / "tests/integration/skewed"), "TEST_CLOCK_AHEAD": str(skew)}
            own = {**clock, "WORKERS": "1", "PREPARE_SECONDS": "20"}
            host = System(root, own, model_port=system.model_port)
            stack.callback(host.stop_predict)
            host.start_predict()
            made.append(host)
        yield made


def block(host: System, made: Made) -> Path:
    """Let no download of a model begin: its unfinished file cannot be written."""
    place = host.state / "bundles" / f".{made.sha256}.part"
    place.mkdir()
    return place


@pytest.mark.slow
def test_after_the_instant_no_host_answers_with_the_model_before_and_one_that_is_late_is_not_ready(
    system: System, hosts: list[System], bundles: list[Made]
) -> None:
    """A clock that is right brings the instant; one that is wrong is said, and the model service brings it. Nothing is early."""
    before, after = bundles
    blocked = block(hosts[2], after)
    system.pin(after.path.name, after.sha256, not_before=instant.text(time.time() + 3600))
    for host, own in zip(hosts[:2], (True, False), strict=True):
        facts = until(
            lambda host=host, own=own: (
                (due := host.readyz()[1].get("scheduled")) and due["staged"] and due["clock"]["own"] == own and due
            ),
            60,
            "the model is staged and the clock is checked",
        )
        assert facts["model_version"] == after.sha256
        assert ("differs" in (facts["clock"]["trouble"] or "")) != own
    assert {host.readyz()[1]["model_version"] for host in hosts} == {before.sha256}
    assert [host.readyz()[1]["confirmed"] for host in hosts] == [True] * 3, (
        "until the instant the model before is right"
    )
    due = time.time() + SOON
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(host.port, LOAN, clients=1)) for host in hosts]
        system.pin(after.path.name, after.sha256, not_before=instant.text(due))
        for host in hosts[:2]:
            host.serving(after.sha256, 90)
        late = until(lambda: (r := hosts[2].readyz())[0] == 503 and r[1], 90, "the host that is late is not ready")
        assert "was due at" in late["why_not"]
        assert hosts[2].post(LOAN)[0] == 503
        blocked.rmdir()
        hosts[2].serving(after.sha256, 90)
        assert hosts[2].readyz()[0] == 200
    began = time.time() - time.monotonic()
    for load in loads:
        old = [a.sent + began for a in load.answers if a.status == 200 and a.version == before.sha256]
        new = [a.received + began for a in load.answers if a.status == 200 and a.version == after.sha256]
        assert old
        assert new
        assert max(old) < due + 2 * BOUND + SECOND, "a host goes on answering with the model before"
        assert min(new) > due - BOUND, "a host answers with the model before its instant"
    assert not [load.errors for load in loads if load.errors]


@pytest.mark.slow
def test_a_pin_that_is_taken_back_before_its_instant_never_answers(serving: System, bundles: list[Made]) -> None:
    """Neither then nor later, and the replica never stopped answering."""
    due = time.time() + 30
    with Load(serving.port, LOAN, clients=1) as load:
        serving.pin(bundles[1].path.name, bundles[1].sha256, not_before=instant.text(due))
        until(lambda: serving.readyz()[1].get("scheduled"), 30, "the replica knows of it")
        serving.pin(bundles[0].path.name, bundles[0].sha256)
        until(lambda: "scheduled" not in serving.readyz()[1], 30, "the replica has forgotten it")
        until(lambda: time.time() > due + 2 * BOUND, 60, "the instant has passed")
        asked = len(load.answers)
        until(lambda: len(load.answers) > asked + 3, 30, "more was asked")
    assert load.failed() == []
    assert {a.version for a in load.answers} == {bundles[0].sha256}


def test_a_bad_instant_does_not_leave_the_model_service(serving: System, bundles: list[Made]) -> None:
    """Nothing changes, and /pin says why."""
    for text, why in (("tomorrow", "RFC 3339"), (instant.text(time.time() + 8 * 86400), "more than 7 days ahead")):
        serving.pin(bundles[1].path.name, bundles[1].sha256, not_before=text)
        until(lambda why=why: why in (serving._get(serving.model_port, "/pin")[1]["why_not"] or ""), 10, "it is said")
    assert serving.readyz()[1]["model_version"] == bundles[0].sha256


@pytest.mark.slow
def test_make_deploy_writes_the_instant_and_ends_once_the_model_is_staged(place: Place, bundles: list[Made]) -> None:
    """A rollback before it takes the plan back; at it the model answers, and a rollback goes to the one before."""
    place.start()
    pin = place.root / "run" / "pin.json"
    later = instant.text(time.time() + 3600)
    planned = place.command("deploy", str(bundles[1].path), "--at", later)
    assert planned.returncode == 0, planned.stderr
    assert "will answer with" in planned.stdout
    assert later in planned.stdout
    assert json.loads(pin.read_text("utf-8"))["notBefore"] == later
    assert place.version() == bundles[0].sha256
    assert f"will answer with {bundles[1].sha256[:12]} at" in place.command("models").stdout
    assert place.command("rollback").returncode == 0
    assert "notBefore" not in json.loads(pin.read_text("utf-8"))
    assert "scheduled" not in json.loads(ask(place.port, "GET", "/readyz")[2])
    soon = place.command("deploy", str(bundles[1].path), "--at", instant.text(time.time() + 60))
    assert soon.returncode == 0, soon.stderr
    until(lambda: place.version() == bundles[1].sha256, 60, "the instant has come")
    assert place.command("rollback").returncode == 0
    assert place.version() == bundles[0].sha256
