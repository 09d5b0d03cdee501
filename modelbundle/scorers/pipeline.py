"""The scorer that calls the unpickled pipeline, for models without a proven compiled scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.schema import Schema
from modelbundle.scorers.base import AnyColumn, Column, FloatArray, Row, Scorer, Value, plain


class PipelineScorer(Scorer):
    """Calls ``estimator.predict_proba`` on a frame of the schema's columns; the score is the probability of the last class."""

    kind: ClassVar[str] = "pipeline"
    link = "identity"

    def __init__(self, estimator: Any, schema: Schema) -> None:
        self.estimator = estimator
        self.schema = schema

    def score_row(self, row: Row) -> float:
        """The probability of the last class."""
        return float(self.score_columns([_column(value, f.kind) for value, f in zip(row, self.schema, strict=True)])[0])

    def score_columns(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """The probabilities of the last class, shape (n,)."""
        return np.ascontiguousarray(self.probability_matrix(columns)[:, -1])

    def probability_matrix(self, columns: Sequence[AnyColumn]) -> FloatArray:
        """Probabilities of all classes, shape (n, classes), as the pipeline gives them."""
        import pandas as pd

        data = {
            f.name: column if f.kind == "number" else pd.array(column, dtype="str")
            for f, column in zip(self.schema, map(plain, columns), strict=True)
        }
        return np.asarray(self.estimator.predict_proba(pd.DataFrame(data)), dtype=np.float64)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """An empty header and no arrays: the bundle stores the pickle."""
        return {}, {}

    @classmethod
    def from_parts(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema
    ) -> PipelineScorer:
        """Raise :class:`FormatError`: a pipeline has no tables."""
        del header, arrays, schema
        raise FormatError("scorer", "a pipeline has no tables")


def _column(value: Value, kind: str) -> Column:
    return np.array([np.nan if value is None else value], dtype=np.float64) if kind == "number" else [value]  # type: ignore[list-item]
