"""What a replica that starts with a last known good model waits for, and what it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.predict.rollout import leader as leading
from services.predict.rollout import protocol
from services.predict.rollout.model_client import ModelClientError, ServedPins
from services.predict.rollout.protocol import PinnedVersion
from services.predict.rollout.worker import wait_until
from services.predict.settings import Settings
from tests.conftest import Made
from tests.unit.services.predict.rollout.test_leader import make


@pytest.mark.attack("dripping model service")
def test_a_start_with_a_last_known_good_waits_for_no_drip(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Confirmed, it answers before its statement is asked for; another pin's download is hurried once, and then has its time."""
    _, replica = make(settings, bundles, tmp_path)
    asked: list[float] = []

    def fetch(_: PinnedVersion, __: Callable[[bytes], object], seconds: float) -> None:
        asked.append(seconds)
        raise ModelClientError("the answer at /bundle took too long")

    def statement(_: PinnedVersion) -> None:
        assert replica.store.settled(), "a statement is waited for"
        raise ModelClientError("the answer at /statement took too long")

    monkeypatch.setattr(replica.client, "fetch", fetch)
    monkeypatch.setattr(replica.client, "statement", statement)
    monkeypatch.setattr(replica.leader, "policy", SimpleNamespace(renew=None))
    (replica.store.root / "settled").unlink(missing_ok=True)
    replica.reign()
    assert replica.store.settled()
    (replica.store.root / "settled").unlink()
    replica.pin(bundles[1], "2")
    replica.reign(rests=2)
    assert asked == [leading.START, settings.fetch_seconds]
    replica.close()


def test_a_poll_that_does_not_return_holds_no_start(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the look-up of a name hangs, which has no time-out."""
    _, replica = make(settings, bundles, tmp_path)
    (replica.store.root / "settled").unlink(missing_ok=True)
    monkeypatch.setattr(leading, "START", 0.01)

    def poll(_: float) -> ServedPins:
        assert wait_until(replica.store.settled, 30)
        raise ModelClientError("nobody is there")

    monkeypatch.setattr(replica.client, "poll", poll)
    assert replica.leader.perform(protocol.Poll(0.5)) is not None
    replica.close()


def test_strikes_outlive_a_leader_and_no_reboot(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str]
) -> None:
    """The clock that they are counted by begins anew with the machine: what it cannot have said yet is of another time."""
    _, replica = make(settings, bundles, tmp_path)
    now = time.monotonic()
    for resume, known in ((now + 20, now + 20), (now + 1e6, 0.0)):
        replica.store.write_status({"strikes": 9, "resume": resume})
        found = replica.leader.perform(protocol.Recover())
        assert isinstance(found, protocol.Recovered)
        assert (found.strikes, found.resume) == (9, known)
    replica.close()
