"""The leader's thread: performs the actions that :func:`services.predict.rollout.state_machine.lead` returns, one at a time.

Every worker runs this thread. The worker that holds the lock leads. An error that no rule foresees ends the lead as the death of
the process would, and the next leader starts from what ``STATE_DIR`` says.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from collections.abc import Callable

from services.predict.metrics import counters
from services.predict.rollout import state_machine
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import LeaderLock, StateDir
from services.predict.rollout.state_machine import Candidate, Outcome, PinnedVersion, Polled
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
        while not (self._stop.is_set() or isinstance(action, state_machine.StepDown)):
            self.state, action = state_machine.lead(self.state, self.perform(action))

    def perform(self, action: state_machine.Action) -> state_machine.Result:
        """Perform one action and return its result. Raises :class:`OSError` where the disk does."""
        match action:
            case state_machine.Recover():
                return self._recover()
            case state_machine.Poll(timeout):
                return self._poll(timeout)
            case state_machine.Attest(pin):
                return self._attest(pin)
            case state_machine.Stage(pin):
                return self._stage(pin)
            case state_machine.Propose(pin):
                candidate = Candidate(uuid.uuid4().hex, pin.sha256, self.store.current().number)
                self.store.propose(candidate)
                return state_machine.Proposed(candidate, time.monotonic() + self.settings.prepare_seconds)
            case state_machine.Count(candidate):
                self._stop.wait(COUNT)
                votes, reason = self.store.votes(candidate.attempt)
                return state_machine.Counted(votes, time.monotonic(), reason)
            case state_machine.Commit(candidate, pin):
                return self._commit(candidate, pin)
            case state_machine.Withdraw():
                self.store.withdraw()
            case state_machine.Refuse(pin, reason, kind):
                self.store.refuse(pin, reason, kind, self.staging.evidence)
                self.store.withdraw()
                counters.switches.labels("refused", kind).inc()
                json_logging.emit("model refused", "error", model_version=pin.sha256, reason=reason)
            case state_machine.Rest(at_most):
                self._publish()
                self.store.settle()
                self._stop.wait(min(self.settings.poll_seconds, at_most) * random.uniform(0.8, 1.0))
            case state_machine.StepDown():
                pass
        return state_machine.Done()

    def _recover(self) -> state_machine.Recovered:
        self.store.withdraw()
        status = self.store.status()
        return state_machine.Recovered(
            confirmed=status.get("confirmed"),
            since=float(status.get("since", time.time())),
            challenger=status.get("challenger"),
            settled=self.store.settled(),
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

    def _attest(self, pin: PinnedVersion) -> state_machine.Attested:
        if self.policy:
            try:
                self.policy.renew(pin.sha256, self.client.statement(pin))
            except ModelClientError:
                return state_machine.Attested(answered=False)
        return state_machine.Attested(answered=True)

    def _stage(self, pin: PinnedVersion) -> state_machine.Staged:
        self._publish()
        staged = self.staging.stage(pin, keep={self.store.current().sha256, self.store.previous().sha256})
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

    def _commit(self, candidate: Candidate, pin: PinnedVersion) -> state_machine.Committed:
        before, allow = self.store.current(), self.staging.allowed(pin)
        if self.policy:
            self.policy.accept(candidate.sha256)
        self.store.write_gates(candidate.sha256, self.staging.evidence)
        after = self.store.commit(candidate)
        self.store.prove(after.sha256)
        counters.switches.labels("switched", "").inc()
        seconds, asked = round(time.monotonic() - self.state.began, 3), self.staging.request_id or None
        self.events.catch_up(seconds=seconds, request_id=asked, gates=self.staging.evidence, allow=allow)
        self.store.withdraw()
        self.store.prune({before.sha256, after.sha256})
        json_logging.emit(
            "model switched",
            old=before.sha256 or None,
            model_version=after.sha256,
            generation=after.number,
            seconds=seconds,
            request_id=asked,
        )
        return state_machine.Committed(time.time())

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
