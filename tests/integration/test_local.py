"""What ``make run``, ``make deploy`` and ``make rollback`` run, in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOAN, Made
from tests.integration import unfit
from tests.integration.place import Place
from tests.integration.system import ask, until


@pytest.mark.slow
def test_run_deploy_and_roll_back(place: Place, bundles: list[Made]) -> None:
    """Each ends when the API answers with the pinned model; the record says what happened; Ctrl-C ends with 0."""
    place.start()
    assert place.version() == bundles[0].sha256

    done = place.command("deploy", str(bundles[1].path), "--why", "better", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["sha256"] == bundles[1].sha256
    assert place.version() == bundles[1].sha256
    assert (place.root / "models" / bundles[1].path.name).exists()

    assert place.command("rollback").returncode == 0
    assert place.version() == bundles[0].sha256
    again = place.command("rollback")
    assert (again.returncode, again.stderr) == (1, "rollback: there is no earlier model that was accepted here\n")
    assert place.history() == [
        ("found", "late-payers.bundle", "accepted"),
        ("deploy", bundles[1].path.name, "accepted"),
        ("rollback", "late-payers.bundle", "accepted"),
    ]

    code, output = place.stop()
    assert code == 0, output
    assert "PeerLoan is ready" in output
    told = place.command("events", module="services.predictionlog").stdout
    events = list(map(json.loads, told.splitlines()))
    assert [e["model_version"] for e in events if e["kind"] == "switch"] == [bundles[i].sha256 for i in (0, 1, 0)]
    deployed = [(e["action"], e["why"], e["result"], bool(e["user"])) for e in events if e["kind"] == "deployment"]
    assert deployed == [("deploy", "better", "accepted", True), ("rollback", "", "accepted", True)]
    assert place.command("rollback").stderr == (
        "rollback: nothing is running: start it with `make run` or `docker-compose up -d`\n"
    )


@pytest.mark.parametrize("action", ["deploy", "challenge"])
def test_a_name_that_cannot_be_pinned_is_refused_at_once(place: Place, bundles: list[Made], action: str) -> None:
    """The message has the rule for names. The pin, the history and the models stay as they were."""
    place.start()
    before = (place.root / "run" / "pin.json").read_text("utf-8")
    odd = place.root / "late-payers (1).bundle"
    shutil.copyfile(bundles[1].path, odd)
    done = place.command(action, str(odd))
    assert done.returncode == 1
    assert done.stderr == (
        f"{action}: late-payers (1).bundle cannot be pinned: a file name must be letters, digits, `.`, `_` and `-`, "
        "200 at most, and must begin with a letter or a digit\n"
    )
    assert [path.name for path in (place.root / "models").iterdir()] == ["late-payers.bundle"]
    assert (place.root / "run" / "pin.json").read_text("utf-8") == before
    assert not (place.root / "run" / "deployments.jsonl").exists()


@pytest.mark.slow
def test_what_is_there_is_listed(place: Place, bundles: list[Made]) -> None:
    """Which models, which is pinned and serving, what a rollback goes back to; also while nothing runs."""
    found = place.command("models")
    assert (found.returncode, found.stderr) == (0, "")
    assert "late-payers.bundle" in found.stdout
    assert "pinned" not in found.stdout
    place.start()
    assert place.command("deploy", str(bundles[1].path)).returncode == 0
    facts = json.loads(place.command("models", "--json").stdout)
    assert facts["target"] == "local"
    assert facts["replicas"]["local"]["model_version"] == bundles[1].sha256
    marks = {m["file"]: (m["pinned"], m["serving"], m["previous"], bool(m["accepted"])) for m in facts["models"]}
    assert marks == {
        "late-payers.bundle": (False, False, True, False),
        bundles[1].path.name: (True, True, False, True),
    }
    shown = place.command("models").stdout
    assert f"pinned serving  {bundles[1].path.name}" in shown
    assert f"replica local: answers with {bundles[1].sha256[:12]}, generation 2, confirmed" in shown


@pytest.mark.slow
def test_two_deployments_at_once_do_not_meet(place: Place, bundles: list[Made]) -> None:
    """The second says which one is at work and changes nothing; it may come when the first has ended, or died."""
    place.start()
    script = f"""
import os, sys
from services.deployment import __main__ as command
def then_wait(*arguments, **options):
    print("begun", flush=True)
    sys.stdin.read()
    return change(*arguments, **options)
change, command.change = command.change, then_wait
sys.exit(command.main(["deploy", {str(bundles[1].path)!r}]))
"""
    first = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=place.root,
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    for action in ("rollback", "unchallenge"):
        second = place.command(action)
        assert second.returncode == 1
        assert f"{action}: a deploy (process {first.pid}) is at work here" in second.stderr
    assert place.version() == bundles[0].sha256
    first.communicate("", timeout=60)
    assert first.returncode == 0
    assert place.version() == bundles[1].sha256
    assert place.command("rollback").returncode == 0


@pytest.mark.slow
def test_what_cannot_be_served_is_not_deployed(place: Place, bundles: list[Made], tmp_path: Path) -> None:
    """A damaged file never becomes the pin; a name that is taken is not overwritten; the old model answers on."""
    place.start()
    damaged = tmp_path / "damaged.bundle"
    damaged.write_bytes(bundles[1].path.read_bytes()[:-200])
    done = place.command("deploy", str(damaged))
    assert done.returncode == 1
    assert done.stderr.startswith("deploy: damaged.bundle is not a model that can be served: ")
    assert not (place.root / "models" / damaged.name).exists()

    other = tmp_path / "elsewhere" / "late-payers.bundle"
    other.parent.mkdir()
    shutil.copyfile(bundles[1].path, other)
    done = place.command("deploy", str(other))
    assert done.returncode == 1
    assert "exists with other content: give the file a new name" in done.stderr

    done = place.command("deploy", str(tmp_path / "none.bundle"))
    assert (done.returncode, done.stderr.endswith("none.bundle: No such file or directory\n")) == (1, True)
    assert place.version() == bundles[0].sha256


@pytest.mark.slow
def test_a_model_that_the_replica_refuses_is_taken_back(place: Place, bundles: list[Made]) -> None:
    """The file vanishes between the check and the service: the reason is shown and the pin is what it was."""
    place.start()
    pin = json.loads((place.root / "run" / "pin.json").read_text("utf-8"))
    target = place.root / "models" / bundles[1].path.name
    script = f"""
import sys, pathlib
from services.deployment import __main__ as command, deploy
prepare = deploy.prepare
def then_vanish(path, models, **options):
    pin = prepare(path, models, **options)
    pathlib.Path({str(target)!r}).unlink()
    return pin
command.prepare = then_vanish
sys.exit(command.main(["deploy", {str(bundles[1].path)!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=place.root,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 1
    assert f"{target.name} was not taken: " in done.stderr
    assert json.loads((place.root / "run" / "pin.json").read_text("utf-8")) == pin
    assert place.history()[-1] == ("deploy", target.name, "refused")
    assert place.version() == bundles[0].sha256


def test_a_taken_port_is_named(place: Place) -> None:
    """And nothing is started or left behind."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        done = place.command(module="services.deployment.local")
    assert done.returncode == 1
    assert f"port {place.port} is taken" in done.stderr
    assert not (place.root / "run").exists()


@pytest.mark.slow
def test_the_services_come_back_or_the_command_ends(place: Place) -> None:
    """A killed model service is started again; when the prediction API ends, so does the command, with a word why."""
    place.start()
    assert place.started is not None
    first = _children(place.started.pid)
    model = next(pid for pid, command in first.items() if "services.model" in command or "services/model" in command)
    os.kill(model, signal.SIGKILL)
    killed = datetime.now(UTC)
    until(lambda: model not in (now := _children(place.started.pid)) and len(now) == 2, 20, "another was started")
    until(lambda: _confirmed_since(place, killed), 30, "the API follows it")
    assert place.version()
    for pid in first.keys() - {model}:
        os.kill(pid, signal.SIGKILL)
    assert place.started.wait(60) == 1
    assert "the prediction API ended" in place.started.communicate(timeout=60)[0]


def _children(pid: int) -> dict[int, str]:
    """The command lines of a process's children, by process id."""
    found = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text("utf-8").split()
    return {int(child): (Path("/proc") / child / "cmdline").read_bytes().decode() for child in found}


def _confirmed_since(place: Place, moment: datetime) -> bool:
    facts = json.loads(ask(place.port, "GET", "/readyz")[2])
    return bool(facts["confirmed"]) and datetime.fromisoformat(facts["checked"]) > moment


@pytest.mark.slow
def test_a_model_that_was_taken_back_is_never_gone_back_to(place: Place, bundles: list[Made], tmp_path: Path) -> None:
    """It is deployed, fails a request, and is taken back by the replica; what is deployed next goes back past it."""
    place.start()
    bad = unfit.make("raises", tmp_path)
    done = place.command("deploy", str(bad.path))
    assert done.returncode == 0, done.stderr
    assert "; on probation until 2" in done.stdout
    body = json.dumps({**LOAN, "amount": unfit.ODD}).encode()
    assert ask(place.port, "POST", "/predict", body, {"Content-Type": "application/json"})[0] == 422
    until(lambda: place.version() == bundles[0].sha256, 20, "it is taken back")
    assert place.command("deploy", str(bundles[1].path)).returncode == 0
    assert place.version() == bundles[1].sha256
    assert place.command("rollback").returncode == 0
    assert place.version() == bundles[0].sha256
    assert ("taken back", bad.path.name, "taken back") in place.history()
