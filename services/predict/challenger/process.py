"""Scores silently what the champion answered: ``python -m services.predict.challenger.process``.

Each DATA_DIR has one such process. The workers keep it alive while a challenger is pinned (:mod:`services.supervisor`). It
follows the model service itself, stages a challenger as a leader stages a champion, and scores the rows that the prediction log
has shipped. No request and no worker waits for it: a challenger that hangs, fails or kills its process harms nothing else. The
process ends when no challenger is pinned any more, when the challenger is refused, or with the worker that started it.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from modelbundle import golden
from modelbundle.errors import CannotScore
from modelbundle.format import bundle
from modelbundle.format.statement import CHALLENGER
from modelbundle.model import Model
from services.predict.challenger.status import LOCK, Comparison, place
from services.predict.gates.replay import last_class
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.protocol import Outcome, PinnedVersion
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import database, event, record, spool
from services.predictionlog.challenger_queue import Queue
from services.supervisor import be
from services.web import json_logging, timestamps

EVERY = 0.5  # seconds between rounds when nothing waits
POLL = 2.0  # seconds that a poll may take
BATCH = 2000  # rows that are scored at a time
NICE = 15
WAITS, AWAY = "challenger waits", "challenges not logged"


class Ended(Exception):
    """No challenger is left to score. The message says why."""


class Refused(Ended):
    """The challenger was refused now."""


class ChallengerProcess:
    """Follows the pin and scores. Methods raise :class:`OSError` where the disk does."""

    def __init__(self, settings: Settings, client: ModelClient | None = None) -> None:
        self.settings = settings
        self.store = StateDir(place(settings))
        self.queue = Queue(place(settings) / "queue")
        self.policy = SignaturePolicy.of(settings, self.store, CHALLENGER)
        self.client = client or ModelClient(
            settings.model_server_url, max_bytes=settings.max_bundle_bytes, role=CHALLENGER
        )
        self.staging = Staging(
            self.store, settings, self.client, self.policy, StateDir(settings.state_dir), silent=True
        )
        self.engine = database.connect(settings.prediction_log_url)
        self.pin: PinnedVersion | None = None
        self.model: Model | None = None
        self.comparison = Comparison()
        self.state = "fetching"
        self.since = time.time()
        self.troubles: dict[str, str] = {}
        self._polled = -math.inf
        self._unproven = False  # the journal has a rehearsal, and the model has not scored anything yet

    def round(self) -> bool:
        """Poll when it is time, and score one segment. Returns whether more segments wait. Raises :class:`Ended`."""
        if time.monotonic() - self._polled >= self.settings.poll_seconds:
            self.follow()
            self._polled = time.monotonic()
        waiting = self.queue.segments() if self.model else []
        if self.model and waiting:
            self.score(self.model, waiting[0])
        if self._unproven and self.model:
            self.store.end_rehearsal()
            self._unproven = False
        self.publish()
        return len(waiting) > 1 and not self.troubles

    def follow(self) -> None:
        """Poll, and stage a challenger that is new. While the model service is silent, the process goes on with what it has."""
        try:
            pins = self.client.poll(POLL)
            pin = pins.challenger
            if pin is None and not pins.challenger_trouble:
                raise Ended("no challenger is pinned")
            if pin is None:
                raise ModelClientError(pins.challenger_trouble)
            refused = self.store.refused()
            if refused and (refused["sha256"], refused["id"]) == (pin.sha256, pin.id):
                raise Ended(refused["reason"])
            if self.model is None or pin.sha256 != self.model.version:
                self.stage(pin)
            self.pin = pin
            self.troubles.pop(WAITS, None)
        except ModelClientError as error:
            self.warn(WAITS, str(error))

    def stage(self, pin: PinnedVersion) -> None:
        """Stage and load a challenger. Raises :class:`Ended` where it is refused, :class:`ModelClientError` to try again."""
        before = self.store.status()
        kept = before.get("tally") if before.get("sha256") == pin.sha256 else None
        self.pin, self.model, self.comparison = pin, None, Comparison(**kept) if kept else Comparison()
        if not kept:
            self.queue.close()  # of another challenger
        staged = self.staging.stage(pin, keep=set(), enter=self._enter)
        if staged.outcome is Outcome.REFUSED:
            self._refuse(pin, staged.reason, staged.kind)
        if staged.outcome is Outcome.RETRY:
            raise ModelClientError(staged.reason)
        self._unproven = True
        with limited(self.settings):
            try:
                model = bundle.read(self.store.bundle(pin.sha256), pin.sha256, allow_pickle=self.settings.allow_pickle)
                golden.check(model)
            except Exception as error:  # whatever it is, it is why this model is refused
                self._refuse(pin, f"{type(error).__name__}: {error}")
        if self.policy:
            self.policy.accept(pin.sha256)
        self.queue.open()
        self.model = model
        self._enter("scoring")
        if self.comparison == Comparison():
            self._note("scoring")
        json_logging.emit("challenger scores", model_version=pin.sha256)

    def score(self, model: Model, path: Path) -> None:
        """Score one segment of the log. The segment stays in the queue where the database does not take the result."""
        lines = (line for line in spool.lines(path) if not event.is_one(line))
        found = chain.from_iterable(record.decode(line).rows() for line in lines)
        rows = (row for row in found if row["model_version"] != model.version)  # those that it did not answer itself
        try:
            while some := list(islice(rows, BATCH)):
                self._batch(model, some)
        except SQLAlchemyError as error:
            self.warn(AWAY, type(getattr(error, "orig", None) or error).__name__)  # never its text: it holds rows
            return
        self.troubles.pop(AWAY, None)
        path.unlink(missing_ok=True)

    def _batch(self, model: Model, rows: Sequence[dict[str, Any]]) -> None:
        assert self.pin is not None
        with limited(self.settings):
            try:
                found = last_class(model, [msgspec.json.decode(row["input"]) for row in rows])
            except CannotScore as error:  # rows that the champion answered
                self._refuse(self.pin, f"it gives no probability for logged rows: {next(iter(error.rows.values()))}")
            except Exception as error:  # a model that cannot score silently must not answer
                self._refuse(self.pin, f"scoring ended with {type(error).__name__}")
        now = timestamps.now()
        fits = [
            {"prediction_id": row["prediction_id"], "model_version": model.version, "probability": p, "time": now}
            for row, p in zip(rows, found, strict=True)
            if p is not None
        ]
        database.challenge(self.engine, fits)
        self.comparison.add(model, rows, found)

    def publish(self) -> None:
        """Write the status that the workers read."""
        if self.pin is not None:
            status = {
                "id": self.pin.id,
                "sha256": self.pin.sha256,
                "state": self.state,
                "since": self.since,
                "beat": time.monotonic(),
                "trouble": "; ".join(self.troubles.values()) or None,
                "warnings": self.staging.evidence.get("warnings", []),
                "tally": asdict(self.comparison),
            }
            self.store.write_status(status)

    def end(self, reason: str) -> None:
        """Remove what belonged to the challenger."""
        self.queue.close()
        self.store.write_status({})
        self.store.prune(set())
        json_logging.emit("challenger ended", reason=reason)

    def leave(self) -> None:
        """The service stops. This does not count as a failed rehearsal."""
        if self._unproven:
            self.store.end_rehearsal()
        self.client.close()

    def _enter(self, state: str) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()
        self.publish()

    def _refuse(self, pin: PinnedVersion, reason: str, kind: str = "rehearsal") -> NoReturn:
        self.store.refuse(pin, reason, kind, self.staging.evidence)
        self.store.end_rehearsal()
        self._note("refused", reason)
        json_logging.emit("challenger refused", "error", model_version=pin.sha256, reason=reason)
        raise Refused(reason)

    def _note(self, result: str, reason: str | None = None) -> None:
        """An event of the prediction log."""
        assert self.pin is not None
        detail: dict[str, Any] = {
            "model_version": self.pin.sha256,
            "pin": self.pin.id,
            "result": result,
            "reason": reason,
        }
        detail["gates"] = self.staging.evidence
        event.append(self.settings.data_dir / "spool", event.CHALLENGE, detail)

    def warn(self, what: str, reason: str) -> None:
        """Remember a trouble that may pass. It is logged when it is new."""
        if reason != self.troubles.get(what):
            json_logging.emit(what, "warning", reason=reason)
        self.troubles[what] = reason


@contextlib.contextmanager
def limited(settings: Settings) -> Iterator[None]:
    """End the process if the block takes longer than a rehearsal may. The next process finds that in the journal."""
    signal.alarm(int(settings.rehearsal_seconds))
    try:
        yield
    finally:
        signal.alarm(0)


def lower_priority(settings: Settings) -> None:
    """Lower this process's priority, and set the limits of a rehearsal. It is the first to be killed when memory runs out."""
    megabytes = settings.rehearsal_memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (megabytes, megabytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        os.nice(NICE)
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")


def main() -> int:
    """Score until no challenger is left, or the parent process is gone."""
    settings = Settings.from_environment()
    if be("challenger", settings.data_dir / LOCK) is None:
        return 0
    lower_priority(settings)
    challenger = ChallengerProcess(settings)
    pause = 0.0
    while not select.select([0], [], [], pause)[0]:
        try:
            pause = 0.0 if challenger.round() else EVERY
        except Ended as ended:
            challenger.end(str(ended))
            return int(isinstance(ended, Refused))  # a failure: the next challengers wait, for longer each time
        except OSError as error:
            challenger.warn(WAITS, str(error))
            pause = EVERY
    challenger.leave()
    return 0


if __name__ == "__main__":
    json_logging.log_uncaught()
    sys.exit(main())
