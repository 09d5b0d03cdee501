"""The leader's thread: performs the actions that :func:`services.predict.rollout.state_machine.lead` returns, one at a time.

Every worker runs this thread. The worker that holds the lock leads. An error that no rule foresees ends the lead as the death of
the process would, and the next leader starts from what ``STATE_DIR`` says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import threading
import time
import uuid
from collections.abc import Callable

import msgspec

from modelbundle.format.allowance import PROBATION
from services.predict.metrics import counters
from services.predict.rollout import protocol, state_machine
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.probation import Evidence, merged, verdict
from services.predict.rollout.protocol import Candidate, Outcome, PinnedVersion, Polled, Probation
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import LeaderLock, StateDir
from services.predict.rollout.switch_events import SwitchEvents
from services.predict.settings import Settings
from services.web import json_logging

SEEK = 0.25  # seconds between attempts to take the lead
COUNT = 0.02  # seconds between looks at the votes


class LeaderThread:
    """Leads, where this worker holds the lock. ``write`` takes lines for the prediction log."""

    def __init__(
        self,
        store: StateDir,
        settings: Settings,
        client: ModelClient | None = None,
        write: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        self.store = store
        self.settings = settings
        self.client = client or ModelClient(settings.model_server_url, max_bytes=settings.max_bundle_bytes)
        self.policy = SignaturePolicy.of(settings, store)
        self.staging = Staging(store, settings, self.client, self.policy)
        self.events = SwitchEvents(store, write)
        self.state = state_machine.Leader()
        self.seen = Evidence(0)  # of the model on probation
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)

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
                candidate = Candidate(uuid.uuid4().hex, pin.sha256, self.store.current().number)
                self.store.propose(candidate)
                return protocol.Proposed(candidate, time.monotonic() + self.settings.prepare_seconds)
            case protocol.Count(candidate):
                self._stop.wait(COUNT)
                votes, reason = self.store.votes(candidate.attempt)
                return protocol.Counted(votes, time.monotonic(), reason)
            case protocol.Commit(candidate, pin, fallback):
                return self._commit(candidate, pin, fallback)
            case protocol.Judge(probation):
                return self._judge(probation)
            case protocol.Revert(probation):
                self._revert(probation)
            case protocol.Acquit(probation):
                self.store.remember(probation.pin.sha256, proven=True)
                self.store.end_probation()
                self.store.prune({self.store.current().sha256, self.store.previous().sha256})
                json_logging.emit("probation ended well", model_version=probation.pin.sha256)
            case protocol.Withdraw():
                self.store.withdraw()
            case protocol.Refuse(pin, reason, kind, generation):
                evidence = msgspec.to_builtins(self.seen) if generation else self.staging.evidence
                self.store.refuse(pin, reason, kind, evidence, generation)
                self.store.withdraw()
                counters.switches.labels("refused", kind).inc()
                json_logging.emit("model refused", "error", model_version=pin.sha256, reason=reason)
            case protocol.Rest(at_most):
                self._publish()
                self.store.settle()
                self._stop.wait(min(self.settings.poll_seconds, at_most) * random.uniform(0.8, 1.0))
            case protocol.StepDown():
                pass
        return protocol.Done()

    def _recover(self) -> protocol.Recovered:
        self.store.withdraw()
        status, probation, refused = self.store.status(), self.store.probation(), self.store.refused() or {}
        condemned = probation is not None and refused.get("generation") == probation.generation
        if (current := self.store.current()).number and not condemned:
            self.store.remember(current.sha256, proven=probation is None)
        return protocol.Recovered(
            confirmed=status.get("confirmed"),
            since=float(status.get("since", time.time())),
            challenger=status.get("challenger"),
            settled=self.store.settled(),
            probation=probation,
            condemned=condemned,
        )

    def _poll(self, timeout: float) -> Polled:
        try:
            pins = self.client.poll(timeout)
        except ModelClientError as error:
            if str(error) != self.state.error:
                json_logging.emit("model service unusable", "warning", reason=str(error))
            return Polled(None, self.store.current(), error=str(error), now=time.monotonic(), time=time.time())
        if self.state.error:
            json_logging.emit("model service answers again")
        refused = self.store.refused()
        return Polled(
            pins.champion,
            self.store.current(),
            refused=PinnedVersion(refused["sha256"], refused["id"]) if refused else None,
            challenger=pins.challenger.id if pins.challenger else None,
            now=time.monotonic(),
            time=time.time(),
        )

    def _attest(self, pin: PinnedVersion) -> protocol.Attested:
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
        staged = self.staging.stage(pin, keep=kept)
        if staged.outcome is Outcome.DONE:
            self.store.end_rehearsal()
        if staged.outcome is Outcome.RETRY:
            counters.fetch_failures.inc(staged.kind == "fetch")
            if staged.reason != self.state.trouble:
                asked = self.client.request_id
                json_logging.emit(
                    "model not fetched", "warning", model_version=pin.sha256, reason=staged.reason, request_id=asked
                )
        return staged

    def _commit(self, candidate: Candidate, pin: PinnedVersion, fallback: str | None) -> protocol.Committed:
        before, allow = self.store.current(), self.staging.allowed(pin)
        probation = None
        seconds = self.settings.probation_seconds
        if fallback and seconds and PROBATION not in allow and not self.store.proven(candidate.sha256):
            own = dataclasses.replace(pin, allow=allow)
            probation = Probation(before.number + 1, own, fallback, time.time() + seconds)
        if self.policy:
            self.policy.accept(candidate.sha256)
        self.store.write_gates(candidate.sha256, self.staging.evidence)
        after = self.store.commit(candidate, probation)
        self.store.remember(after.sha256, proven=probation is None)
        self.store.end_probation(keep=after)
        counters.switches.labels("switched", "").inc()
        seconds, asked = round(time.monotonic() - self.state.began, 3), self.staging.request_id or None
        self.events.catch_up(seconds=seconds, request_id=asked, gates=self.staging.evidence, allow=allow)
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
        if not self.store.bundle(probation.fallback).exists():
            return protocol.Judged(over=True)
        found = []
        for content in self.store.read_evidence():
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(content, type=Evidence))
        self.seen = merged(probation.generation, found)
        return protocol.Judged(verdict(self.seen, probation.pin.allow), over)

    def _revert(self, probation: Probation) -> None:
        before = self.store.current()
        after = self.store.commit(Candidate("", probation.fallback, before.number))
        counters.switches.labels("switched", "").inc()
        self.store.forget(before.sha256)
        self.events.catch_up(taken_back=before.sha256)
        self.store.end_probation()
        self.store.prune({before.sha256, after.sha256})
        json_logging.emit(
            "model taken back", "error", old=before.sha256, model_version=after.sha256, generation=after.number
        )

    def _publish(self) -> None:
        leader = self.state
        self.store.write_status(
            {
                "confirmed": bool(leader.confirmed),
                "since": leader.since,
                "checked": time.time(),
                "beat": time.monotonic(),  # of this machine since it started: no clock that somebody sets
                "wanted": leader.pin.sha256 if leader.pin else None,
                "trouble": leader.error or leader.trouble or None,
                "challenger": leader.challenger,
                "leader": os.getpid(),
            }
        )
        self.events.catch_up()
