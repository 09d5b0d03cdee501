"""``STATE_DIR``: one rename, a roster that the kernel keeps, and a journal that survives."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from modelbundle.durable import Disk
from services.predict.rollout.protocol import NOTHING, Candidate, Generation, PinnedVersion, Vote
from services.predict.rollout.roster import LeaderLock, WorkerEntry
from services.predict.rollout.state_dir import StateDir

A, B = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def test_generations_count_switches_not_models(store: StateDir) -> None:
    """A, B, A are three generations; the one before is remembered."""
    assert store.current() == NOTHING
    for number, sha256 in enumerate((A, B, A), 1):
        assert store.commit(Candidate("t", sha256, number - 1)) == Generation(number, sha256)
        assert store.current() == Generation(number, sha256)
    assert store.previous() == Generation(2, B)


def test_a_commit_that_fails_leaves_the_old_generation(tmp_path: Path) -> None:
    """Whichever operation of a commit fails, what is current is the old or the new generation, and a second try works."""

    class Failing(Disk):
        left = 0

        def _count(self) -> None:
            Failing.left -= 1
            if Failing.left == 0:
                raise OSError(28, "No space left on device")

        def symlink(self, content: str, path: Path) -> None:
            self._count()
            super().symlink(content, path)

        def replace(self, source: Path, target: Path) -> None:
            self._count()
            super().replace(source, target)

        def fsync(self, descriptor: int) -> None:
            self._count()
            super().fsync(descriptor)

    n = 0
    while True:
        n += 1
        store = StateDir(tmp_path / str(n), Failing())
        Failing.left = 0
        store.commit(Candidate("t", A, 0))
        Failing.left = n
        try:
            store.commit(Candidate("t", B, 1))
        except OSError:
            assert store.current() in (Generation(1, A), Generation(2, B))
            assert not [p for p in store.root.iterdir() if p.name.startswith(".")], "a temporary link was left behind"
        if Failing.left > 0:
            break
        Failing.left = 0
        assert store.commit(Candidate("t", B, 1)).sha256 == B
    assert n > 4


def test_a_worker_is_alive_while_it_holds_its_lock(store: StateDir) -> None:
    """A killed worker leaves the roster by itself; its file is cleared away."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        WorkerEntry(store, "child").say(attempt="t1", vote="ready")
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    seat = WorkerEntry(store, "parent")
    assert store.votes("t1")[0] == {"child": Vote.READY, "parent": None}
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert store.votes("t1")[0] == {"parent": None}
    assert not (store.workers / "child").exists()
    seat.leave()
    assert store.votes("t1") == ({}, "")


def test_a_vote_counts_for_its_own_attempt_only(store: StateDir) -> None:
    """What a worker said about an earlier candidate is no vote on this one; a veto carries its reason."""
    seat = WorkerEntry(store, "w")
    seat.say(attempt="old", vote="ready")
    assert store.votes("new") == ({"w": None}, "a worker does not respond")
    seat.say(attempt="new", vote=None, reason="a worker loads it")
    assert store.votes("new") == ({"w": None}, "a worker loads it")
    seat.say(attempt="new", vote="veto", reason="golden row 3")
    assert store.votes("new") == ({"w": Vote.VETO}, "golden row 3")
    seat.leave()


def test_one_leader_at_a_time(store: StateDir) -> None:
    """The lead is free again once it was let go."""
    lead = LeaderLock.take(store)
    assert lead is not None
    assert LeaderLock.take(store) is None
    lead.release()
    again = LeaderLock.take(store)
    assert again is not None
    again.release()


def test_rehearsals_are_counted_per_pin(store: StateDir) -> None:
    """A crash between the count and the end is seen by the next leader; another pin starts from one."""
    pin = PinnedVersion(A, "1")
    assert [store.journal_rehearsal(pin) for _ in range(3)] == [1, 2, 3]
    assert store.journal_rehearsal(PinnedVersion(A, "2")) == 1
    store.end_rehearsal()
    assert store.journal_rehearsal(PinnedVersion(A, "2")) == 1


def test_the_first_of_a_session_forgets_what_was_settled(store: StateDir) -> None:
    """While anybody of the session lives it stays settled; a start after everybody ended begins unsettled."""
    first = store.begin_session()
    assert not store.settled()
    store.settle()
    second = store.begin_session()
    assert store.settled()
    os.close(first)
    os.close(store.begin_session())
    assert store.settled()
    os.close(second)
    os.close(store.begin_session())
    assert not store.settled()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_damaged_files_are_read_as_absent(store: StateDir, content: bytes) -> None:
    """NotPinned in the store can make a worker fail."""
    for name in ("candidate.json", "refused.json", "status.json"):
        (store.root / name).write_bytes(content)
    assert store.candidate() is None
    assert store.refused() is None
    assert store.status() == {}
    os.symlink("nonsense", store.link)
    assert store.current() == NOTHING
