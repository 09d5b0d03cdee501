"""From a request's content to logged and counted answers: the one way that all protocols share."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

import msgspec

from modelbundle.errors import CannotScore
from modelbundle.model import NO_WARNINGS, Answer, Model
from modelbundle.schema import Schema
from modelbundle.validation.problems import Invalid, TooManyRows
from modelbundle.validation.validator import Many, One
from services.predict.serving.loaded_models import Models, NoModel, Serving
from services.predict.serving.prediction_log import PredictionLog
from services.predictionlog import record
from services.web.request_ids import fresh, several

_encode = msgspec.json.encode
_band = attrgetter("band")
_KEY = re.compile(r"[!-~]{1,255}")


class InvalidKey(ValueError):
    """An Idempotency-Key that cannot be used."""


REFUSALS = (NoModel, Invalid, TooManyRows, InvalidKey)  # what :meth:`Predictor.predict` raises


class Predictions(msgspec.Struct, frozen=True, gc=False):
    """The answers to one request, in order, and the model that gave them.

    ``encoded`` is the answers as a JSON array; ``single`` says that one record was asked, not a list of one.
    """

    serving: Serving
    answers: list[Answer]
    encoded: bytes
    single: bool


@dataclass(frozen=True, slots=True)
class Predictor:
    """Answers requests. ``bands`` is told the band of every row that was answered, ``warned`` the warnings of each request."""

    models: Models
    log: PredictionLog
    max_rows: int
    bands: Callable[[Iterable[str | None]], None]
    warned: Callable[[Schema, Iterable[dict[str, str]]], None]

    def predict(
        self,
        document: object,
        environ: Mapping[str, Any],
        every_term: bool = False,
        read: Callable[[Model], One | Many] | None = None,
    ) -> Predictions:
        """Validate ``document`` against the current model's schema and score it; raises one of :data:`REFUSALS`.

        Call it after the body was read: it takes the current model once and uses that model throughout. A protocol with a form
        of its own gives ``read``, which validates the content itself. ``environ`` is the request's WSGI environment.
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
            return self.score(serving, asked, environ, key, every_term)

    def _read(self, document: object, model: Model) -> One | Many:
        return model.validator.read(document, self.max_rows)

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
        model, trial = serving.model, serving.trial
        began = time.perf_counter() if trial is not None else 0.0
        try:
            inputs, answers = _answers(model, asked, key, every_term, first)
        except CannotScore as error:
            if trial is not None:
                trial.failed(model, asked, error.rows)
            raise model.validator.unscorable(asked, error.rows) from None
        if trial is not None:
            trial.answered(model, asked, answers, time.perf_counter() - began)
        encoded = _encode(answers)  # once: what is sent is what is logged
        if (writer := self.log.writer) is None:
            self.log.missed(len(answers))
        else:
            line = record.Line(
                record.FORMAT,
                time.time(),
                serving.generation.number,
                environ["request.id"],
                environ.get("request.key"),
                dict(zip(model.schema.names, inputs, strict=True)),
                msgspec.Raw(encoded),
            )
            try:
                writer.append(record.encode_lines([line]))
            except OSError as error:
                self.log.missed(len(answers), error)
        self.bands(map(_band, answers))
        if asked.warnings:
            given = asked.warnings if isinstance(asked, One) else chain.from_iterable(asked.warnings.values())
            self.warned(model.schema, given)
        return Predictions(serving, answers, encoded, isinstance(asked, One))


def _answers(
    model: Model, asked: One | Many, key: str | None, every_term: bool, first: int
) -> tuple[Iterable[Any], list[Answer]]:
    """The values that are scored, by feature, and the answers."""
    if isinstance(asked, One):
        own = fresh() if key is None else derived_ids([asked.row], key, model.version, first)[0]
        return zip(asked.row), [model.answer(asked.row, every_term, own, asked.id, asked.warnings)]
    inputs = [column if isinstance(column, list) else column.tolist() for column in asked.columns]
    ids = several(asked.rows) if key is None else derived_ids(zip(*inputs, strict=True), key, model.version, first)
    warnings = map(asked.warnings.get, range(asked.rows), repeat(NO_WARNINGS))
    return inputs, model.answers(asked.columns, every_term, ids, asked.ids or repeat(None), warnings)


def idempotency_key(environ: Mapping[str, Any]) -> str | None:
    """The caller's key for this request, if there is one; raises :class:`InvalidKey`."""
    key: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidKey("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key


def derived_ids(rows: Iterable[Iterable[Any]], key: str, version: str, first: int) -> list[str]:
    """One id of 32 hex digits per row, from the idempotency key, the row and the model's version."""
    start = hashlib.sha256(f"{version}\0{key}".encode("utf-8", "surrogateescape"))
    ids = []
    for position, row in enumerate(rows, first):
        derived = start.copy()
        derived.update(f"\0{position}\0{[None if v != v else v for v in row]!r}".encode("utf-8", "surrogatepass"))
        ids.append(derived.hexdigest()[:32])
    return ids
