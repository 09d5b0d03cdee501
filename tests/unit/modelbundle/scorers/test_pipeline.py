"""The pipeline scorer: scikit-learn's own answer, from plain values."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from modelbundle.errors import FormatError
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.schema import Schema
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
