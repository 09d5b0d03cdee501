"""Sigmoid calibration around a model, or around a pipeline."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tests.unit.modelbundle.books import book, compiled, reasons

SCALED: Any = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
BOOSTED = GradientBoostingClassifier(n_estimators=10, random_state=0)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (CalibratedClassifierCV(SCALED, ensemble=False), "additive"),
        (CalibratedClassifierCV(BOOSTED, ensemble=False), "trees"),
        (Pipeline([("scale", StandardScaler()), ("model", CalibratedClassifierCV(BOOSTED, ensemble=False))]), "trees"),
    ],
    ids=["pipeline inside", "trees", "inside a pipeline"],
)
def test_a_sigmoid_is_a_line_through_the_log_odds(model: Any, kind: str) -> None:
    """A calibrated model is compiled like the model inside, and proven."""
    frame, labels = book()
    frame = frame[["amount", "rate", "late"]]
    scorer, proof = compiled(model.fit(frame, labels), frame)
    assert scorer.kind == kind
    assert proof.max_difference <= 1e-12


def test_a_frozen_model_is_looked_into() -> None:
    """A model that is calibrated on separate loans after fitting is compiled too."""
    frame, labels = book()
    frame = frame[["amount", "rate", "late"]]
    inner = SCALED.fit(frame[:400], labels[:400])
    model = CalibratedClassifierCV(FrozenEstimator(inner), ensemble=False).fit(frame[400:], labels[400:])
    assert compiled(model, frame)[0].kind == "additive"


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (CalibratedClassifierCV(SCALED, ensemble=True), "several"),
        (CalibratedClassifierCV(SCALED, ensemble=False, method="isotonic"), "sigmoid"),
        (CalibratedClassifierCV(RandomForestClassifier(5), ensemble=False), "no log-odds"),
    ],
)
def test_what_is_not_a_line_is_combined(model: Any, word: str) -> None:
    """Means of several models, other curves and models without log-odds are no sums: they are combined, with the same answers."""
    frame, labels = book(300)
    frame = frame[["amount", "rate", "late"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(frame, labels)
    assert word in reasons(model, frame)["additive"]
    scorer, proof = compiled(model, frame)
    assert scorer.kind == "combined"
    assert proof.max_difference <= 1e-12
