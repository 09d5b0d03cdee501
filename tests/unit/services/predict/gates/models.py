"""Models whose schema, classes and scores a test sets, and rows as the log keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from modelbundle.explain.reasons import Reasons
from modelbundle.format.manifest import Golden, Manifest
from modelbundle.format.outcome import Label
from modelbundle.model import Model
from modelbundle.publishing.annotations import Band
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.pipeline import PipelineScorer
from tests.conftest import BANDS, WORDS, make_book

Predict = Callable[[pd.DataFrame], Any]  # n probabilities of the last class, or (n, classes)


class Estimator:
    """What the pipeline scorer calls."""

    def __init__(self, predict: Predict) -> None:
        self.predict = predict

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        found = np.asarray(self.predict(frame), dtype=np.float64)
        return np.column_stack([1 - found, found]) if found.ndim == 1 else found


def risk(frame: pd.DataFrame) -> Any:
    """About one loan in five."""
    return 0.05 + frame["int_rate"].to_numpy()


def schema(**changes: dict[str, Any] | Feature | None) -> Schema:
    """That of the small book, with changed, new or (None) removed features."""
    features = {f.name: f for f in Schema.from_frame(make_book(400)[0], WORDS)}
    for name, change in changes.items():
        if change is None:
            del features[name]
        else:
            features[name] = change if isinstance(change, Feature) else replace(features[name], **change)
    return Schema(tuple(features.values()))


def model(
    predict: Predict = risk,
    classes: tuple[Label, ...] = (0, 1),
    bands: list[Band] = BANDS,
    **changes: dict[str, Any] | Feature | None,
) -> Model:
    """A model with the schema of :func:`schema`."""
    own = schema(**changes)
    golden = Golden(rows=(), scores=())
    manifest = Manifest("small", "Small", "late", classes, own, {}, {}, tuple(bands), golden, {})
    return Model("0" * 64, manifest, PipelineScorer(Estimator(predict), own), Reasons([]))


def logged(rows: int = 400) -> list[dict[str, Any]]:
    """Rows of the small book, as the log keeps them."""
    frame = make_book(rows)[0]
    return [
        {name: None if value != value else value for name, value in row.items()} for row in frame.to_dict("records")
    ]
