"""Reads the prediction log for the pages: few at a time, each for a bounded time, so that predictions are not held up.

The database's library is imported with the first look-up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from services.predict.lookup.criteria import Criteria
from services.predict.serving.prediction_log import PredictionLog
from services.predict.settings import NO_LOG, Settings
from services.predictionlog import event
from services.web import json_logging
from services.web.problem import Refused, retry_after

if TYPE_CHECKING:
    from services.predictionlog.search import Page

T = TypeVar("T")
AT_ONCE = 2  # per worker; the other threads are for predictions
SECONDS = 2  # for a search
OFF = "This server keeps no prediction log (PREDICTION_LOG_URL=none), so there is nothing to look up."
BUSY = "Others are looking something up; try again."
AWAY = (
    "The database of the prediction log cannot be read now, or this takes longer than it may: "
    "try again, or say more of what is searched for."
)
UNRECORDED = "Who looks something up is recorded, and that cannot be written now: nothing is shown."
NOTHING = (
    "No prediction in the log has this id. What was answered in the last seconds may be on its way to the database; "
    "what was erased is gone."
)


class Log:
    """The log of ``settings``. Whatever is shown of it is noted in ``notes`` before."""

    def __init__(self, settings: Settings, notes: PredictionLog) -> None:
        self.url = settings.prediction_log_url
        self.notes = notes
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._engine: Any = None

    def search(self, criteria: Criteria) -> Page:
        """A page of predictions; raises :class:`Refused` with 501 or 503."""
        from services.predictionlog import search

        def look(engine: Any) -> Page:
            return search.page(engine, criteria.search, criteria.after, criteria.size, SECONDS)

        return self.read(look) or search.Page([], None)

    def one(self, prediction_id: str) -> dict[str, Any]:
        """One prediction, as :func:`services.predictionlog.audit.one` gives it; raises :class:`Refused` with 404, 501 or 503."""
        from services.predictionlog import audit

        try:
            found = self.read(lambda engine: audit.one(engine, prediction_id))
        except audit.NotFound:
            found = None
        if found is None:
            raise Refused(404, NOTHING)
        return found

    def note(self, own: str, who: str | None, detail: dict[str, Any]) -> None:
        """Record a look-up as an event; raises :class:`Refused` with 503 where it cannot be, or is not certain to be.

        ``own`` is the request's id, and ``who`` the name of its key.
        """
        now = time.time()
        line = event.encode(event.identity(own, now), event.LOOKUP, now, {"by": who, **detail, "request_id": own})
        if self.notes.writer is None or not self.notes.note(line):
            raise Refused(503, UNRECORDED, headers=retry_after(5))

    def read(self, look: Callable[[Any], T]) -> T | None:
        """What ``look`` finds; None where there is no log yet. Raises :class:`Refused` with 501 or 503."""
        if self.url == NO_LOG:
            raise Refused(501, OFF)
        from sqlalchemy.exc import SQLAlchemyError

        from services.predictionlog.search import TooWide

        with self._place():
            try:
                engine = self._connected()
                return None if engine is None else look(engine)
            except TooWide as error:
                raise Refused(503, str(error), headers=retry_after(5)) from None
            except SQLAlchemyError as error:
                reason = type(getattr(error, "orig", None) or error).__name__
                json_logging.emit("log not read", "error", reason=reason)
                raise Refused(503, AWAY, headers=retry_after(5)) from None

    def _connected(self) -> Any:
        """An engine that only reads; None where SQLite's file is not there yet: opening it would make it."""
        from services.predictionlog import database

        with self._lock:
            if self._engine is None:
                self._engine = database.connect(self.url, SECONDS, reading=True)
        engine = self._engine
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
            return None
        return None if database.revision(engine) is None else engine

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Refused(503, BUSY, headers=retry_after(1))
        try:
            yield
        finally:
            self._places.release()
