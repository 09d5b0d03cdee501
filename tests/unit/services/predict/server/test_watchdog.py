"""When a call of a model counts as hanging."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir
from services.predict.server import watchdog
from services.predict.server.watchdog import TICK, Watchdog
from services.predict.serving import model_calls
from services.predict.serving.model_calls import LOADING, SCORING, Call


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    monkeypatch.setattr(model_calls, "running", {})
    settings: Any = SimpleNamespace(prepare_seconds=3.0, score_seconds=2.0)
    made = Watchdog(SimpleNamespace(), SimpleNamespace(), settings)  # type: ignore[arg-type]
    made._last = 0.0
    return made


def seconds(dog: Watchdog, call: Call, each: float = TICK, fresh: bool = False) -> float | None:
    """When the call is found, if it is within ten seconds. A ``fresh`` one is another one each time."""
    now = 0.0
    while now < 10:
        now += each
        model_calls.running[1] = (call[0], f"{call[1]} {now}", call[2]) if fresh else call
        if dog.look(now):
            return now
    return None


def test_a_call_hangs_after_its_deadline(dog: Watchdog) -> None:
    """Loading and scoring have one each; rows have a hundredth of a second each."""
    assert seconds(dog, (LOADING, "m", 0)) == pytest.approx(3, abs=3 * TICK)
    dog._seen, dog._last = {}, 0.0
    assert seconds(dog, (SCORING, "m", 1)) == pytest.approx(2, abs=3 * TICK)
    dog._seen, dog._last = {}, 0.0
    assert seconds(dog, (SCORING, "m", 300)) == pytest.approx(5, abs=3 * TICK)


def test_many_short_calls_of_one_thread_do_not_hang(dog: Watchdog) -> None:
    """Each is measured alone."""
    assert seconds(dog, (SCORING, "m", 1), fresh=True) is None


def test_time_in_which_the_process_was_stopped_does_not_count(dog: Watchdog) -> None:
    """A process that was stopped for an hour, or a machine that slept, has not hung."""
    call = (SCORING, "m", 1)
    model_calls.running[1] = call
    assert dog.look(TICK) is None
    assert dog.look(3600.0) is None
    assert dog.look(3600.0 + TICK) is None
    assert watchdog.TICK * 2 < 2.0


def test_the_replica_is_told_which_model_hangs(tmp_path: Path) -> None:
    """Where it is the current one, or is being loaded, also after the leader has withdrawn it."""
    store, old, new = StateDir(tmp_path / "state"), "a" * 64, "b" * 64
    store.commit(Candidate("", old, 0))
    store.hung(new, "loading took longer than 3 s", "w")
    assert store.last_hang() is None, "that model is in another slot"
    store.begin_preparing(Candidate("t", new, 1, "2"))
    store.withdraw()
    store.hung(new, "loading took longer than 3 s", "w")
    found = store.last_hang()
    assert found is not None
    assert (found["sha256"], found["reason"]) == (new, "loading took longer than 3 s")
    assert store.begin_preparing(Candidate("u", new, 1, "2")) == (2, "loading took longer than 3 s")
    store.hung(old, "scoring took longer than 2 s", "w")
    found = store.last_hang()
    assert found is not None
    assert found["sha256"] == old
