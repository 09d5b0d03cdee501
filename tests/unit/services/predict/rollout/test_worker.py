"""A worker's votes: what is the model's fault is a veto, and what is not is waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.predict.rollout.protocol import Candidate, Generation, PinnedVersion, Probation, Vote
from services.predict.rollout.roster import WorkerEntry
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.worker import MOST_DEATHS, Worker
from services.predict.serving import loaded_models
from services.predict.serving.loaded_models import Models

ROOT = Path(__file__).parents[5]
OLD, NEW = "a" * 64, "b" * 64
CANDIDATE = Candidate("t", NEW, 1, "2")


class Loaded:
    """A model that is never asked anything but this."""

    def intact(self) -> bool:
        return True


class Replica:
    """One worker, which has the old model. ``load`` may be changed to do what a model does while it is loaded."""

    def __init__(self, root: Path) -> None:
        self.store = StateDir(root)
        self.load: Callable[[str], Any] = lambda sha256: sha256
        self.models = Models(self.store, self._loaded)
        self.store.commit(Candidate("", OLD, 0))
        self.worker = Worker(self.store, self.models)
        self.worker.step()
        self.store.propose(CANDIDATE)

    def _loaded(self, sha256: str) -> Any:
        self.load(sha256)
        return Loaded()

    def vote(self) -> tuple[Vote | None, str]:
        votes, reason = self.store.votes("t")
        (vote,) = votes.values()
        return vote, reason


@pytest.fixture
def replica(tmp_path: Path) -> Any:
    made = Replica(tmp_path / "state")
    yield made
    made.worker.leave()


def test_a_vote_for_which_there_is_no_room_is_given_again(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a vote that was written counts as given."""
    full, said = [True], WorkerEntry.say

    def say(entry: WorkerEntry, **words: Any) -> None:
        if words["vote"] and full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        said(entry, **words)

    monkeypatch.setattr(WorkerEntry, "say", say)
    with pytest.raises(OSError, match="No space"):
        replica.worker.step()
    assert replica.vote() == (None, "a worker loads it")
    full[0] = False
    replica.worker.step()
    assert replica.vote() == (Vote.READY, "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_what_the_machine_lacks_is_no_veto(replica: Replica, number: int) -> None:
    """It is named, and tried again."""

    def lacks(_: str) -> Any:
        raise OSError(number, os.strerror(number))

    replica.load = lacks
    with pytest.raises(OSError, match=os.strerror(number)):
        replica.worker.step()
    assert replica.vote() == (None, f"a worker waits: [Errno {number}] {os.strerror(number)}")
    replica.load = lambda sha256: sha256
    replica.worker.step()
    assert replica.vote() == (Vote.READY, "")


@pytest.mark.parametrize(
    "error", [ValueError("odd"), MemoryError(), FileNotFoundError("a file of its own"), SystemExit(1)]
)
def test_what_a_model_raises_is_a_veto(replica: Replica, error: BaseException) -> None:
    """Also what would end a thread in silence."""

    def raises(_: str) -> Any:
        raise error

    replica.load = raises
    replica.worker.step()
    assert replica.vote() == (Vote.VETO, f"{type(error).__name__}: {error}")


def test_a_worker_that_waits_says_for_what_and_follows_another_candidate(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its turn, and for an answer that uses an older model; it does not hang on the lock of a worker that is stopped."""
    with (replica.store.root / "turn.lock").open("w", encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        replica.worker.step()
        assert replica.vote() == (None, "a worker waits: another one is loading it")
    with replica.models.resolve() as serving:
        replica.store.commit(Candidate("", NEW, 1))
        replica.store.propose(Candidate("t", "c" * 64, 2, "3"))
        replica.worker.step()
        replica.worker.step()
        assert replica.vote() == (None, "a worker waits: an answer still uses an older model")
        assert not serving.requests.overdue
        monkeypatch.setattr(loaded_models, "HOLD", 0.0)
        replica.worker.step()
        assert serving.requests.overdue, "an answer may hold a former model for ever"
    replica.worker.step()
    assert replica.vote() == (Vote.READY, "")


def test_a_model_that_hung_or_killed_three_workers_is_loaded_no_more(replica: Replica) -> None:
    """For its pin; one death may be a chance, and another pin begins anew."""
    loaded: list[str] = []
    replica.load = lambda sha256: loaded.append(sha256)
    for _ in range(MOST_DEATHS):
        replica.store.begin_preparing(CANDIDATE)
    replica.worker.step()
    assert replica.vote() == (Vote.VETO, "3 workers died while they loaded it")
    replica.store.propose(Candidate("t", NEW, 1, "3"))
    replica.worker.voted = None
    replica.worker.step()
    assert (replica.vote(), loaded) == ((Vote.READY, ""), [NEW])
    replica.store.begin_preparing(CANDIDATE)
    replica.store.hung(NEW, "loading took longer than 30 s", "w")
    replica.store.propose(CANDIDATE)
    replica.worker.voted = None
    replica.worker.step()
    assert replica.vote() == (Vote.VETO, "loading took longer than 30 s")
    assert loaded == [NEW]


def test_how_a_worker_crashed_is_evidence_and_that_it_was_killed_is_not(tmp_path: Path) -> None:
    """The interpreter writes its last words into the worker's entry."""
    store = StateDir(tmp_path / "state")
    pin = PinnedVersion(NEW, "2")
    store.commit(Candidate("", OLD, 0))
    store.commit(Candidate("", NEW, 1), Probation(2, pin, OLD, 0.0))
    assert store.current() == Generation(2, NEW)
    program = (
        "import os, sys, pathlib; from services.predict.rollout.roster import WorkerEntry;"
        "from services.predict.rollout.state_dir import StateDir;"
        "entry = WorkerEntry(StateDir(pathlib.Path(sys.argv[1]))); entry.report_crash(True);"
        "entry.say(attempt='t', vote='ready', reason='x' * 2000);"
        "os.kill(os.getpid(), int(sys.argv[2]))"
    )
    master = tmp_path / "gunicorn" / "arbiter.py"  # what it ends, it ends in the main thread, which it started
    master.parent.mkdir()
    master.write_text(program, "utf-8")
    for ran, number in (([master], 6), (["-c", program], 9), (["-c", program], 6), (["-c", program], 11)):
        command = [sys.executable, *ran, store.root, str(number)]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert store.votes("t") == ({}, "")
    found = sorted(store.read_evidence())
    assert found == [
        b'{"generation": 2, "crashes": {"Aborted": 1}}',
        b'{"generation": 2, "crashes": {"Segmentation fault": 1}}',
    ]
