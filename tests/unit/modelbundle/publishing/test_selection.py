"""The prediction is what the pipeline's ``predict`` says: by the largest probability, a threshold, or by asking it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelbundle.errors import FormatError, PublishError
from modelbundle.format import bundle
from modelbundle.format.decision import Decision
from modelbundle.model import Model
from modelbundle.publishing.publish import publish

RNG = np.random.default_rng(3)
FRAME = pd.DataFrame(RNG.normal(size=(400, 4)), columns=list("abcd"))
LABELS = (FRAME["a"] + RNG.normal(size=400) > 0.8).astype(int)
NAMES = np.where(LABELS == 1, "yes", "no")


class Contrary(ClassifierMixin, BaseEstimator):
    """Predicts by a rule of its own."""

    def fit(self, frame: Any, labels: Any) -> Contrary:
        self.classes_ = np.unique(labels)
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        return self

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        last = 1 / (1 + np.exp(-frame["a"].to_numpy()))
        return np.column_stack([1 - last, last])

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.classes_[(frame["b"] > 0).astype(int)]


SCALED = make_pipeline(StandardScaler(), LogisticRegression())
LOW = FixedThresholdClassifier(LogisticRegression(), threshold=0.3)
FIRST = FixedThresholdClassifier(LogisticRegression(), threshold=0.9, pos_label=0)
YES = FixedThresholdClassifier(LogisticRegression(), threshold=0.2, pos_label="yes")
BY_SCORE = FixedThresholdClassifier(LogisticRegression(), threshold=-1.0, response_method="decision_function")
MODELS: list[tuple[str, Any, Any, str, str | None]] = [
    ("fixed", FixedThresholdClassifier(LogisticRegression(), threshold=0.1), LABELS, "additive", "threshold"),
    ("first class", FIRST, LABELS, "additive", "threshold"),
    ("names", YES, NAMES, "additive", "threshold"),
    ("auto", FixedThresholdClassifier(RandomForestClassifier(5, random_state=0)), LABELS, "trees", "threshold"),
    ("in a pipeline", make_pipeline(StandardScaler(), LOW), LABELS, "additive", "threshold"),
    ("around one", FixedThresholdClassifier(SCALED, threshold=0.3), LABELS, "additive", "threshold"),
    ("tuned", TunedThresholdClassifierCV(LogisticRegression(), scoring="f1"), LABELS, "additive", "threshold"),
    ("by the score", BY_SCORE, LABELS, "pipeline", "predict"),
    ("searched", GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}), LABELS, "additive", None),
    ("of its own", Contrary(), LABELS, "pipeline", "predict"),
    ("plain", HistGradientBoostingClassifier(max_iter=5), LABELS, "trees", None),
]  # fmt: skip


@pytest.mark.parametrize(("_", "pipeline", "labels", "kind", "by"), MODELS, ids=[name for name, *_ in MODELS])
def test_the_prediction_is_what_predict_says(
    _: str, pipeline: Any, labels: Any, kind: str, by: str | None, tmp_path: Path
) -> None:
    """Of each training row, by itself, among others and as a book; from a bundle, and from a plain file."""
    made = publish(pipeline.fit(FRAME, labels), FRAME, labels, tmp_path / "m.bundle")
    assert made.manifest["scorer"]["kind"] == kind
    assert (made.manifest.get("decision") or {}).get("by") == by
    said = np.asarray(pipeline.predict(FRAME)).tolist()
    if by is not None:
        assert said != pipeline.classes_[pipeline.predict_proba(FRAME).argmax(axis=1)].tolist() or _ == "auto"
    joblib.dump(pipeline, tmp_path / "m.joblib")
    for path in ("m.bundle", "m.joblib"):
        assert answered(bundle.read(tmp_path / path)) == [said] * 3


def answered(model: Model) -> list[list[Any]]:
    columns = [FRAME[name].to_numpy() for name in FRAME]
    together = [answer.prediction for answer in model.answers(columns)]
    one_by_one = [model.answer(row).prediction for row in FRAME.to_numpy().tolist()]
    book = [model.classes[k] for k in model.score(columns).predicted.tolist()]
    return [together, one_by_one, book]


@pytest.mark.parametrize(
    "data",
    [
        {"by": "threshold", "class": 2, "threshold": 0.5},
        {"by": "threshold", "class": True, "threshold": 0.5},
        {"by": "threshold", "class": 1, "threshold": float("nan")},
        {"by": "threshold", "class": 1},
        {"by": "chance"},
        "predict",
        [],
    ],
)
def test_a_rule_that_is_none_is_refused(data: Any) -> None:
    """The manifest is read as anything else that comes from outside."""
    with pytest.raises(FormatError):
        Decision.from_json(data, 2)
    with pytest.raises(FormatError):
        Decision.from_json({"by": "threshold", "class": 1, "threshold": 0.5}, 3)


def test_a_regressor_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """It predicts numbers, so there is no probability."""
    for model in (LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())):
        with pytest.raises(PublishError, match="regressor"):
            publish(model.fit(FRAME, LABELS), FRAME, LABELS, tmp_path / "m")
