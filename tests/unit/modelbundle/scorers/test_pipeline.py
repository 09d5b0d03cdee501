"""The pipeline scorer: scikit-learn's own answer, from plain values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from modelbundle.errors import CannotScore, FormatError
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.schema import Schema
from modelbundle.scorers.base import take
from modelbundle.scorers.pipeline import PipelineScorer
from tests.unit.modelbundle.books import CATEGORIES, NUMBERS, book, compiled, rows_of


def _neighbours() -> Pipeline:
    encode = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
            ("text", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        ]
    )
    return Pipeline([("encode", encode), ("model", KNeighborsClassifier(15))])


def test_a_model_that_is_not_supported_is_asked_itself() -> None:
    """Its probabilities are scikit-learn's, for rows and columns, missing and unknown values included."""
    frame, labels = book(300)
    pipeline = _neighbours().fit(frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert (scorer.kind, scorer.link, proof.rows) == ("pipeline", "identity", 300)
    assert proof.max_difference == 0.0
    expected = pipeline.predict_proba(frame)[:, 1].tolist()
    schema = Schema.from_frame(frame)
    assert [scorer.score_row(row) for row in rows_of(schema, frame)[:20]] == expected[:20]
    assert 0 <= scorer.score_row([1e4, "?", 0.1, None, None, None, 0.0]) <= 1


def test_more_than_two_classes_are_answered() -> None:
    """All of its probabilities are in the matrix; the score is the last one's."""
    frame, labels = book(300)
    pipeline = _neighbours().fit(frame, np.where(frame["late"] > 1, 2, labels))
    schema = Schema.from_frame(frame)
    scorer = PipelineScorer(pipeline, schema)
    columns = frame_columns(schema, frame)
    assert scorer.probability_matrix(columns).tolist() == pipeline.predict_proba(frame).tolist()
    assert scorer.score_columns(columns).tolist() == pipeline.predict_proba(frame)[:, 2].tolist()
    assert compiled(pipeline, frame)[0].kind == "pipeline"


def test_it_is_never_made_of_tables() -> None:
    """Only an explicit call with an estimator makes one."""
    with pytest.raises(FormatError):
        PipelineScorer.from_parts({}, {}, Schema.from_frame(book(50)[0]))


class _Picky(ClassifierMixin, BaseEstimator):
    """Answers every row with probabilities; ``predict`` raises where a number is large, or answers what is no class."""

    def __init__(self, strange: bool = False) -> None:
        self.strange = strange

    def fit(self, frame: pd.DataFrame, labels: NDArray[np.intp]) -> _Picky:
        self.classes_ = np.unique(labels)
        self.n_features_in_ = frame.shape[1]
        return self

    def predict_proba(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return np.tile([0.6, 0.4], (len(frame), 1))

    def predict(self, frame: pd.DataFrame) -> NDArray[np.intp]:
        large = frame.to_numpy()[:, 0] > 100
        if large.any() and not self.strange:
            raise ArithmeticError
        return np.where(large, 7, 1)


@pytest.mark.parametrize(("strange", "why"), [(False, "it raises ArithmeticError"), (True, "it raises KeyError")])
def test_rows_that_only_predict_refuses_are_named(strange: bool, why: str) -> None:
    """The rule of the answer is ``predict`` itself: a row for which it raises has no answer, and the others have."""
    frame = pd.DataFrame({"a": [1.0, 500.0, 2.0, 3.0, 101.0], "b": 0.0})
    scorer = PipelineScorer(_Picky(strange).fit(frame, np.array([0, 1, 0, 1, 1])), Schema.from_frame(frame))
    columns = frame_columns(scorer.schema, frame)
    assert scorer.probability_matrix(columns).shape == (5, 2)
    with pytest.raises(CannotScore) as caught:
        scorer.predicted(columns)
    assert caught.value.rows == {1: why, 4: why}
    assert scorer.predicted([take(column, np.array([0, 2, 3])) for column in columns]).tolist() == [1, 1, 1]
