"""The leader's part: performs the actions that :func:`services.predict.rollout.state_machine.lead` names, one at a time.

Every worker runs this thread; the one that holds the lock leads. An error that no rule foresees ends the lead like the death
of the process would, and the next leader starts from what the store says.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from services.predict.metrics import counters
from services.predict.rollout import state_machine
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import LeaderLock, StateDir
from services.predict.rollout.state_machine import Candidate, Outcome, PinnedVersion, Polled, Tried
from services.predict.rollout.switch_events import SwitchEvents
from services.predict.settings import Settings
from services.web import json_logging

SEEK = 0.25  # seconds between attempts to take the lead
COUNT = 0.02  # seconds between looks at the votes
FIRST_POLL = 0.5  # seconds that a start waits for the model service
POLL = 2.0  # seconds that a later poll may take
MOST_BACK_OFF = 1.0


class LeaderThread:
    """The leader's thread of one worker."""

    def __init__(
        self,
        store: StateDir,
        settings: Settings,
        client: ModelClient | None = None,
        write: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        self.store = store
        self.events = SwitchEvents(store, write)
        self.settings = settings
        self.policy = SignaturePolicy.of(settings, store)
        self.client = client or ModelClient(settings.model_server_url, max_bytes=settings.max_bundle_bytes)
        self.staging = Staging(store, settings, self.client, self.policy)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)
        self._reset()

    def _reset(self) -> None:
        self.state = state_machine.Leader()
        status = self.store.status()
        self.pin: PinnedVersion | None = None
        self.challenger: str | None = status.get("challenger")  # the identity of its pin
        self.error = ""  # why the last poll gave no pin
        self.trouble = ""  # why the pinned model is not here yet
        self.confirmed: bool | None = status.get("confirmed")
        self.since = float(status.get("since", time.time()))
        self.began = 0.0
        self.deadline = 0.0
        self.failures = 0
        self.attested: PinnedVersion | None = None  # the pin whose newest statement is known

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                lead = LeaderLock.take(self.store)
                if lead is None:
                    self._stop.wait(SEEK)
                    continue
                try:
                    self.reign()
                finally:
                    self.client.close()
                    lead.let_go()
            except Exception as error:  # this thread must outlive anything
                json_logging.emit("leader failed", "error", error=f"{type(error).__name__}: {error}")
                with contextlib.suppress(OSError):
                    self.store.settle()
            self._stop.wait(1)

    def reign(self) -> None:
        """LeaderLock until the state machine says to let go, or the process ends."""
        self._reset()
        action: state_machine.Action = state_machine.FIRST
        while not self._stop.is_set():
            if isinstance(action, state_machine.LetGo):
                self._rest(failing=True)
                return
            self.state, action = state_machine.lead(self.state, self.perform(action))

    def perform(self, action: state_machine.Action) -> state_machine.Result:
        """Do one thing in the world and say what came of it; raises :class:`OSError` for trouble with the store."""
        match action:
            case state_machine.Poll():
                return self._poll()
            case state_machine.Fetch(pin):
                return self._fetch(pin)
            case state_machine.Rehearse(pin):
                return self._rehearse(pin)
            case state_machine.Propose(pin):
                candidate = Candidate(uuid.uuid4().hex, pin.sha256, self.store.current().number)
                self.deadline = time.monotonic() + self.settings.prepare_seconds
                self.store.propose(candidate)
                return state_machine.Proposed(candidate)
            case state_machine.Count(candidate):
                self._stop.wait(COUNT)
                votes, reason = self.store.votes(candidate.attempt)
                return state_machine.Counted(votes, time.monotonic() > self.deadline, reason)
            case state_machine.Commit(candidate):
                self._commit(candidate)
            case state_machine.Withdraw():
                self.store.withdraw()
            case state_machine.Refuse(pin, reason, kind):
                self.store.refuse(pin, reason, kind)
                self.store.withdraw()
                counters.switches.labels("refused", kind).inc()
                json_logging.emit("model refused", "error", model_version=pin.sha256, reason=reason)
            case state_machine.Rest(failing):
                self._rest(failing)
            case state_machine.LetGo():
                pass
        return state_machine.Done()

    def _poll(self) -> Polled:
        current, refused = self.store.current(), self.store.refused()
        candidate = self.state.candidate
        known = [current.sha256, refused["sha256"] if refused else "", candidate.sha256 if candidate else ""]
        try:
            pin = self.client.poll(known, POLL if self.store.settled() else FIRST_POLL)
        except ModelClientError as error:
            self._confirm(None, str(error))
            return Polled(None, current)
        self._confirm(pin, "")
        if self.policy and pin.sha256 == current.sha256:
            self._renew(self.policy, pin)
        return Polled(pin, current, PinnedVersion(refused["sha256"], refused["id"]) if refused else None)

    def _renew(self, policy: SignaturePolicy, pin: PinnedVersion) -> None:
        """Keys may have been exchanged under the current model: take the statement that the new ones accept."""
        if pin == self.attested:
            return
        with contextlib.suppress(ModelClientError):
            policy.renew(pin.sha256, self.client.statement(pin))
            self.attested = pin

    def _confirm(self, pin: PinnedVersion | None, error: str) -> None:
        if pin is not None and pin != self.pin:
            self.began = time.monotonic()
        if error != self.error:
            json_logging.emit("model service unusable", "warning", reason=error) if error else json_logging.emit(
                "model service answers again"
            )
        self.pin, self.error = pin, error
        if pin is not None:
            self.challenger = self.client.challenger
        self._publish()

    def _publish(self) -> None:
        confirmed = self.pin is not None and self.pin.sha256 == self.store.current().sha256
        if confirmed != self.confirmed:
            self.confirmed, self.since = confirmed, time.time()
        status: dict[str, Any] = {
            "confirmed": confirmed,
            "since": self.since,
            "checked": time.time(),
            "beat": time.monotonic(),  # of this machine since it started: no clock that somebody sets
            "wanted": self.pin.sha256 if self.pin else None,
            "trouble": self.error or self.trouble or None,
            "challenger": self.challenger,
            "leader": os.getpid(),
        }
        self.store.write_status(status)
        self.events.catch_up()

    def _fetch(self, pin: PinnedVersion) -> Tried:
        try:
            self.staging.fetch(pin, {self.store.current().sha256, self.store.previous().sha256})
        except (ModelClientError, OSError) as error:
            if str(error) != self.trouble:
                asked = self.client.request_id
                json_logging.emit(
                    "model not fetched", "warning", model_version=pin.sha256, reason=str(error), request_id=asked
                )
            self.trouble = str(error)
            counters.fetch_failures.inc()
            return Tried(Outcome.RETRY, str(error))
        self.trouble = ""
        return Tried(Outcome.DONE)

    def _rehearse(self, pin: PinnedVersion) -> Tried:
        tried = self.staging.rehearse(pin)
        if tried.outcome is Outcome.DONE:
            self.store.end_rehearsal()
        return tried

    def _commit(self, candidate: Candidate) -> None:
        before = self.store.current()
        if self.policy:
            self.policy.accept(candidate.sha256)
        after = self.store.commit(candidate)
        took = time.monotonic() - self.began
        counters.switches.labels("switched", "").inc()
        self.events.catch_up(seconds=round(took, 3), request_id=self.staging.request_id or None)
        self.store.withdraw()
        self.store.prune({before.sha256, after.sha256})
        self._publish()
        json_logging.emit(
            "model switched",
            old=before.sha256 or None,
            model_version=after.sha256,
            generation=after.number,
            seconds=round(took, 3),
            request_id=self.staging.request_id or None,
        )

    def _rest(self, failing: bool) -> None:
        """Wait, with jitter; a pause that follows a failure doubles up to a second, so that a swap stays visible soon."""
        self._publish()
        self.store.settle()
        self.failures = self.failures + 1 if failing else 0
        seconds = self.settings.poll_seconds
        if failing:
            seconds = min(0.05 * 2.0**self.failures, MOST_BACK_OFF, seconds)
        self._stop.wait(seconds * random.uniform(0.8, 1.0))
