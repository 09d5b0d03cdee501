"""The leader's thread: performs the actions that :func:`services.predict.rollout.state_machine.lead` returns, one at a time.

Every worker runs this thread. The worker that holds the lock leads. An error that no rule foresees ends the lead as the death of
the process would, and the next leader starts from what ``STATE_DIR`` says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from modelbundle.format.allowance import PROBATION
from modelbundle.format.statement import CHALLENGER, CHAMPION
from services.predict.metrics import counters
from services.predict.rollout import protocol, state_machine
from services.predict.rollout.instant.schedule import ScheduleFile, scheduled
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.probation import Evidence, merged, verdict
from services.predict.rollout.protocol import NOBODY, Candidate, Outcome, PinnedVersion, Polled, Probation
from services.predict.rollout.roster import LeaderLock
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.switch_events import SwitchEvents
from services.predict.settings import Settings
from services.web import json_logging
from services.web.timestamps import iso

SEEK = 0.25  # seconds between attempts to take the lead
COUNT = 0.02  # seconds between looks at the votes
START = 5.0  # seconds that the network may hold a replica which starts and has a last known good model
REPLACE = 2.0  # seconds more that votes have, so that a worker in which the model hangs is ended first
BEAT = 1.0  # seconds after which a leader that waits for votes says so


class LeaderThread:
    """Leads, where this worker holds the lock. ``write`` takes lines for the prediction log.

    With the ``champion``'s directory, it brings in the challenger that is to answer a share of the records; a silent one is
    not brought in.
    """

    def __init__(
        self,
        store: StateDir,
        settings: Settings,
        client: ModelClient | None = None,
        write: Callable[[bytes], bool] = lambda _: True,
        champion: StateDir | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.role = CHALLENGER if champion else CHAMPION
        self.client = client or ModelClient(
            settings.model_server_url, max_bytes=settings.max_bundle_bytes, role=self.role
        )
        self.policy = SignaturePolicy.of(settings, store, self.role)
        self.staging = Staging(store, settings, self.client, self.policy, champion)
        self.events = SwitchEvents(store, write, self.role)
        self.schedule = ScheduleFile(store)
        self.state = state_machine.Leader()
        self.seen = Evidence(0)  # of the model on probation
        self._published = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{self.role} leader", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                lock = LeaderLock.take(self.store)
                if lock is None:
                    self._stop.wait(SEEK)
                    continue
                try:
                    self.lead()
                finally:
                    self.client.close()
                    lock.release()
            except Exception as error:  # this thread must outlive anything
                json_logging.emit("leader failed", "error", error=f"{type(error).__name__}: {error}")
                with contextlib.suppress(OSError):
                    self.store.settle()
            self._stop.wait(1)

    def lead(self) -> None:
        """Lead until the state machine says to step down, or the process ends."""
        self.state, action = state_machine.Leader(), state_machine.FIRST
        while not (self._stop.is_set() or isinstance(action, protocol.StepDown)):
            self.state, action = state_machine.lead(self.state, self.perform(action))

    def perform(self, action: protocol.Action) -> protocol.Result:
        """Perform one action and return its result. Raises :class:`OSError` where the disk does."""
        match action:
            case protocol.Recover():
                return self._recover()
            case protocol.Poll(timeout):
                return self._poll(timeout)
            case protocol.Attest(pin):
                return self._attest(pin)
            case protocol.Stage(pin):
                return self._stage(pin)
            case protocol.Propose(pin):
                candidate = Candidate(uuid.uuid4().hex, pin.sha256, self.store.current().number, pin.id)
                self.store.propose(candidate)
                return protocol.Proposed(candidate, time.monotonic() + self.settings.prepare_seconds + REPLACE)
            case protocol.Count(candidate):
                self._stop.wait(COUNT)
                if time.monotonic() - self._published > BEAT:
                    self._publish()
                votes, reason = self.store.votes(candidate.attempt)
                return protocol.Counted(votes, time.monotonic(), reason)
            case protocol.Commit(candidate, pin, fallback):
                return self._commit(candidate, pin, fallback)
            case protocol.Judge(probation):
                return self._judge(probation)
            case protocol.Revert(probation):
                self._revert(probation)
            case protocol.Await(seconds):
                self._publish()
                self.store.settle()
                self._stop.wait(self.client.clock.aim(seconds) if seconds >= 1 else seconds)
                return protocol.Awaited(self.client.clock.read(), self.store.current())
            case protocol.Acquit(probation):
                self.store.remember(probation.pin.sha256, proven=True)
                self.store.end_probation()
                due = {self.state.staged.sha256} if self.state.staged else set()
                self.store.prune({self.store.current().sha256, self.store.previous().sha256, *due})
                json_logging.emit("probation ended well", model_version=probation.pin.sha256)
            case protocol.Retire():
                self._retire()
            case protocol.Withdraw():
                self.store.withdraw()
            case protocol.Refuse(pin, reason, kind, generation):
                evidence = msgspec.to_builtins(self.seen) if generation else self.staging.evidence
                self.store.refuse(pin, reason, kind, evidence, generation)
                self.store.withdraw()
                self._count("refused", kind)
                json_logging.emit("model refused", "error", model_version=pin.sha256, reason=reason)
            case protocol.Rest(at_most):
                self._publish()
                self.store.settle()
                pause = min(self.settings.poll_seconds, at_most) * random.uniform(0.8, 1.0)
                self._stop.wait(self.client.clock.aim(pause) if self.state.awaits and at_most > 1 else pause)
            case protocol.StepDown():
                pass
        return protocol.Done(time.monotonic())

    def _recover(self) -> protocol.Recovered:
        self.store.withdraw()
        status, probation, refused = self.store.status(), self.store.probation(), self.store.refused() or {}
        resume = float(status.get("resume", 0.0))
        reboot = resume > time.monotonic() + state_machine.MOST_STRIKE  # the machine's clock began anew
        condemned = probation is not None and refused.get("generation") == probation.generation
        if (current := self.store.current()).number and not condemned:
            self.store.remember(current.sha256, proven=probation is None)
        due = self.schedule.read()
        kept = due is not None and due.staged and self.store.bundle(due.sha256).exists()
        return protocol.Recovered(
            confirmed=status.get("confirmed"),
            since=float(status.get("since", time.time())),
            challenger=status.get("challenger"),
            settled=self.store.settled(),
            probation=probation,
            condemned=condemned,
            strikes=status.get("strikes", 0),
            resume=0.0 if reboot else resume,
            bound=due.id if due and due.binding else "",
            staged=PinnedVersion(due.sha256, due.id) if due and kept else None,
            instant=due.instant if due and kept else 0.0,
            vouched=int(status.get("vouched", 0)),
            lead=self.settings.prepare_seconds + REPLACE,
        )

    def _poll(self, timeout: float) -> Polled:
        if self.state.settled:
            return self._asked(timeout)
        late = threading.Timer(START, self.store.settle)  # a name may take long to be looked up
        late.daemon = True
        late.start()
        try:
            return self._asked(timeout)
        finally:
            late.cancel()

    def _asked(self, timeout: float) -> Polled:
        known = Polled(None, self.store.current())
        try:
            pins = self.client.poll(timeout)
        except ModelClientError as error:
            if str(error) != self.state.error:
                json_logging.emit("model service unusable", "warning", reason=str(error))
            return self._told(known, error=str(error))
        if self.state.error:
            json_logging.emit("model service answers again")
        refused, pin = self.store.refused(), pins.champion
        if self.role == CHALLENGER:
            other = pins.challenger
            if other is None and pins.challenger_trouble and known.current.sha256:
                return self._told(known, error=pins.challenger_trouble)
            pin = other if other and other.share and other.sha256 != pins.champion.sha256 else NOBODY
        return self._told(
            known,
            pin=pin,
            refused=PinnedVersion(refused["sha256"], refused["id"]) if refused else None,
            challenger=pins.challenger.id if pins.challenger else None,
        )

    def _told(self, known: Polled, **more: Any) -> Polled:
        """What a poll found, with the times at which it did."""
        return dataclasses.replace(
            known, now=time.monotonic(), time=time.time(), clock=self.client.clock.read(), **more
        )

    def _attest(self, pin: PinnedVersion) -> protocol.Attested:
        self.store.settle()  # the current model is confirmed: it need not wait for its statement
        if self.policy:
            try:
                self.policy.renew(pin.sha256, self.client.statement(pin))
            except ModelClientError:
                return protocol.Attested(answered=False)
        return protocol.Attested(answered=True)

    def _stage(self, pin: PinnedVersion) -> protocol.Staged:
        self._publish()
        kept = {self.store.current().sha256, self.store.previous().sha256}
        if probation := self.store.probation():
            kept.add(probation.fallback)
        hurry = not self.state.settled and self.store.current().sha256
        staged = self.staging.stage(pin, keep=kept, seconds=START if hurry else math.inf)
        if staged.outcome is Outcome.DONE:
            self.store.end_rehearsal()
        if staged.outcome is Outcome.RETRY:
            counters.fetch_failures.inc(staged.kind == "fetch")
            if staged.reason != self.state.trouble:
                asked = self.client.request_id
                json_logging.emit(
                    "model not fetched", "warning", model_version=pin.sha256, reason=staged.reason, request_id=asked
                )
        return dataclasses.replace(staged, now=time.monotonic())

    def _commit(self, candidate: Candidate, pin: PinnedVersion, fallback: str | None) -> protocol.Committed:
        before, allow = self.store.current(), self.staging.allowed(pin)
        probation = None
        seconds = self.settings.probation_seconds
        if fallback is not None and seconds and PROBATION not in allow and not self.store.proven(candidate.sha256):
            own = dataclasses.replace(pin, allow=allow)
            probation = Probation(before.number + 1, own, fallback, time.time() + seconds)
        signed = {}
        if self.policy:
            statement = self.policy.accept(candidate.sha256)
            signed = {"statement": {"key": statement.key, "sequence": statement.sequence}}
        self.store.write_gates(candidate.sha256, self.staging.evidence)
        after = self.store.commit(candidate, probation, pin.share)
        self.schedule.write(None)
        self.store.remember(after.sha256, proven=probation is None)
        self.store.end_probation(keep=after)
        self._count("switched", "")
        seconds, asked = round(time.monotonic() - self.state.began, 3), self.staging.request_id or None
        due = {"not_before": iso(self.state.instant, "milliseconds")} if self.state.instant else {}
        self.events.catch_up(
            seconds=seconds, request_id=asked, gates=self.staging.evidence, allow=allow, **signed, **due
        )
        self.store.withdraw()
        self.store.prune({before.sha256, after.sha256, fallback or ""})
        json_logging.emit(
            "model switched",
            old=before.sha256 or None,
            model_version=after.sha256,
            generation=after.number,
            seconds=seconds,
            request_id=asked,
        )
        return protocol.Committed(time.time(), probation)

    def _judge(self, probation: Probation) -> protocol.Judged:
        left = probation.until - time.time()
        over = not 0 < left <= self.settings.probation_seconds + 1  # the clock may be set
        if probation.fallback and not self.store.bundle(probation.fallback).exists():
            return protocol.Judged(over=True)
        found = []
        self.store.votes("")  # buries the dead
        for content in self.store.read_evidence():
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(content, type=Evidence))
        self.seen = merged(probation.generation, found)
        return protocol.Judged(verdict(self.seen, probation.pin.allow), over)

    def _revert(self, probation: Probation) -> None:
        before, due = self.store.current(), self.schedule.read()
        if due and due.sha256 == before.sha256:  # its leader was killed right after the rename
            self.schedule.write(None)
        after = self.store.commit(Candidate("", probation.fallback, before.number))
        self._count("switched", "")
        self.store.forget(before.sha256)
        self.events.catch_up(taken_back=before.sha256)
        self.store.end_probation()
        self.store.prune({before.sha256, after.sha256})
        json_logging.emit(
            "model taken back", "error", old=before.sha256, model_version=after.sha256, generation=after.number
        )

    def _retire(self) -> None:
        before = self.store.current()
        after = self.store.commit(Candidate("", "", before.number))
        self.events.catch_up()
        self.store.end_probation()
        self.store.prune({before.sha256})
        json_logging.emit("challenger retired", model_version=before.sha256, generation=after.number)

    def _count(self, outcome: str, reason: str) -> None:
        """Count what became of a champion's pin. A challenger's share is a gauge."""
        if self.role == CHAMPION:
            counters.switches.labels(outcome, reason).inc()

    def _publish(self) -> None:
        leader = self.state
        self._published = time.monotonic()
        self.store.write_status(
            {
                "confirmed": bool(leader.confirmed),
                "since": leader.since,
                "checked": time.time(),
                "beat": time.monotonic(),  # of this machine since it started: no clock that somebody sets
                "wanted": leader.pin.sha256 if leader.pin else None,
                "share": leader.pin.share if leader.pin else None,
                "trouble": leader.error or leader.trouble or None,
                "challenger": leader.challenger,
                "leader": os.getpid(),
                "strikes": leader.strikes,
                "resume": leader.resume,
                "vouched": leader.vouched,
            }
        )
        if leader.pin is not None:  # what is known stays while the model service is away
            self.schedule.write(scheduled(leader))
        self.events.catch_up()
