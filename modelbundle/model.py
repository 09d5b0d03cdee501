"""A loaded model: validated values in, answers out. Knows neither HTTP nor files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.explain.reasons import Reasons
from modelbundle.format.manifest import Manifest
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, Column, FloatArray, Scorer, Value, take
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
        self._uppers = [band.upper for band in manifest.bands]
        self.labels = [band.label for band in manifest.bands]

    def band(self, probability: float) -> str | None:
        """The label of the band that a probability of the last class falls into; None where there are no bands."""
        return self.labels[bisect_left(self._uppers, probability)] if self.labels else None

    def answer(self, row: Sequence[Value], every_term: bool = False) -> dict[str, Any]:
        """The answer to one validated row: prediction, probabilities, band, baseline and reasons.

        ``reasons`` is None where the scorer has no exact contributions, and empty where the row is no riskier than the
        average one. With ``every_term`` the answer has ``contributions`` too: one number per feature, which add up with
        ``baseline`` to the log-odds.
        """
        scorer = self.scorer
        if len(self.classes) > 2:
            return self.answers([[value] for value in row], every_term)[0]  # type: ignore[list-item]
        if not scorer.has_contributions:
            return self._assemble(scorer.probability(scorer.score_row(row)), None, every_term)
        score, contributions = scorer.explain_row(row)
        answer = self._assemble(scorer.probability(score), contributions, every_term)
        answer["reasons"] = self.reasons.select(row, contributions) if score > scorer.baseline else []
        return answer

    def answers(self, columns: Sequence[Column], every_term: bool = False) -> list[dict[str, Any]]:
        """:meth:`answer` of every row of the columns (see :class:`modelbundle.scorers.base.Scorer`), the same bits."""
        scorer = self.scorer
        if len(self.classes) > 2:
            return [self._of_many(row) for row in scorer.probability_matrix(columns).tolist()]
        if not scorer.has_contributions:
            return self._assemble_all(scorer.probabilities(scorer.score_columns(columns)), None, every_term)
        scores, contributions = scorer.explain_columns(columns)
        answers = self._assemble_all(scorer.probabilities(scores), contributions, every_term)
        risky = np.flatnonzero(scores > scorer.baseline)
        chosen = self.reasons.select_columns([take(column, risky) for column in columns], contributions[risky])
        for i, reasons in zip(risky.tolist(), chosen, strict=True):
            answers[i]["reasons"] = reasons
        return answers

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

    def _assemble(self, probability: float, contributions: Sequence[float] | None, every_term: bool) -> dict[str, Any]:
        other = 1.0 - probability
        answer: dict[str, Any] = {
            "prediction": self.classes[1 if probability > other else 0],
            "predict_proba": [other, probability],
            "band": self.band(probability),
            "baseline": self.baseline,
            "reasons": None if contributions is None else [],
        }
        if every_term:
            terms = None if contributions is None else dict(zip(self.schema.names, contributions, strict=True))
            answer["contributions"] = terms
        return answer

    def _assemble_all(
        self, last: FloatArray, contributions: FloatArray | None, every_term: bool
    ) -> list[dict[str, Any]]:
        """:meth:`_assemble` of n rows; ``last`` are the probabilities of the last class."""
        other = 1.0 - last
        bands = np.searchsorted(self._uppers, last, side="left").tolist() if self.labels else []
        answers: list[dict[str, Any]] = [
            {
                "prediction": prediction,
                "predict_proba": probabilities,
                "band": band,
                "baseline": self.baseline,
                "reasons": None if contributions is None else [],
            }
            for prediction, probabilities, band in zip(
                map(self.classes.__getitem__, (last > other).tolist()),
                np.column_stack([other, last]).tolist(),
                map(self.labels.__getitem__, bands) if self.labels else [None] * len(last),
                strict=True,
            )
        ]
        if every_term:
            terms = [None] * len(last) if contributions is None else contributions.tolist()
            for answer, own in zip(answers, terms, strict=True):
                answer["contributions"] = None if own is None else dict(zip(self.schema.names, own, strict=True))
        return answers

    def _of_many(self, probabilities: list[float]) -> dict[str, Any]:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return {
            "prediction": self.classes[best],
            "predict_proba": probabilities,
            "band": self.band(probabilities[-1]),
            "baseline": None,
            "reasons": None,
        }
