"""Leader and worker on a real store: every operation fails once, and then for good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelbundle.durable import Disk
from services.predict.app import loader
from services.predict.rollout import leader as leading
from services.predict.rollout import protocol, staging, state_machine
from services.predict.rollout.leader import LeaderThread
from services.predict.rollout.model_client import ModelClient, ModelClientError, ServedPins
from services.predict.rollout.protocol import PinnedVersion
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.worker import Worker
from services.predict.serving.loaded_models import Models
from services.predict.settings import Settings
from services.predictionlog import event
from tests.conftest import Made


class World(Disk):
    """The disk and the network of one replica. Operation ``fails`` raises, and all after it where ``for_good``."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = 0
        self.for_good = False

    def step(self) -> None:
        self.count += 1
        if self.fails and (self.count == self.fails or (self.for_good and self.count > self.fails)):
            raise OSError(28, "No space left on device")

    def open(self, path: Path, flags: int) -> int:
        self.step()
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        self.step()
        super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self.step()
        super().fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self.step()
        super().replace(source, target)

    def symlink(self, content: str, path: Path) -> None:
        self.step()
        super().symlink(content, path)

    def unlink(self, path: Path) -> None:
        self.step()
        super().unlink(path)


class Files(ModelClient):
    """A model service in this process: what it serves is set, and it fails as the world says."""

    def __init__(self, world: World) -> None:
        super().__init__("http://nowhere", max_bytes=1 << 30)
        self.world = world
        self.serves: tuple[PinnedVersion, bytes] | None = None

    def poll(self, timeout: float) -> ServedPins:
        try:
            self.world.step()
        except OSError:
            raise ModelClientError("lost") from None
        if self.serves is None:
            raise ModelClientError("nobody is there")
        return ServedPins(self.serves[0], self.serves[0])

    def fetch(self, pin: PinnedVersion, write: Callable[[bytes], object], seconds: float) -> None:
        assert self.serves is not None
        for start in range(0, len(self.serves[1]), 65536):
            try:
                self.world.step()
            except OSError:
                raise ModelClientError("cut short") from None
            write(self.serves[1][start : start + 65536])


class Replica:
    """One worker and its leader, stepped by hand."""

    def __init__(self, settings: Settings, world: World) -> None:
        self.store = StateDir(settings.state_dir, world)
        self.models = Models(self.store, loader(self.store, settings))
        self.worker = Worker(self.store, self.models)
        self.client = Files(world)
        self.lines: list[bytes] = []
        self.takes = True
        self.leader = LeaderThread(self.store, settings, self.client, self.write)

    def write(self, line: bytes) -> bool:
        if self.takes:
            self.lines.append(line)
        return self.takes

    def events(self) -> dict[str, dict[str, Any]]:
        """What was written down, by the event's id; of two with one id the first, as in the database."""
        found = map(event.decode, self.lines)
        return {e["event_id"]: {"kind": e["kind"], **json.loads(e["detail"])} for e in reversed(list(found))}

    def pin(self, made: Made, own: str) -> None:
        self.client.serves = (PinnedVersion(made.sha256, own), made.path.read_bytes())

    def reign(self, rests: int = 1) -> None:
        """LeaderLock until the next rest, or until something is thrown, as the leader's thread does."""
        self.leader.state = state_machine.Leader()
        action: protocol.Action = state_machine.FIRST
        for _ in range(200):
            if isinstance(action, protocol.Rest):
                time.sleep(max(0, self.leader.state.resume - time.monotonic()))
                rests -= 1
                if rests == 0:
                    self.leader._publish()
                    return
                result: protocol.Result = protocol.Done()
            elif isinstance(action, protocol.StepDown):
                return
            else:
                result = self.leader.perform(action)
            self.worker.step()
            self.leader.state, action = state_machine.lead(self.leader.state, result)
        raise AssertionError("the leader does not come to rest")

    def close(self) -> None:
        self.worker.entry.leave()


def make(settings: Settings, bundles: list[Made], folder: Path) -> tuple[World, Replica]:
    world = World()
    places = {"STATE_DIR": str(folder / "state"), "DATA_DIR": str(folder / "data")}
    own = Settings.from_environment({**places, "ALLOW_PICKLE": "1"})  # some tests serve a plain pipeline
    replica = Replica(own, world)
    replica.pin(bundles[0], "1")
    replica.reign()
    assert replica.store.current().sha256 == bundles[0].sha256
    world.count = 0
    return world, replica


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
def test_whichever_operation_fails_the_old_or_the_new_model_answers_and_the_next_clean_round_brings_the_new(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str], for_good: bool
) -> None:
    """n = 1, 2, ... until a whole switch runs with the failure unspent; a restart finds one of the two models as well."""
    n = 0
    while True:
        n += 1
        world, replica = make(settings, bundles, tmp_path / str(n))
        replica.pin(bundles[1], "2")
        world.fails, world.for_good = n, for_good
        try:
            replica.reign()
            spent = world.count >= n
        except OSError:
            spent = True
        world.fails = 0
        both = {made.sha256 for made in bundles}
        assert replica.store.current().sha256 in both
        assert replica.models.resolve().model.version == replica.store.current().sha256
        restarted = Replica(
            Settings.from_environment(
                {"STATE_DIR": str(tmp_path / str(n) / "state"), "DATA_DIR": str(tmp_path / str(n))}
            ),
            World(),
        )
        assert restarted.models.resolve().model.version in both
        restarted.close()
        replica.reign(rests=2)
        assert replica.store.current().sha256 == bundles[1].sha256, f"operation {n}"
        assert replica.store.refused() is None, "a passing fault refused a good bundle"
        replica.close()
        if not spent:
            break
    assert n > 25, "the faults did not reach the whole switch"


def test_a_refusal_is_remembered_for_its_pin_and_no_longer(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str]
) -> None:
    """A bad bundle is rehearsed once per pin; the next pin is tried, and so is the same bundle pinned again."""
    _, replica = make(settings, bundles, tmp_path)
    bad = b"not a model"
    import hashlib

    def pin_bad(own: str) -> None:
        replica.client.serves = (PinnedVersion(hashlib.sha256(bad).hexdigest(), own), bad)

    rehearsals.clear()
    pin_bad("2")
    for _ in range(3):
        replica.reign(rests=2)
    assert len(rehearsals) == 1
    refused = replica.store.refused()
    assert refused is not None
    assert refused["reason"]
    pin_bad("3")
    replica.reign(rests=2)
    assert len(rehearsals) == 2
    replica.pin(bundles[1], "4")
    replica.reign(rests=2)
    assert replica.store.current().sha256 == bundles[1].sha256
    replica.close()


def test_a_rehearsal_that_three_leaders_did_not_survive_is_a_refusal(
    settings: Settings, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rehearsals: list[str]
) -> None:
    """A chance kill does not refuse a good bundle; a crash loop ends."""
    _, replica = make(settings, bundles, tmp_path)

    class Killed(BaseException):
        pass

    def dies(*_: Any) -> None:
        raise Killed

    replica.pin(bundles[1], "2")
    good = staging.rehearse
    monkeypatch.setattr(staging, "rehearse", dies)
    for _ in range(2):
        with pytest.raises(Killed):
            replica.reign()
    monkeypatch.setattr(staging, "rehearse", good)
    replica.reign()
    assert replica.store.current().sha256 == bundles[1].sha256, "two chance kills are forgiven"
    replica.pin(bundles[0], "3")
    monkeypatch.setattr(staging, "rehearse", dies)
    for _ in range(3):
        with pytest.raises(Killed):
            replica.reign()
    replica.reign()
    refused = replica.store.refused()
    assert refused is not None
    assert "none ended" in refused["reason"]
    replica.close()


def test_a_pin_that_changes_while_the_workers_prepare_is_not_committed(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str]
) -> None:
    """The leader asks once more before the rename."""
    _, replica = make(settings, bundles, tmp_path)
    replica.pin(bundles[1], "2")
    generations = []
    poll = replica.client.poll

    def fickle(timeout: float) -> ServedPins:
        if replica.leader.state.phase is state_machine.Phase.CONFIRMING:
            replica.pin(bundles[0], "3")
        found = poll(timeout)
        generations.append(replica.store.current().number)
        return found

    replica.client.poll = fickle  # type: ignore[method-assign]
    replica.reign()
    assert replica.store.current().number == 1
    assert set(generations) == {1}
    assert replica.store.candidate() is None
    replica.close()


def test_every_switch_and_refusal_is_written_down_once_whenever_the_leader_dies(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after the rename or the refusal, or while the disk took nothing: the next reign makes up for it."""
    _, replica = make(settings, bundles, tmp_path)

    class Killed(BaseException):
        pass

    def dies(**_: Any) -> None:
        if replica.store.current().sha256 == bundles[1].sha256:
            raise Killed

    with monkeypatch.context() as fatal:
        fatal.setattr(replica.leader.events, "catch_up", dies)
        replica.pin(bundles[1], "2")
        with pytest.raises(Killed):
            replica.reign()
    replica.takes = False
    replica.client.serves = (PinnedVersion("f" * 64, "3"), b"not a model")
    monkeypatch.setattr(replica.leader.staging, "_fetch", lambda *_: None)
    replica.reign(rests=2)
    assert len(replica.events()) == 1
    replica.takes = True
    again = Replica(settings, World())
    again.leader.events.store = replica.store
    again.leader.events.catch_up()
    replica.leader.events.catch_up()
    before = len(replica.lines)
    replica.leader.events.catch_up()
    assert len(replica.lines) == before
    told = [
        (e["kind"], e["model_version"], e.get("old"), e.get("generation"), e.get("why"))
        for e in replica.events().values()
    ]
    assert sorted(told) == sorted(
        [
            ("switch", bundles[0].sha256, None, 1, None),
            ("switch", bundles[1].sha256, bundles[0].sha256, 2, None),
            ("refusal", "f" * 64, None, None, "rehearsal"),
        ]
    )
    assert set(again.events()) < set(replica.events()), "what another process writes down is the same event"
    again.close()
    replica.close()


def test_a_vote_that_does_not_come_is_waited_for_again_and_named(
    settings: Settings, bundles: list[Made], tmp_path: Path, rehearsals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is alive and silent, as one that is stopped, delays the switch. It is no refusal: then the model comes in."""
    from dataclasses import replace

    from services.predict.rollout.roster import WorkerEntry

    _, replica = make(settings, bundles, tmp_path)
    silent = WorkerEntry(replica.store, "silent")
    replica.leader.settings = replace(replica.leader.settings, prepare_seconds=0.05)
    monkeypatch.setattr(leading, "COUNT", 0.02)
    monkeypatch.setattr(leading, "REPLACE", 0.0)
    replica.pin(bundles[1], "2")
    replica.reign()
    assert replica.store.refused() is None
    assert replica.store.status()["trouble"] == "late, and tried again: a worker does not respond"
    assert replica.store.current().sha256 == bundles[0].sha256
    silent.leave()
    replica.reign(rests=2)
    assert replica.store.current().sha256 == bundles[1].sha256
    assert replica.store.status()["trouble"] is None
    replica.close()
