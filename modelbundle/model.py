"""A loaded model: validated values in, answers out. Knows neither HTTP nor files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from modelbundle.errors import CannotScore
from modelbundle.explain.answers import NO_WARNINGS as NO_WARNINGS
from modelbundle.explain.answers import Answer as Answer
from modelbundle.explain.answers import Answers, Warnings
from modelbundle.explain.reasons import Reasons
from modelbundle.format.manifest import Manifest
from modelbundle.schema import Schema
from modelbundle.scorers.base import NO_PROBABILITY, AnyColumn, FloatArray, Scorer, Value, columns_of, take
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.scorers.probability import expit
from modelbundle.sharing.tables import Content
from modelbundle.validation.validator import Validator


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

    Immutable after construction, and safe to use from any number of threads. ``tables`` is where the scorer's arrays are, if
    processes may share them. :meth:`answer`, :meth:`answers` and :meth:`score`
    raise :class:`CannotScore` for rows for which the model raises, or gives NaN.
    """

    def __init__(
        self, version: str, manifest: Manifest, scorer: Scorer, reasons: Reasons, tables: Content | None = None
    ) -> None:
        self.version = version
        self.manifest = manifest
        self.scorer = scorer
        self.reasons = reasons
        self.tables = tables
        self.schema: Schema = manifest.schema
        self.validator = Validator(manifest.schema)
        self.classes = manifest.classes
        self.baseline = scorer.baseline if scorer.has_contributions else None
        self.decision = manifest.decision
        self._threshold = self.decision.threshold
        self._in_columns = self.decision.by_predict
        self._several = len(self.classes) > 2
        self._probability = expit if scorer.link == "logit" else scorer.probability
        self._uppers = [band.upper for band in manifest.bands]
        self.labels = [band.label for band in manifest.bands]

    def intact(self) -> bool:
        """Whether the tables are still the ones that were verified: nobody has written to a file that processes share."""
        return self.tables is None or self.tables.intact()

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
        if self._in_columns:
            columns = columns_of(row, self.schema)
            return self.answers(columns, every_term, [prediction_id], [reference], {0: warnings})[0]
        if self._several:
            probabilities = scorer.probability_row(row)
            return Answer(
                self.classes[probabilities.index(max(probabilities))],
                probabilities,
                self.labels[bisect_left(self._uppers, probabilities[-1])] if self.labels else None,
                None,
                None,
                None if every_term else UNSET,
                self.version,
                prediction_id,
                reference,
                warnings,
            )
        reasons = terms = None
        if scorer.has_contributions:
            score, contributions = scorer.explain_row(row)
            reasons = self.reasons.select(row, contributions) if score > scorer.baseline else []
            if every_term:
                terms = dict(zip(self.schema.names, contributions, strict=True))
        else:
            score = scorer.score_row(row)
        probability = self._probability(score)
        if not 0.0 <= probability <= 1.0:
            raise CannotScore({0: NO_PROBABILITY})
        other = 1.0 - probability
        return Answer(
            self.classes[probability > other if self._threshold is None else self.decision.last(probability, other)],
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
        columns: Sequence[AnyColumn],
        every_term: bool = False,
        prediction_ids: Sequence[str] | None = None,
        references: Sequence[str | None] | None = None,
        warnings: dict[int, Any] | None = None,
    ) -> list[Answer]:
        """:meth:`answer` of every row of the columns (see :class:`modelbundle.scorers.base.Scorer`), the same bits.

        ``warnings`` maps a row's position to its own.
        """
        return self.answer_columns(columns, every_term, prediction_ids, references, warnings).objects

    def answer_columns(
        self,
        columns: Sequence[AnyColumn],
        every_term: bool = False,
        prediction_ids: Sequence[str] | None = None,
        references: Sequence[str | None] | None = None,
        warnings: dict[int, Any] | None = None,
    ) -> Answers:
        """:meth:`answers`, without an object per row."""
        scorer = self.scorer
        reasons = contributions = None
        if len(self.classes) > 2:
            matrix = scorer.probability_matrix(columns)
        else:
            if scorer.has_contributions:
                scores, contributions = scorer.explain_columns(columns)
                risky = np.flatnonzero(scores > scorer.baseline)
                own = [take(column, risky) for column in columns]
                reasons = self.reasons.select_columns(own, contributions[risky], risky, len(scores))
            else:
                scores = scorer.score_columns(columns)
            last = scorer.probabilities(scores)
            matrix = np.column_stack([1.0 - last, last])
        return Answers(
            self.classes,
            self.labels,
            self.schema.names,
            self.version,
            self.baseline,
            self._predicted(columns, matrix),
            matrix,
            np.searchsorted(self._uppers, matrix[:, -1], side="left") if self.labels else None,
            reasons,
            contributions,
            every_term,
            [""] * len(matrix) if prediction_ids is None else prediction_ids,
            references,
            warnings or {},
        )

    def score(self, columns: Sequence[AnyColumn], with_reasons: bool = True) -> Scored:
        """:meth:`answers` of every row as arrays, the same bits: for books that are larger than answers should be objects."""
        scorer = self.scorer
        if len(self.classes) > 2:
            matrix = scorer.probability_matrix(columns)
            return self._scored(self._predicted(columns, matrix), matrix[:, -1], None)
        if not (with_reasons and scorer.has_contributions):
            last = scorer.probabilities(scorer.score_columns(columns))
            return self._scored(self._predicted(columns, np.column_stack([1.0 - last, last])), last, None)
        scores, contributions = scorer.explain_columns(columns)
        last = scorer.probabilities(scores)
        risky = np.flatnonzero(scores > scorer.baseline)
        own = [take(column, risky) for column in columns]
        reasons = np.zeros(len(scores), dtype=np.int64)
        reasons[risky] = self.reasons.keys(own, contributions.T.take(risky, axis=1).T)
        return self._scored(self.decision.last(last, 1.0 - last).astype(np.intp), last, reasons)

    def _predicted(self, columns: Sequence[AnyColumn], matrix: FloatArray) -> NDArray[np.intp]:
        if self.decision.by_predict and isinstance(self.scorer, PipelineScorer):
            return self.scorer.predicted(columns)
        return self.decision.positions(matrix)

    def last_class(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The probability of the last class for n rows, shape (n,); NaN for rows for which the model gives none."""
        try:
            return self.score(columns, with_reasons=False).probability
        except CannotScore as error:
            found = np.full(len(columns[0]), np.nan)
            left = np.setdiff1d(np.arange(len(found)), list(error.rows))
            if len(left):
                found[left] = self.score([take(column, left) for column in columns], with_reasons=False).probability
            return found

    def _scored(self, predicted: NDArray[np.intp], last: FloatArray, reasons: NDArray[np.int64] | None) -> Scored:
        bands = np.searchsorted(self._uppers, last, side="left") if self.labels else None
        return Scored(predicted, last, bands, reasons)
