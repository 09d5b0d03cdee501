"""From a request's content to logged and counted answers: the one way that all protocols share."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter
from threading import get_ident
from typing import Any

import msgspec

from modelbundle.errors import CannotScore
from modelbundle.explain.answers import Answer, Answers
from modelbundle.model import Model
from modelbundle.schema import Schema
from modelbundle.validation.problems import Invalid, TooManyRows
from modelbundle.validation.validator import Many, One
from services.predict.serving import log_lines, shares
from services.predict.serving.loaded_models import Models, NoModel, Serving
from services.predict.serving.memory_budget import FEW_ROWS, RELEASE, MemoryBudget
from services.predict.serving.model_calls import SCORING, running
from services.predict.serving.prediction_log import PredictionLog
from services.predict.serving.shares import Part, Shares
from services.web.request_ids import fresh, several

_encode = msgspec.json.encode
_band = attrgetter("band")
_KEY = re.compile(r"[!-~]{1,255}")


class InvalidKey(ValueError):
    """An Idempotency-Key that cannot be used."""


REFUSALS = (NoModel, Invalid, TooManyRows, InvalidKey)  # what :meth:`Predictor.predict` raises


class Predictions(msgspec.Struct, frozen=True, gc=False):
    """The answers to one request, in order, and the model that gave them; the champion, where two models did.

    ``single`` says that one record was asked, not a list of one. ``encoded`` is empty where the log had no use for JSON.
    """

    serving: Serving
    answers: Sequence[Answer]
    single: bool
    encoded: bytes

    def to_json(self) -> bytes:
        """The answers as a JSON array."""
        return self.encoded or _to_json(self.answers)


@dataclass(frozen=True, slots=True)
class Predictor:
    """Answers requests. ``bands`` is told the band of every row that was answered, ``warned`` the warnings of each request.

    ``shares`` has the challenger that answers a share of the records. A protocol whose answers do not name their model gets
    answers of the champion alone.
    """

    models: Models
    log: PredictionLog
    max_rows: int
    bands: Callable[[Iterable[str | None]], None]
    warned: Callable[[Schema, Iterable[dict[str, str]]], None]
    budget: MemoryBudget
    shares: Shares | None = None

    def predict(
        self,
        document: object,
        environ: dict[str, Any],
        every_term: bool = False,
        read: Callable[[Model], One | Many] | None = None,
        in_columns: bool = False,
    ) -> Predictions:
        """Validate ``document`` against the current model's schema and score it; raises one of :data:`REFUSALS`.

        Call it after the body was read: it takes the current model once and uses that model throughout. A protocol with a form
        of its own gives ``read``, which validates the content itself. With ``in_columns`` it says that its rows came as
        columns, and that it names the model of each answer. ``environ`` is the request's WSGI environment.
        """
        with self.models.current() as serving:
            model = serving.model
            key = idempotency_key(environ) if "HTTP_IDEMPOTENCY_KEY" in environ else None
            try:
                asked = model.validator.read(document, self.max_rows) if read is None else read(model)
            except Invalid as invalid:
                if serving.trial is not None:
                    serving.trial.refused(invalid.problems, read or partial(self._read, document))
                raise
            shared = self.shares is not None and (read is None or in_columns) and self.shares.models.answering
            in_columns |= shared and isinstance(document, dict) and list in map(type, document.values())
            del document, read  # what was decoded is freed, before the answers take memory
            if asked.rows > FEW_ROWS or RELEASE in environ:
                self.budget.claim_rows(environ, asked.rows, every_term)
            if shared:
                return self.share(serving, asked, environ, key, every_term, in_columns=in_columns)
            return self.score(serving, asked, environ, key, every_term)

    def _read(self, document: object, model: Model) -> One | Many:
        return model.validator.read(document, self.max_rows)

    def share(
        self,
        serving: Serving,
        asked: One | Many,
        environ: Mapping[str, Any],
        key: str | None,
        every_term: bool = False,
        first: int = 0,
        in_columns: bool = False,
    ) -> Predictions:
        """:meth:`score`, but a challenger that answers a share answers the records that fall to it, where it can."""
        challenger = self.shares.now() if self.shares is not None else None
        if challenger is None:
            return self.score(serving, asked, environ, key, every_term, first)
        caller = environ.get("request.key")
        places = shares.chosen(challenger, asked, key or shares.of_caller(caller, environ["request.id"]), caller)
        part = None
        if places:

            def scored(model: Model, own: One | Many, places: Sequence[int]) -> Sequence[Answer]:
                return _answers(model, own, key, every_term, [first + place for place in places])

            with challenger:
                part = shares.answer(challenger, serving.model, asked, places, in_columns, scored)
        if part is None:
            return self.score(serving, asked, environ, key, every_term, first)
        taken = set(part.places)
        rest = [i for i in range(asked.rows) if i not in taken]
        parts = [self._scored(serving, asked, key, every_term, first, rest), part] if rest else [part]
        return self._finished(parts, environ, isinstance(asked, One))

    def score(
        self,
        serving: Serving,
        asked: One | Many,
        environ: Mapping[str, Any],
        key: str | None,
        every_term: bool = False,
        first: int = 0,
    ) -> Predictions:
        """Score validated rows, log the answers and count them. ``first`` is the position in the request of the first row.

        Raises :class:`Invalid` where the model gives no probability for a row.
        """
        part = self._scored(serving, asked, key, every_term, first)
        return self._finished([part], environ, isinstance(asked, One))

    def _scored(
        self,
        serving: Serving,
        asked: One | Many,
        key: str | None,
        every_term: bool,
        first: int,
        places: Sequence[int] | None = None,
    ) -> Part:
        """The answers of one model to the rows at ``places``, by default to all; raises :class:`Invalid`."""
        model, trial = serving.model, serving.trial
        own, rows = (asked, range(asked.rows)) if places is None else (shares.subset(asked, places), places)
        began = time.perf_counter() if trial is not None else 0.0
        try:
            answers = _answers(model, own, key, every_term, [first + i for i in rows] if key else ())
        except CannotScore as error:
            if trial is not None:
                trial.failed(model, own, error.rows)
            raise model.validator.unscorable(asked, {rows[i]: why for i, why in error.rows.items()}) from None
        if trial is not None:
            trial.answered(model, own, answers, time.perf_counter() - began)
        return Part(serving, rows, own, answers)

    def _finished(self, parts: Sequence[Part], environ: Mapping[str, Any], single: bool) -> Predictions:
        """Log and count the answers of each model, and put them in the order of the request."""
        answers = parts[0].answers
        if len(parts) > 1:
            found = {place: answer for part in parts for place, answer in zip(part.places, part.answers, strict=True)}
            answers = [found[place] for place in sorted(found)]
        encoded = b""
        if (writer := self.log.writer) is None:
            self.log.missed(len(answers))
        else:
            lines = []
            for part in parts:
                serving, asked, given = part.serving, part.asked, part.answers
                if isinstance(asked, Many) and isinstance(given, Answers) and asked.rows > log_lines.FEW:
                    lines.append(log_lines.batch(environ, serving, asked, given))
                else:
                    encoded = _to_json(given)  # once: what is sent is what is logged
                    lines.append(log_lines.line(environ, serving, asked, encoded))
            try:
                writer.append(*lines)
            except OSError as error:
                self.log.missed(len(answers), error)
        self.bands(answers.band_labels() if isinstance(answers, Answers) else map(_band, answers))
        for part in parts:
            if part.asked.warnings:
                own = part.asked
                said = own.warnings if isinstance(own, One) else chain.from_iterable(own.warnings.values())
                self.warned(part.serving.model.schema, said)
        return Predictions(parts[0].serving, answers, single, encoded if len(parts) == 1 else b"")


def _to_json(answers: Sequence[Answer]) -> bytes:
    return answers.to_json() if isinstance(answers, Answers) else _encode(answers)


def _answers(
    model: Model, asked: One | Many, key: str | None, every_term: bool, positions: Sequence[int]
) -> Sequence[Answer]:
    """The answers. ``positions`` are those of the rows in the request."""
    own = get_ident()
    running[own] = SCORING, model.version, asked.rows
    try:
        return _answered(model, asked, key, every_term, positions)
    finally:
        del running[own]


def _answered(
    model: Model, asked: One | Many, key: str | None, every_term: bool, positions: Sequence[int]
) -> Sequence[Answer]:
    if isinstance(asked, One):
        own = fresh() if key is None else derived_ids([asked.row], [asked.id], key, model.version, positions)[0]
        return [model.answer(asked.row, every_term, own, asked.id, asked.warnings)]
    if key is None:
        ids = several(asked.rows)
    else:
        given = asked.ids or [None] * asked.rows
        ids = derived_ids(zip(*log_lines.inputs(asked), strict=True), given, key, model.version, positions)
    return model.answer_columns(asked.columns, every_term, ids, asked.ids, asked.warnings)


def idempotency_key(environ: Mapping[str, Any]) -> str | None:
    """The Idempotency-Key of this request, if there is one, as that of its caller alone; raises :class:`InvalidKey`."""
    key: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidKey("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return shares.of_caller(environ.get("request.key"), key)


def derived_ids(
    rows: Iterable[Iterable[Any]], given: Iterable[str | None], key: str, version: str, positions: Iterable[int]
) -> list[str]:
    """One id of 32 hex digits per row: from the caller's idempotency key, the row with the id ``given`` to it, its position, and
    the model's version."""
    start = hashlib.sha256(f"{version}\0{key}".encode("utf-8", "surrogateescape"))
    ids = []
    for position, row, own in zip(positions, rows, given, strict=True):
        derived = start.copy()
        derived.update(f"\0{position}\0{[None if v != v else v for v in row]!r}".encode("utf-8", "surrogatepass"))
        if own is not None:
            derived.update(f"\0{own!r}".encode())
        ids.append(derived.hexdigest()[:32])
    return ids
