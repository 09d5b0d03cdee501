"""``STATE_DIR``: what the workers of a replica share, and what survives them.

::

    current              a link whose target is "<generation>-<sha256>[-<share>]": the commit point
    previous             the same, for the generation before
    candidate.json       what the leader asks the workers to prepare
    bundles/<sha256>     verified model files; .sig: the statement that came with it; .tables: its tables, which workers map
    probation/<link>     about the generation that a link names: which model to return to, and until when
    evidence/<id>        what a worker saw of the model on probation
    workers/<id>         one per live worker, locked by it; holds its vote
    leader.lock          locked by the leader
    session.lock         locked (shared) by every gunicorn master and its workers; free: none is running
    settled              exists once the leader has asked the model service in this session
    rehearsals.json      rehearsals begun per pin, so that a crash loop ends
    preparations.json    the same, of workers that load the candidate, and whether one of them hung
    ended.json           the last worker that was ended because a model hung in it
    refused.json         the pin that was refused, and why
    gates.json           what the gates found about the model that was brought in last
    answered.json        the last models that answered here and were not taken back, and whether their probation ended well
    status.json          what the leader knows: confirmed, since when, wanted
    scheduled.json       which model takes over at which instant
    share/               the same again, for the challenger that answers a share of the records; its link may name no model
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
from modelbundle.sharing import tables
from services import private
from services.predict.rollout.protocol import NOTHING, Candidate, Generation, PinnedVersion, Probation, Vote

SHARE = "share"  # the directory, in STATE_DIR, of the challenger that answers a share of the records
MOST_REMEMBERED = 100  # models
SILENT = "a worker does not respond"
CRASH = b"Fatal Python error: "  # how the interpreter begins to tell of a crash
MASTER = b"/gunicorn/arbiter.py"  # in the main thread's stack, which is where a signal of the master arrives
MOST_STACK = 32_768  # bytes of what it tells then


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
            private.directory(directory)

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

    def commit(self, candidate: Candidate, probation: Probation | None = None, share: float = 0.0) -> Generation:
        """Make the candidate current, on ``probation`` or not: one rename. The record is there before."""
        before = self.current()
        after = Generation(before.number + 1, candidate.sha256, share)
        self._record(after, probation)
        for name, generation in (("previous", before), ("current", after)):
            if generation != NOTHING:
                temporary = self.root / f".{name}.{uuid.uuid4().hex}"
                self.disk.symlink(link_text(generation), temporary)
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
        found = self._read(self.records / link_text(wanted))
        if not found:
            return None
        pin = PinnedVersion(wanted.sha256, found["id"], tuple(found["allow"]), wanted.share)
        return Probation(wanted.number, pin, found["fallback"], found["until"])

    def _record(self, generation: Generation, probation: Probation | None) -> None:
        """Write the record of a generation that is not current yet, or see that there is none."""
        path = self.records / link_text(generation)
        if probation is None:
            self.disk.unlink(path)
            return
        pin, until = probation.pin, probation.until
        content = {"id": pin.id, "allow": list(pin.allow), "fallback": probation.fallback, "until": until}
        self.disk.write_file(path, json.dumps(content).encode(), durable=True)

    def end_probation(self, keep: Generation = NOTHING) -> None:
        """Remove the records of all generations but ``keep``, and what was seen of them."""
        for path in (*self.records.iterdir(), *self.evidence.iterdir()):
            if path.name != link_text(keep):
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

    def tables(self, sha256: str) -> Path:
        """Where the tables of this file are, or would be; see :mod:`modelbundle.sharing.tables`."""
        return self.bundles / f"{sha256}{tables.SUFFIX}"

    def prune(self, keep: set[str]) -> None:
        """Remove model files and unfinished downloads other than ``keep``."""
        for path in self.bundles.iterdir():
            if path.name.removesuffix(SUFFIX).removesuffix(tables.SUFFIX) not in keep:
                self.disk.unlink(path)

    # Candidate and votes

    def propose(self, candidate: Candidate) -> None:
        """Write the candidate."""
        about = {"attempt": candidate.attempt, "sha256": candidate.sha256}
        content = {**about, "after": candidate.after, "pin": candidate.pin}
        self.disk.write_file(self.root / "candidate.json", json.dumps(content).encode())

    def candidate(self) -> Candidate | None:
        """The candidate, if there is one."""
        data = self._read(self.root / "candidate.json")
        return Candidate(data["attempt"], data["sha256"], data["after"], data.get("pin", "")) if data else None

    def withdraw(self) -> None:
        """Remove the candidate."""
        self.disk.unlink(self.root / "candidate.json")

    def votes(self, attempt: str) -> tuple[dict[str, Vote | None], str]:
        """Each live worker's vote on an attempt, and the reason of a veto, or what a worker waits for.

        The files of dead workers are removed. One that crashed is evidence against the model on probation.
        """
        votes: dict[str, Vote | None] = {}
        reason = waits = ""
        for path in self.workers.iterdir():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:  # its worker is alive
                    said = self._read(path) or {}
                    own = said if said.get("attempt") == attempt else {}
                    votes[path.name] = Vote(own["vote"]) if own.get("vote") else None
                    if votes[path.name] is Vote.VETO:
                        reason = str(own.get("reason", ""))
                    elif votes[path.name] is None:
                        waits = str(own.get("reason", SILENT))
                else:
                    self._bury(path.name, file.read(MOST_STACK))
                    self.disk.unlink(path)
        return votes, reason or waits

    def _bury(self, worker: str, content: bytes) -> None:
        """Keep how a worker died, if it crashed while a model was on probation; see :mod:`services.predict.rollout.roster`.

        That its master ended it, after a machine or a container had paused, says nothing about the model.
        """
        probation = self.probation()
        if probation is not None and content.startswith(CRASH) and MASTER not in content:
            how = content.removeprefix(CRASH).partition(b"\n")[0].decode("ascii", "replace")
            seen = {"generation": probation.generation, "crashes": {how: 1}}
            self.write_evidence(f"{worker}.crash", json.dumps(seen).encode())

    # Workers that load the candidate, one at a time

    def begin_preparing(self, candidate: Candidate) -> tuple[int, str]:
        """Count one more load of this pin's model; returns how many began and did not end, and why one hung, if it did."""
        known = self._preparations(candidate)
        content = {**known, "begun": known["begun"] + 1}
        self.disk.write_file(self.root / "preparations.json", json.dumps(content).encode())
        return content["begun"], known["hung"]

    def end_preparing(self, candidate: Candidate) -> None:
        """A load that :meth:`begin_preparing` counted has ended, with whatever result."""
        known = self._preparations(candidate)
        content = {**known, "begun": max(0, known["begun"] - 1)}
        self.disk.write_file(self.root / "preparations.json", json.dumps(content).encode())

    def _preparations(self, candidate: Candidate) -> dict[str, Any]:
        known, own = self._read(self.root / "preparations.json"), {"id": candidate.pin, "sha256": candidate.sha256}
        return known if known and known.items() >= own.items() else {**own, "begun": 0, "hung": ""}

    def hung(self, sha256: str, reason: str, worker: str) -> None:
        """A model hangs in a worker, which is ended: nobody loads it again for the same pin; on probation, it is unfit.

        Where the model is in another slot, nothing is written.
        """
        known, probation = self._read(self.root / "preparations.json") or {}, self.probation()
        preparing = known.get("sha256") == sha256 and known.get("begun")  # also where the candidate was withdrawn since
        if not preparing and self.current().sha256 != sha256:
            return
        content = {"sha256": sha256, "reason": reason, "time": time.time()}
        self.disk.write_file(self.root / "ended.json", json.dumps(content).encode())
        if preparing:
            self.disk.write_file(
                self.root / "preparations.json", json.dumps({**known, "hung": reason}).encode(), durable=True
            )
        if probation is not None and probation.pin.sha256 == sha256:
            seen = {"generation": probation.generation, "hangs": {reason: 1}}
            self.write_evidence(f"{worker}.hang", json.dumps(seen).encode())

    def last_hang(self) -> dict[str, Any] | None:
        """The model that :meth:`hung` last: ``sha256``, ``reason`` and ``time``."""
        return self._read(self.root / "ended.json")

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
        descriptor = os.open(self.root / "session.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


def link_text(generation: Generation) -> str:
    """``"<generation>-<sha256>"``; ``"<generation>-<sha256>-<share>"`` with a share, ``"<generation>-"`` without a model."""
    share = f"-{repr(generation.share).removesuffix('.0')}" if generation.share else ""
    return f"{generation.number}-{generation.sha256}{share}"


def parse_link(target: str) -> Generation:
    """A text of :func:`link_text` as a generation; :data:`NOTHING` for any other text."""
    number, _, rest = target.partition("-")
    sha256, _, share = rest.partition("-")
    if not number.isdigit() or len(sha256) not in (0, 64):
        return NOTHING
    try:
        return Generation(int(number), sha256, float(share or 0))
    except ValueError:
        return NOTHING
