"""The unpickled scikit-learn object itself, when nothing faster is proven equal to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import Schema
from modelbundle.scorers.base import Column, FloatArray, Row, Scorer


class PipelineScorer(Scorer):
    kind: ClassVar[str] = "pipeline"
    link = "identity"

    def __init__(self, estimator: Any, schema: Schema) -> None:
        self.estimator = estimator
        self.schema = schema

    @classmethod
    def from_pipeline(cls, estimator: Any, schema: Schema, classes: Sequence[Any]) -> PipelineScorer:
        return cls(estimator, schema)

    def score_row(self, row: Row) -> float:
        from modelbundle.golden import columns
        return float(self.score_columns(columns(self.schema, [row]))[0])

    def probability_matrix(self, columns: Sequence[Column]) -> FloatArray:
        import pandas as pd
        frame = pd.DataFrame({f.name: (c if f.kind == "number" else pd.Series(c, dtype="str")) for f, c in zip(self.schema, columns)})
        return self.estimator.predict_proba(frame)

    def score_columns(self, columns: Sequence[Column]) -> FloatArray:
        return self.probability_matrix(columns)[:, -1]

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], schema: Schema) -> PipelineScorer:
        raise TypeError
