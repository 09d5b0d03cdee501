"""From the instant on, a replica that is late answers nothing, and says so."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from services.predict.app import Application
from services.predict.rollout.instant.clock import BOUND
from services.predict.rollout.instant.schedule import Schedule, ScheduleFile
from services.predict.rollout.protocol import Generation
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.loaded_models import Models, NoModel
from tests.conftest import LOAN

OLD, NEW = Generation(1, "a" * 64), Generation(2, "b" * 64)
DUE = Schedule(NEW.sha256, "2", 1000.0, binding=True)


def test_only_the_model_before_is_overdue_and_only_from_the_instant_on() -> None:
    """With time for the switch where all workers are ready, by the clock that counts."""
    assert not DUE.overdue(OLD, 999.99)
    assert DUE.overdue(OLD, 1000.0)
    assert not DUE.overdue(NEW, 2000.0)
    assert not replace(DUE, binding=False).overdue(OLD, 2000.0)
    ready = replace(DUE, prepared=True)
    assert not ready.overdue(OLD, 1000.0 + BOUND - 0.01)
    assert ready.overdue(OLD, 1000.0 + BOUND)
    assert not replace(DUE, ahead=5.0).overdue(OLD, 1004.9)
    assert replace(DUE, ahead=-5.0).overdue(OLD, 995.0)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (replace(DUE, own_clock=True, least=-0.1, most=0.1), None),
        (DUE, "has not told its time"),
        (
            replace(DUE, least=-0.3, most=0.7),
            "is not known well enough yet (the model service's is ahead by -0.30 to +0.70 s)",
        ),
        (replace(DUE, least=-3.1, most=-3.0), "differs from the model service's by -3.10 to -3.00 s"),
    ],
)
def test_the_operator_is_told_of_a_clock_that_does_not_count(known: Schedule, words: str | None) -> None:
    """That it is wrong, or why that is not known."""
    assert known.trouble is None if words is None else words in (known.trouble or "")


def test_what_is_written_is_read(store: StateDir) -> None:
    """A damaged file is no schedule, and one that is taken away is gone."""
    file = ScheduleFile(store)
    file.write(None)
    assert file.read() is None
    file.write(replace(DUE, least=-0.1, most=0.1))
    assert file.read() == replace(DUE, least=-0.1, most=0.1)
    file.write(None)
    assert file.read() is None
    for damaged in (b"", b"{", b"[]", b'{"sha256": "x"}', b'{"other": 1}'):
        file.path.write_bytes(damaged)
        assert file.read() is None


def test_a_replica_that_is_late_answers_503_and_is_not_ready(
    application: Application, client: FlaskClient, store: StateDir
) -> None:
    """Also in a worker that has just begun. It goes on when the pin is taken back."""
    file = ScheduleFile(store)
    file.write(replace(DUE, instant=time.time() + 3600, staged=True, least=4.9, most=5.1))
    application.models.look_ahead()
    assert client.post("/predict", json=LOAN).status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["scheduled"]["staged"]) == (200, True)
    assert "the clock of this host differs from the model service's by +4.90 to +5.10 s" in ready.json["trouble"]
    file.write(replace(DUE, instant=time.time() - 1))
    application.models.look_ahead()
    answer = client.post("/predict", json=LOAN)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "was due at" in answer.json["detail"]
    late = client.get("/readyz")
    assert (late.status_code, late.json["ready"], late.json["model_version"]) == (503, False, None)
    assert "was due at" in late.json["why_not"]
    new = Models(store, lambda _: application.models.resolve().model)
    with pytest.raises(NoModel, match="was due at"):
        new.current()
    file.write(None)
    application.models.look_ahead()
    assert client.post("/predict", json=LOAN).status_code == 200
    assert "scheduled" not in client.get("/readyz").json
