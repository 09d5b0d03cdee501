"""Probation on a real store: the model before stays loaded, evidence takes the new one back, and faults on the way pass."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import joblib
import pytest

from modelbundle.validation.problems import Problem
from services.predict.gates.gate import Verdict
from services.predict.rollout import protocol
from services.predict.rollout.protocol import Generation
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import Made, make_book, make_logistic
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.rollout.test_leader import (
    Replica,
    make,
)

PROBLEMS = [Problem("/int_rate", "must be at most 0.2")]


@pytest.fixture
def replica(settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str]) -> Any:
    """The second bundle is on probation, the first is what it returns to, and one worker has both."""
    _, made = make(settings, bundles, tmp_path)
    made.pin(bundles[1], "2")
    made.reign()
    assert made.store.current() == Generation(2, bundles[1].sha256)
    for _ in range(3):
        made.worker.step()
    yield made
    made.close()


def show(replica: Replica) -> None:
    """A request that the new model refuses and the one before accepts."""
    serving = replica.models.resolve()
    assert serving.trial is not None
    serving.trial.refused(PROBLEMS, lambda _: None)
    replica.worker._told = 0.0
    replica.worker.step()


def test_a_model_that_was_switched_to_is_on_probation(replica: Replica, bundles: list[Made]) -> None:
    """Both are loaded, both files stay, and it says what is returned to and until when."""
    found = replica.store.probation()
    assert found is not None
    assert (found.generation, found.fallback, found.pin.id) == (2, bundles[0].sha256, "2")
    assert replica.models.loaded() == {made.sha256 for made in bundles}
    assert replica.store.proven(bundles[0].sha256)
    assert not replica.store.proven(bundles[1].sha256)


def test_evidence_takes_it_back_and_its_pin_is_refused(replica: Replica, bundles: list[Made]) -> None:
    """The refusal names the generation and has the evidence; the switch back is an event; the next pin is tried."""
    show(replica)
    replica.reign(rests=2)
    assert replica.store.current() == Generation(3, bundles[0].sha256)
    assert replica.models.resolve().model.version == bundles[0].sha256
    assert replica.models.resolve().trial is None
    refused = replica.store.refused()
    assert refused is not None
    assert (refused["kind"], refused["generation"], refused["sha256"]) == ("probation", 2, bundles[1].sha256)
    assert refused["evidence"]["misfits"] == {"`int_rate` must be at most 0.2": 1}
    told = [(e["kind"], e.get("generation"), e.get("taken_back"), e.get("why")) for e in replica.events().values()]
    assert ("switch", 3, bundles[1].sha256, None) in told
    assert ("refusal", None, None, "probation") in told
    replica.reign(rests=3)
    assert replica.store.current() == Generation(3, bundles[0].sha256), "the refused pin came back"
    assert not replica.store.proven(bundles[1].sha256)
    replica.pin(bundles[1], "3")
    replica.reign(rests=2)
    assert replica.store.current() == Generation(4, bundles[1].sha256)


def test_a_probation_that_ends_well_lets_the_model_before_go(
    replica: Replica, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From memory; its file stays for a rollback, which is not watched."""
    found = replica.store.probation()
    assert found is not None
    monkeypatch.setattr("services.predict.rollout.leader.time.time", lambda: found.until + 1)
    replica.reign(rests=3)
    replica.worker.step()
    assert replica.store.probation() is None
    assert replica.models.loaded() == {bundles[1].sha256}
    assert replica.models.resolve().trial is None
    assert replica.store.proven(bundles[1].sha256)
    assert replica.store.bundle(bundles[0].sha256).exists()
    replica.pin(bundles[0], "3")
    replica.reign(rests=2)
    assert replica.store.current() == Generation(3, bundles[0].sha256)
    assert replica.store.probation() is None


@pytest.mark.parametrize(
    ("change", "watched"),
    [({}, True), ({"PROBATION_SECONDS": "0"}, False), ({"allow": "probation"}, False), ({"allow": "contract"}, True)],
)
def test_what_is_not_watched(
    settings: Settings,
    bundles: list[Made],
    tmp_path: Path,
    rehearsals: list[str],
    change: dict[str, str],
    watched: bool,
) -> None:
    """Where probation is off, or the pin lifts it. A first model has nothing to return to."""
    _, made = make(settings, bundles, tmp_path)
    assert made.store.probation() is None
    own = Settings.from_environment(
        {"STATE_DIR": str(tmp_path / "state"), "DATA_DIR": str(tmp_path / "data"), **change}
    )
    made.leader.settings = own
    pin = protocol.PinnedVersion(bundles[1].sha256, "2", (change.get("allow", ""),))
    made.client.serves = (pin, bundles[1].path.read_bytes())
    made.reign()
    assert (made.store.probation() is not None) is watched
    assert made.store.proven(bundles[1].sha256) is not watched
    made.close()


def test_what_a_pin_lifts_is_remembered_for_the_next_leader(
    settings: Settings,
    bundles: list[Made],
    tmp_path: Path,
    rehearsals: list[str],
) -> None:
    """A meant change of the contract is not taken back for it."""
    _, made = make(settings, bundles, tmp_path)
    made.client.serves = (
        protocol.PinnedVersion(bundles[1].sha256, "2", ("contract",)),
        bundles[1].path.read_bytes(),
    )
    made.reign()
    made.worker.step()
    show(made)
    made.reign(rests=3)
    assert made.store.current() == Generation(2, bundles[1].sha256)
    made.close()


def test_whichever_operation_fails_while_it_is_taken_back_the_next_leader_goes_on(
    settings: Settings,
    bundles: list[Made],
    tmp_path: Path,
    rehearsals: list[str],
) -> None:
    """n = 1, 2, ... until a whole return runs with the failure unspent; in the end the first model answers, once."""
    n = 0
    while True:
        n += 1
        world, made = make(settings, bundles, tmp_path / str(n))
        made.pin(bundles[1], "2")
        made.reign()
        for _ in range(3):
            made.worker.step()
        show(made)
        world.count, world.fails, world.for_good = 0, n, True
        try:
            made.reign(rests=2)
            spent = world.count >= n
        except OSError:
            spent = True
        world.fails = 0
        made.reign(rests=3)
        assert made.store.current() == Generation(3, bundles[0].sha256), f"operation {n}"
        made.reign(rests=2)
        assert made.store.current() == Generation(3, bundles[0].sha256), f"operation {n}"
        assert made.store.probation() is None
        made.close()
        if not spent:
            break
    assert n > 8, "the faults did not reach the whole return"


def test_a_model_that_cannot_be_returned_to_is_given_up(replica: Replica, bundles: list[Made]) -> None:
    """Its file has gone: there is nothing to return to, so the probation ends."""
    replica.store.bundle(bundles[0].sha256).unlink()
    show(replica)
    replica.reign(rests=3)
    assert replica.store.current() == Generation(2, bundles[1].sha256)
    assert replica.store.probation() is None


def test_a_third_model_takes_over_what_is_returned_to(replica: Replica, bundles: list[Made], tmp_path: Path) -> None:
    """A, B on probation, then C: it returns to A, whose file stays, and never to B, which has not proved itself."""
    other = tmp_path / "third.joblib"
    frame, labels = make_book()
    joblib.dump(make_logistic().fit(frame.drop(columns="emp_length"), labels), other)
    content = other.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    replica.client.serves = (protocol.PinnedVersion(sha256, "3"), content)
    replica.reign(rests=2)
    found = replica.store.probation()
    assert found is not None
    assert (found.generation, found.fallback) == (3, bundles[0].sha256)
    for _ in range(3):
        replica.worker.step()
    assert replica.models.loaded() == {sha256, bundles[0].sha256}
    show(replica)
    replica.reign(rests=2)
    assert replica.store.current() == Generation(4, bundles[0].sha256)


def test_a_rollback_is_held_up_by_no_gate_though_no_probation_ended_yet(
    replica: Replica, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes after two deployments: the model before has answered, so it is only warned of, and it is on probation again.

    A model that was taken back has not answered.
    """
    told: list[tuple[str, str]] = []

    def rehearse(file: tuple[str, Path], _: Settings, __: object, lifted: tuple[str, ...], no_rows: str) -> Verdict:
        told.append((",".join(lifted), no_rows))
        return Verdict()

    monkeypatch.setattr("services.predict.rollout.staging.rehearse", rehearse)
    replica.pin(bundles[0], "3")
    replica.reign(rests=2)
    replica.pin(bundles[1], "4")
    replica.reign(rests=2)
    assert told == [("contract,scores,probation", "it answered here before")] * 2
    found = replica.store.probation()
    assert found is not None, "what has not proved itself is watched again"
    assert found.fallback == bundles[0].sha256
    for _ in range(3):
        replica.worker.step()
    show(replica)
    replica.reign(rests=2)
    assert not replica.store.answered(bundles[1].sha256)
    replica.pin(bundles[1], "5")
    replica.reign(rests=2)
    assert told[-1] == ("", "")


def test_a_record_of_another_generation_counts_for_nothing(store: StateDir, bundles: list[Made]) -> None:
    """A leader that was killed before the rename left it; the same model at another number is another switch."""
    make_current(store, bundles[0])
    pin = protocol.PinnedVersion(bundles[1].sha256, "2")
    store._record(Generation(2, bundles[1].sha256), protocol.Probation(2, pin, bundles[0].sha256, 9e9))
    assert store.probation() is None
    make_current(store, bundles[0])
    make_current(store, bundles[1])
    assert store.current() == Generation(3, bundles[1].sha256)
    assert store.probation() is None
