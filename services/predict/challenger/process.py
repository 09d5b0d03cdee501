"""Scores silently, beside the champion, what the champion answered: ``python -m services.predict.challenger.process``.

One process for each DATA_DIR, kept alive by the workers while a challenger is pinned (:mod:`services.supervisor`). It follows the
model service by itself, takes a challenger in as a leader takes in a champion, and scores the rows that the prediction log has
shipped. NotPinned of it is on a request's way or in a worker: a challenger that hangs, fails or kills its process harms nobody.
It ends when there is no challenger any more, when it was refused, or with the worker that started it.
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
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from modelbundle import golden
from modelbundle.format import bundle
from modelbundle.format.statement import CHALLENGER
from modelbundle.model import Model
from modelbundle.validation.validator import Invalid
from services.predict.challenger.status import LOCK, place
from services.predict.rollout.model_client import CHALLENGER as PATHS
from services.predict.rollout.model_client import ModelClient, ModelClientError, NotPinned
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.staging import Staging
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.state_machine import Outcome, PinnedVersion
from services.predict.settings import Settings
from services.predictionlog import database, event, record, spool, timestamps
from services.predictionlog.challenger_queue import Queue
from services.supervisor import be
from services.web import json_logging

EVERY = 0.5  # seconds between rounds when nothing waits
POLL = 2.0  # seconds that a poll may take
BATCH = 2000  # rows that are scored at a time
NICE = 15
WAITS, AWAY = "challenger waits", "challenges not logged"


class Ended(Exception):
    """There is no challenger to score any more; the message says why."""


@dataclass(slots=True)
class Tally:
    """How a challenger does beside the champion: rows, and the sum of the differences in probability, without sign."""

    scored: int = 0
    misfits: int = 0
    banded: int = 0
    same_band: int = 0
    difference: float = 0.0

    def add(self, model: Model, rows: Sequence[dict[str, Any]], said: Sequence[float | None]) -> None:
        """Count rows of the log, with what the challenger says of each; None where the row does not fit it."""
        for row, probability in zip(rows, said, strict=True):
            if probability is None:
                self.misfits += 1
                continue
            self.scored += 1
            self.difference += abs(probability - row["probability"])
            band = model.band(probability)
            if band is not None and row["band"] is not None:
                self.banded += 1
                self.same_band += band == row["band"]


class ChallengerProcess:
    """Follows the pin and scores. Methods raise :class:`OSError` where the disk does."""

    def __init__(self, settings: Settings, client: ModelClient | None = None) -> None:
        self.settings = settings
        self.store = StateDir(place(settings))
        self.queue = Queue(place(settings) / "queue")
        self.policy = SignaturePolicy.of(settings, self.store, CHALLENGER)
        self.client = client or ModelClient(settings.model_server_url, max_bytes=settings.max_bundle_bytes, paths=PATHS)
        self.staging = Staging(self.store, settings, self.client, self.policy)
        self.engine = database.connect(settings.prediction_log_url)
        self.pin: PinnedVersion | None = None
        self.model: Model | None = None
        self.tally = Tally()
        self.state = "fetching"
        self.since = time.time()
        self.troubles: dict[str, str] = {}
        self._polled = -math.inf
        self._unproven = False  # a rehearsal is journalled that nothing has come of yet

    def round(self) -> bool:
        """Look at the pin when it is time, and score one segment; whether more waits. Raises :class:`Ended`."""
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
        """Ask for the pin; another one is taken in. While the model service is silent, what there is goes on."""
        try:
            pin = self.client.poll([self.model.version] if self.model else [], POLL)
            refused = self.store.refused()
            if refused and (refused["sha256"], refused["id"]) == (pin.sha256, pin.id):
                raise Ended(refused["reason"])
            if self.model is None or pin.sha256 != self.model.version:
                self.take_in(pin)
            self.pin = pin
            self.troubles.pop(WAITS, None)
        except NotPinned:
            raise Ended("no challenger is pinned") from None
        except ModelClientError as error:
            self.say(WAITS, str(error))

    def take_in(self, pin: PinnedVersion) -> None:
        """Fetch, verify, rehearse, load. Raises :class:`Ended` where it is refused, :class:`ModelClientError` where it should be
        tried again."""
        before = self.store.status()
        kept = before.get("tally") if before.get("sha256") == pin.sha256 else None
        self.pin, self.model, self.tally = pin, None, Tally(**kept) if kept else Tally()
        if not kept:
            self.queue.close()  # of another challenger
        self._enter("fetching")
        self.staging.fetch(pin, frozenset())
        self._enter("rehearsing")
        tried = self.staging.rehearse(pin)
        if tried.outcome is Outcome.REFUSED:
            self._refuse(pin, tried.reason, tried.kind)
        if tried.outcome is Outcome.RETRY:
            raise ModelClientError(tried.reason)
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
        if self.tally == Tally():
            self._note("scoring")
        json_logging.emit("challenger scores", model_version=pin.sha256)

    def score(self, model: Model, path: Path) -> None:
        """Score one segment of the log; it stays where the database does not take what comes of it."""
        lines = (line for line in spool.lines(path) if not event.is_one(line))
        rows = chain.from_iterable(record.decode(line).rows() for line in lines)
        try:
            while some := list(islice(rows, BATCH)):
                self._batch(model, some)
        except SQLAlchemyError as error:
            self.say(AWAY, type(getattr(error, "orig", None) or error).__name__)  # never its text: it holds rows
            return
        self.troubles.pop(AWAY, None)
        path.unlink(missing_ok=True)

    def _batch(self, model: Model, rows: Sequence[dict[str, Any]]) -> None:
        assert self.pin is not None
        with limited(self.settings):
            try:
                said = judge(model, [msgspec.json.decode(row["input"]) for row in rows])
            except Exception as error:  # what it cannot do silently it shall not do aloud
                self._refuse(self.pin, f"scoring ended with {type(error).__name__}")
        now = timestamps.now()
        fits = [
            {"prediction_id": row["prediction_id"], "model_version": model.version, "probability": p, "time": now}
            for row, p in zip(rows, said, strict=True)
            if p is not None
        ]
        database.challenge(self.engine, fits)
        self.tally.add(model, rows, said)

    def publish(self) -> None:
        """Say how it stands."""
        if self.pin is not None:
            status = {
                "id": self.pin.id,
                "sha256": self.pin.sha256,
                "state": self.state,
                "since": self.since,
                "beat": time.monotonic(),
                "trouble": "; ".join(self.troubles.values()) or None,
                "tally": asdict(self.tally),
            }
            self.store.write_status(status)

    def end(self, reason: str) -> None:
        """Clear away what belonged to the challenger."""
        self.queue.close()
        self.store.write_status({})
        self.store.prune(set())
        json_logging.emit("challenger ended", reason=reason)

    def leave(self) -> None:
        """The service stops: that is no attempt that failed."""
        if self._unproven:
            self.store.end_rehearsal()
        self.client.close()

    def _enter(self, state: str) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()
        self.publish()

    def _refuse(self, pin: PinnedVersion, reason: str, kind: str = "rehearsal") -> NoReturn:
        self.store.refuse(pin, reason, kind)
        self.store.end_rehearsal()
        self._note("refused", reason)
        json_logging.emit("challenger refused", "error", model_version=pin.sha256, reason=reason)
        raise Ended(reason)

    def _note(self, result: str, reason: str | None = None) -> None:
        """An event of the prediction log."""
        assert self.pin is not None
        detail = {"model_version": self.pin.sha256, "pin": self.pin.id, "result": result, "reason": reason}
        event.append(self.settings.data_dir / "spool", event.CHALLENGE, detail)

    def say(self, what: str, reason: str) -> None:
        """Remember a trouble that may pass; it is logged when it is new."""
        if reason != self.troubles.get(what):
            json_logging.emit(what, "warning", reason=reason)
        self.troubles[what] = reason


def judge(model: Model, inputs: Sequence[dict[str, Any]]) -> list[float | None]:
    """The probability of the last class for each row, with the bits that an answer would have; None where a row does not fit.

    What the model's schema does not know is left out: the champion may have features that the challenger does without.
    """
    own = [{name: row[name] for name in model.schema.names if name in row} for row in inputs]
    fitting = list(range(len(own)))
    try:
        columns = model.validator.records(own, len(own)).columns
    except Invalid:
        fitting = [i for i in fitting if _fits(model, own[i])]
        if not fitting:
            return [None] * len(own)
        columns = model.validator.records([own[i] for i in fitting], len(own)).columns
    scorer = model.scorer
    if len(model.classes) > 2:
        probabilities = scorer.probability_matrix(columns)[:, -1].tolist()
    else:
        probabilities = scorer.probabilities(scorer.score_columns(columns)).tolist()
    said: list[float | None] = [None] * len(own)
    for i, probability in zip(fitting, probabilities, strict=True):
        said[i] = probability
    return said


def _fits(model: Model, row: dict[str, Any]) -> bool:
    try:
        model.validator.record(row)
    except Invalid:
        return False
    return True


@contextlib.contextmanager
def limited(settings: Settings) -> Iterator[None]:
    """What takes longer than a rehearsal may, ends the process; the next one knows (see the journal of rehearsals)."""
    signal.alarm(int(settings.rehearsal_seconds))
    try:
        yield
    finally:
        signal.alarm(0)


def stand_back(settings: Settings) -> None:
    """Last for the processor, first to be killed when memory runs out, within the limits of a rehearsal."""
    megabytes = settings.rehearsal_memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (megabytes, megabytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        os.nice(NICE)
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")


def main() -> int:
    """Score until there is nothing to, or the parent is gone."""
    settings = Settings.from_environment()
    if be("challenger", settings.data_dir / LOCK) is None:
        return 0
    stand_back(settings)
    challenger = ChallengerProcess(settings)
    pause = 0.0
    while not select.select([0], [], [], pause)[0]:
        try:
            pause = 0.0 if challenger.round() else EVERY
        except Ended as ended:
            challenger.end(str(ended))
            return 0
        except OSError as error:
            challenger.say(WAITS, str(error))
            pause = EVERY
    challenger.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
