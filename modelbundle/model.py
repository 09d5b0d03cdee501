"""A loaded model: validated values in, answers out. Knows neither HTTP nor files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from modelbundle.explain.reasons import Reasons
from modelbundle.format.manifest import Label, Manifest
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, Column, FloatArray, Scorer, Value, take
from modelbundle.scorers.probability import expit
from modelbundle.validation.validator import Validator

Reason = dict[str, Any]
Warnings = Sequence[dict[str, str]]
NO_WARNINGS: Warnings = ()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to one row. Its fields, in order, are those of the JSON object that the API sends.

    ``predict_proba`` has one probability per class. ``baseline`` and ``reasons`` are None where the scorer has no exact
    contributions; ``reasons`` is empty where the row scores at most the baseline. ``contributions`` is there only on request:
    one number per feature, which add up with ``baseline`` to the log-odds. ``id`` is the caller's own reference.
    """

    prediction: Label
    predict_proba: list[float]
    band: str | None
    baseline: float | None
    reasons: list[Reason] | None
    contributions: dict[str, float] | UnsetType | None
    model_version: str
    prediction_id: str
    id: str | None
    warnings: Warnings


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers to n rows: positions in the model's classes, probabilities of the last class, and positions in its band labels.

    ``band`` is None where the model has none; ``reasons``, keys for :meth:`Reasons.told`, where it has no exact contributions
    or they were not asked for.
    """

    predicted: NDArray[np.intp]
    probability: FloatArray
    band: NDArray[np.intp] | None
    reasons: NDArray[np.int64] | None


class Model:
    """One bundle, ready to answer. ``version`` is the SHA-256 of its file.

    Immutable after construction, and safe to use from any number of threads.
    """

    def __init__(self, version: str, manifest: Manifest, scorer: Scorer, reasons: Reasons) -> None:
        self.version = version
        self.manifest = manifest
        self.scorer = scorer
        self.reasons = reasons
        self.schema: Schema = manifest.schema
        self.validator = Validator(manifest.schema)
        self.classes = manifest.classes
        self.baseline = scorer.baseline if scorer.has_contributions else None
        self._probability = expit if scorer.link == "logit" else scorer.probability
        self._uppers = [band.upper for band in manifest.bands]
        self.labels = [band.label for band in manifest.bands]

    def band(self, probability: float) -> str | None:
        """The label of the band that a probability of the last class falls into; None where there are no bands."""
        return self.labels[bisect_left(self._uppers, probability)] if self.labels else None

    def answer(
        self,
        row: Sequence[Value],
        every_term: bool = False,
        prediction_id: str = "",
        reference: str | None = None,
        warnings: Warnings = NO_WARNINGS,
    ) -> Answer:
        """The answer to one validated row. With ``every_term`` it has ``contributions``."""
        scorer = self.scorer
        if len(self.classes) > 2:
            columns: Any = [[value] for value in row]
            return self.answers(columns, every_term, [prediction_id], [reference], [warnings])[0]
        reasons = terms = None
        if scorer.has_contributions:
            score, contributions = scorer.explain_row(row)
            reasons = self.reasons.select(row, contributions) if score > scorer.baseline else []
            if every_term:
                terms = dict(zip(self.schema.names, contributions, strict=True))
        else:
            score = scorer.score_row(row)
        probability = self._probability(score)
        other = 1.0 - probability
        return Answer(
            self.classes[probability > other],
            [other, probability],
            self.labels[bisect_left(self._uppers, probability)] if self.labels else None,
            self.baseline,
            reasons,
            terms if every_term else UNSET,
            self.version,
            prediction_id,
            reference,
            warnings,
        )

    def answers(
        self,
        columns: Sequence[Column],
        every_term: bool = False,
        prediction_ids: Iterable[str] = repeat(""),
        references: Iterable[str | None] = repeat(None),
        warnings: Iterable[Warnings] = repeat(NO_WARNINGS),
    ) -> list[Answer]:
        """:meth:`answer` of every row of the columns (see :class:`modelbundle.scorers.base.Scorer`), the same bits."""
        scorer = self.scorer
        reasons: Iterable[list[Reason] | None] = repeat(None)
        terms: Iterable[dict[str, float] | UnsetType | None] = repeat(None if every_term else UNSET)
        if len(self.classes) > 2:
            matrix = scorer.probability_matrix(columns)
            predicted = matrix.argmax(axis=1)
        else:
            if scorer.has_contributions:
                scores, contributions = scorer.explain_columns(columns)
                reasons = self._reasons(columns, scores, contributions)
                if every_term:
                    terms = (dict(zip(self.schema.names, own, strict=True)) for own in contributions.tolist())
            else:
                scores = scorer.score_columns(columns)
            last = scorer.probabilities(scores)
            other = 1.0 - last
            matrix, predicted = np.column_stack([other, last]), last > other
        bands: Iterable[str | None] = repeat(None)
        if self.labels:
            bands = map(self.labels.__getitem__, np.searchsorted(self._uppers, matrix[:, -1], side="left").tolist())
        return list(
            map(
                Answer,
                map(self.classes.__getitem__, predicted.tolist()),
                matrix.tolist(),
                bands,
                repeat(self.baseline),
                reasons,
                terms,
                repeat(self.version),
                prediction_ids,
                references,
                warnings,
            )
        )

    def _reasons(
        self, columns: Sequence[Column], scores: FloatArray, contributions: FloatArray
    ) -> list[list[Reason] | None]:
        """The reasons of each row; rows that score at most the baseline have none."""
        found: list[list[Reason] | None] = [[] for _ in range(len(scores))]
        risky = np.flatnonzero(scores > self.scorer.baseline)
        chosen = self.reasons.select_columns([take(column, risky) for column in columns], contributions[risky])
        for i, reasons in zip(risky.tolist(), chosen, strict=True):
            found[i] = reasons
        return found

    def score(self, columns: Sequence[AnyColumn], with_reasons: bool = True) -> Scored:
        """:meth:`answers` of every row as arrays, the same bits: for books that are larger than answers should be objects."""
        scorer = self.scorer
        if len(self.classes) > 2:
            matrix = scorer.probability_matrix(columns)
            return self._scored(matrix.argmax(axis=1), matrix[:, -1], None)
        if not (with_reasons and scorer.has_contributions):
            last = scorer.probabilities(scorer.score_columns(columns))
            return self._scored((last > 1.0 - last).astype(np.intp), last, None)
        scores, contributions = scorer.explain_columns(columns)
        last = scorer.probabilities(scores)
        risky = np.flatnonzero(scores > scorer.baseline)
        reasons = np.zeros(len(scores), dtype=np.int64)
        reasons[risky] = self.reasons.keys([take(column, risky) for column in columns], contributions[risky])
        return self._scored((last > 1.0 - last).astype(np.intp), last, reasons)

    def _scored(self, predicted: NDArray[np.intp], last: FloatArray, reasons: NDArray[np.int64] | None) -> Scored:
        bands = np.searchsorted(self._uppers, last, side="left") if self.labels else None
        return Scored(predicted, last, bands, reasons)
