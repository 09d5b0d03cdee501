"""Models that pass their rehearsal and then hang or die in the workers only: each is refused, and the next one is taken."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelbundle.publishing.publish import Published
from tests.conftest import LOAN, Made
from tests.integration import unfit
from tests.integration.system import Load, System, running, until

SAID = {
    "hangs while it is loaded": ("veto", "a worker could not prepare it: loading took longer than 2 s"),
    "dies while it is loaded": ("veto", "a worker could not prepare it: 3 workers died while they loaded it"),
    "hangs while it scores": ("probation", "a worker was ended: scoring took longer than 4.01 s"),
    "dies while it scores": ("probation", "2 workers crashed (Aborted)"),
}
SETTINGS = {"hangs while it is loaded": {"PREPARE_SECONDS": "2"}, "hangs while it scores": {"SCORE_SECONDS": "4"}}


@pytest.fixture
def replica(what: str, tmp_path: Path, bundles: list[Made]) -> Iterator[System]:
    """The first bundle answers. The time that a model may take is short only where that is tried."""
    with running(tmp_path, ALLOW_PICKLE="1", **SETTINGS.get(what, {})) as system:
        for made in bundles:
            shutil.copy(made.path, system.models)
        system.pin(bundles[0].path.name, bundles[0].sha256)
        system.start_model()
        system.start_predict()
        yield system


def ask(system: System, times: int) -> None:
    """Ask for the loan that the model does not survive. The answer may never come."""

    def post() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            system.post({**LOAN, "amount": unfit.ODD})

    for _ in range(times):
        asking = threading.Thread(target=post, daemon=True)
        asking.start()
        asking.join(1)


def make(what: str, system: System) -> Published:
    made = unfit.make(what, system.root)
    shutil.copy(made.path, system.models)
    return made


def refused(system: System, made: Any) -> tuple[str, str] | None:
    refusal = system.readyz()[1]["refusal"]
    return (refusal["kind"], refusal["reason"]) if refusal and refusal["model_version"] == made.sha256 else None


@pytest.mark.slow
@pytest.mark.attack("stuck models")
@pytest.mark.parametrize("what", unfit.STUCK)
def test_a_model_that_is_stuck_in_workers_only(what: str, replica: System, bundles: list[Made]) -> None:
    """A refusal says so, the model before answers, `/readyz` tells of a hang, and the next pin is taken as ever."""
    made = make(what, replica)
    clients = 1 if what.endswith("loaded") else 0  # no other request, so that nothing else is found on probation
    with Load(replica.port, LOAN, clients=clients) as load:
        replica.pin(made.path.name, made.sha256, allow=["scores"])
        if what.endswith("scores"):
            replica.serving(made.sha256, 180)
            ask(replica, 2 if what.startswith("dies") else 1)
        kind, reason = until(lambda: refused(replica, made), 180, "the model is refused")
        assert (kind, reason) == SAID[what]
        until(lambda: replica.readyz()[1]["serving"] == bundles[0].sha256, 60, "the model before answers")
        hung = replica.readyz()[1]["hung"]
        assert (hung and hung["model_version"]) == (made.sha256 if what.startswith("hangs") else None)
        replica.pin(bundles[1].path.name, bundles[1].sha256)
        replica.serving(bundles[1].sha256, 60)
        until(lambda: len(replica.workers()) == 2, 60, "two workers")
    assert replica.post(LOAN)[1]["x-model-version"] == bundles[1].sha256
    assert [a for a in load.answers if a.status not in (200, 503)] == []
    assert load.stale() == []
    assert replica.readyz()[1]["trouble"] is None
