"""``STATE_DIR``: what the workers of a replica share, and what survives them.

::

    current              a link whose target is "<generation>-<sha256>": the commit point
    previous             the same, for the generation before
    candidate.json       what the leader asks the workers to prepare
    bundles/<sha256>     verified model files, and .sig: the statement that came with it
    probation/<link>     about the generation that a link names: which model to return to, and until when
    evidence/<id>        what a worker saw of the model on probation
    workers/<id>         one per live worker, locked by it; holds its vote
    leader.lock          locked by the leader
    session.lock         locked (shared) by every gunicorn master and its workers; free: none is running
    settled              exists once the leader has asked the model service in this session
    rehearsals.json      rehearsals begun per pin, so that a crash loop ends
    refused.json         the pin that was refused, and why
    gates.json           what the gates found about the model that was brought in last
    answered.json        the last models that answered here and were not taken back, and whether their probation ended well
    status.json          what the leader knows: confirmed, since when, wanted
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbundle.durable import Disk
from modelbundle.format.statement import SUFFIX
from services.predict.rollout.protocol import NOTHING, Candidate, Generation, PinnedVersion, Probation, Vote

MOST_REMEMBERED = 100  # models


class StateDir:
    """Reads and writes ``STATE_DIR``. Methods raise :class:`OSError` where the disk does."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()
        self.link = str(root / "current")
        self.bundles = root / "bundles"
        self.workers = root / "workers"
        self.entering = root / "entering"
        self.records = root / "probation"
        self.evidence = root / "evidence"
        for directory in (root, self.bundles, self.workers, self.entering, self.records, self.evidence):
            directory.mkdir(parents=True, exist_ok=True)

    # The current generation

    def current(self) -> Generation:
        """The generation that answers; :data:`NOTHING` before the first switch."""
        try:
            return parse_link(os.readlink(self.link))
        except OSError:
            return NOTHING

    def previous(self) -> Generation:
        """The generation before the current one."""
        try:
            return parse_link(os.readlink(self.root / "previous"))
        except OSError:
            return NOTHING

    def switched(self) -> int:
        """When the current link was made, in nanoseconds since 1970."""
        return os.lstat(self.link).st_mtime_ns

    def commit(self, candidate: Candidate, probation: Probation | None = None) -> Generation:
        """Make the candidate current, on ``probation`` or not: one rename. The record is there before."""
        before = self.current()
        after = Generation(before.number + 1, candidate.sha256)
        self._record(after, probation)
        for name, generation in (("previous", before), ("current", after)):
            if generation != NOTHING:
                temporary = self.root / f".{name}.{uuid.uuid4().hex}"
                self.disk.symlink(f"{generation.number}-{generation.sha256}", temporary)
                try:
                    self.disk.replace(temporary, self.root / name)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
        self.disk.sync_directory(self.root)
        return after

    # Probation

    def probation(self, generation: Generation | None = None) -> Probation | None:
        """That of a generation, by default of the current one; None where it is not on probation."""
        wanted = generation or self.current()
        found = self._read(self.records / f"{wanted.number}-{wanted.sha256}")
        if not found:
            return None
        pin = PinnedVersion(wanted.sha256, found["id"], tuple(found["allow"]))
        return Probation(wanted.number, pin, found["fallback"], found["until"])

    def _record(self, generation: Generation, probation: Probation | None) -> None:
        """Write the record of a generation that is not current yet, or see that there is none."""
        path = self.records / f"{generation.number}-{generation.sha256}"
        if probation is None:
            self.disk.unlink(path)
            return
        pin, until = probation.pin, probation.until
        content = {"id": pin.id, "allow": list(pin.allow), "fallback": probation.fallback, "until": until}
        self.disk.write_file(path, json.dumps(content).encode(), durable=True)

    def end_probation(self, keep: Generation = NOTHING) -> None:
        """Remove the records of all generations but ``keep``, and what was seen of them."""
        for path in (*self.records.iterdir(), *self.evidence.iterdir()):
            if path.name != f"{keep.number}-{keep.sha256}":
                self.disk.unlink(path)

    def write_evidence(self, worker: str, content: bytes) -> None:
        """Publish what a worker saw of the model on probation."""
        self.disk.write_file(self.evidence / worker, content)

    def read_evidence(self) -> list[bytes]:
        """What all workers published, dead ones too."""
        found = []
        for path in self.evidence.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if not path.name.startswith("."):  # that of a file that is being written
                    found.append(path.read_bytes())
        return found

    # Bundles

    def bundle(self, sha256: str) -> Path:
        """Where the file with this hash is, or would be."""
        return self.bundles / sha256

    def statement(self, sha256: str) -> Path:
        """Where the statement about this file is, or would be."""
        return self.bundles / f"{sha256}{SUFFIX}"

    def prune(self, keep: set[str]) -> None:
        """Remove model files and unfinished downloads other than ``keep``."""
        for path in self.bundles.iterdir():
            if path.name.removesuffix(SUFFIX) not in keep:
                self.disk.unlink(path)

    # Candidate and votes

    def propose(self, candidate: Candidate) -> None:
        """Write the candidate."""
        content = {"attempt": candidate.attempt, "sha256": candidate.sha256, "after": candidate.after}
        self.disk.write_file(self.root / "candidate.json", json.dumps(content).encode())

    def candidate(self) -> Candidate | None:
        """The candidate, if there is one."""
        data = self._read(self.root / "candidate.json")
        return Candidate(data["attempt"], data["sha256"], data["after"]) if data else None

    def withdraw(self) -> None:
        """Remove the candidate."""
        self.disk.unlink(self.root / "candidate.json")

    def votes(self, attempt: str) -> tuple[dict[str, Vote | None], str]:
        """Each live worker's vote on an attempt, and the reason of a veto. The files of dead workers are removed."""
        votes: dict[str, Vote | None] = {}
        reason = ""
        for path in self.workers.iterdir():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:  # its worker is alive
                    said = self._read(path) or {}
                    votes[path.name] = Vote(said["vote"]) if said.get("attempt") == attempt else None
                    if votes[path.name] is Vote.VETO:
                        reason = str(said.get("reason", ""))
                else:
                    self.disk.unlink(path)
        return votes, reason

    # What must outlive a leader

    def journal_rehearsal(self, pin: PinnedVersion) -> int:
        """Count one more rehearsal of this pin, durably; returns how many were begun. Another pin's count is dropped."""
        data = self._read(self.root / "rehearsals.json")
        begun = 1 + (data["begun"] if data and data["id"] == pin.id and data["sha256"] == pin.sha256 else 0)
        content = {"id": pin.id, "sha256": pin.sha256, "begun": begun}
        self.disk.write_file(self.root / "rehearsals.json", json.dumps(content).encode(), durable=True)
        return begun

    def end_rehearsal(self) -> None:
        """Forget the count: the rehearsal ended, with whatever result."""
        self.disk.unlink(self.root / "rehearsals.json")

    def refuse(
        self,
        pin: PinnedVersion,
        reason: str,
        kind: str,
        evidence: Mapping[str, Any] | None = None,
        generation: int = 0,
    ) -> None:
        """Remember a refused pin, durably; ``kind`` is the class of the reason, ``evidence`` what the gates or workers found.

        ``generation`` is the one to be taken back; 0 where the pin was never current.
        """
        about = {"id": pin.id, "sha256": pin.sha256, "reason": reason, "kind": kind, "time": time.time()}
        content = {**about, "evidence": dict(evidence or {}), "generation": generation}
        self.disk.write_file(self.root / "refused.json", json.dumps(content).encode(), durable=True)

    def refused(self) -> dict[str, Any] | None:
        """The pin that was refused last, with ``reason``, ``kind``, ``evidence`` and ``time``."""
        return self._read(self.root / "refused.json")

    def remember(self, sha256: str, proven: bool) -> None:
        """Remember that a model answers here. ``proven``: it needs no probation any more."""
        known = self._answered()
        own = proven or known.get(sha256, False)
        if list(known.items())[-1:] != [(sha256, own)]:
            known.pop(sha256, None)
            kept = list(known.items())[-MOST_REMEMBERED + 1 :]
            self._write_answered({**dict(kept), sha256: own})

    def forget(self, sha256: str) -> None:
        """A model is taken back: it never counts as one that answered, until it is brought in again."""
        known = self._answered()
        if known.pop(sha256, None) is not None:
            self._write_answered(known)

    def answered(self, sha256: str) -> bool:
        """Whether a model answered here before and was not taken back: a rollback to it is only warned of."""
        return sha256 in self._answered()

    def proven(self, sha256: str) -> bool:
        """Whether a model answered here before and its probation ended well."""
        return self._answered().get(sha256, False)

    def _answered(self) -> dict[str, bool]:
        return self._read(self.root / "answered.json") or {}

    def _write_answered(self, known: Mapping[str, bool]) -> None:
        self.disk.write_file(self.root / "answered.json", json.dumps(known).encode())

    def write_gates(self, sha256: str, evidence: Mapping[str, Any]) -> None:
        """Keep what the gates found about a model that becomes current."""
        self.disk.write_file(self.root / "gates.json", json.dumps({"sha256": sha256, **evidence}).encode())

    def gates(self, sha256: str) -> dict[str, Any] | None:
        """What the gates found about the current model; None where it was compared with none."""
        found = self._read(self.root / "gates.json") or {}
        return (
            {name: value for name, value in found.items() if name != "sha256"}
            if found.get("sha256") == sha256
            else None
        )

    # Status

    def write_status(self, status: dict[str, Any]) -> None:
        """Publish what the leader knows."""
        self.disk.write_file(self.root / "status.json", json.dumps(status).encode())

    def status(self) -> dict[str, Any]:
        """What the leader published last; empty before that."""
        return self._read(self.root / "status.json") or {}

    def settle(self) -> None:
        """The model service has been asked once in this session."""
        os.close(self.disk.open(self.root / "settled", os.O_WRONLY | os.O_CREAT))

    def settled(self) -> bool:
        """Whether :meth:`settle` was called in this session."""
        return (self.root / "settled").exists()

    def begin_session(self) -> int:
        """Join the session of this replica, or begin one where nobody is running.

        Returns a descriptor. Its shared lock lasts until the descriptor and all its copies in forked processes are closed. The
        first process of a session removes ``settled``: what was confirmed in an earlier session is not confirmed now.
        """
        descriptor = os.open(self.root / "session.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.disk.unlink(self.root / "settled")
        except BlockingIOError:
            pass
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        """An object from a JSON file; None where there is none, or it is damaged or empty."""
        try:
            data = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return data if data and isinstance(data, dict) else None


class WorkerEntry:
    """A worker's entry in the roster: a file that it keeps locked. Make it after the fork, before a look at the candidate."""

    def __init__(self, store: StateDir, worker: str | None = None) -> None:
        self.id = worker or f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.path = store.workers / self.id
        temporary = store.entering / self.id
        self.descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            os.replace(temporary, self.path)  # it appears locked, so it is not taken for a dead worker's
        except OSError:
            os.close(self.descriptor)
            raise

    def say(self, **words: Any) -> None:
        """Write what the leader should know."""
        data = json.dumps(words).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)

    def leave(self) -> None:
        """Remove the entry."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class LeaderLock:
    """The leader's lock. The worker that holds it leads. The kernel frees it when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, store: StateDir) -> LeaderLock | None:
        """The lock, or None where another worker holds it."""
        descriptor = os.open(store.root / "leader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)


def parse_link(target: str) -> Generation:
    """``"<generation>-<sha256>"`` as a generation."""
    number, _, sha256 = target.partition("-")
    if not number.isdigit() or len(sha256) != 64:
        return NOTHING
    return Generation(int(number), sha256)
