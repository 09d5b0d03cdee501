"""How a model's ``prediction`` follows from its probabilities: scikit-learn's ``predict``, without calling it where possible.

Most classifiers predict the class with the largest probability, the first of equals. A pure threshold on one class's
probability is kept as that number. Any other rule needs ``predict`` itself, and so the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.format.values import is_number

Floats = NDArray[np.float64]
LARGEST = frozenset(
    {
        *("AdaBoostClassifier", "BaggingClassifier", "BernoulliNB", "CalibratedClassifierCV", "CategoricalNB"),
        *("ComplementNB", "DecisionTreeClassifier", "ExplainableBoostingClassifier", "ExtraTreeClassifier"),
        *("ExtraTreesClassifier", "GaussianNB", "GradientBoostingClassifier", "HistGradientBoostingClassifier"),
        *("LinearDiscriminantAnalysis", "LogisticRegression", "LogisticRegressionCV", "MLPClassifier"),
        *("MultinomialNB", "QuadraticDiscriminantAnalysis", "RandomForestClassifier"),
        *("CatBoostClassifier", "LGBMClassifier", "XGBClassifier", "XGBRFClassifier"),
    }
)  # classifiers that are known to predict the class with the largest probability


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule. Without a ``threshold``, the class with the largest probability, the first of equals.

    With one, of two classes: the class at position ``of`` where its probability is at least ``threshold``, else the other.
    ``by_predict``: what the pipeline's ``predict`` says.
    """

    threshold: float | None = None
    of: int = 1
    by_predict: bool = False

    def last(self, probability: Any, other: Any) -> Any:
        """Of two classes: whether the last is predicted, from both probabilities; numbers, or arrays of shape (n,)."""
        if self.threshold is None:
            return probability > other
        return probability >= self.threshold if self.of == 1 else other < self.threshold

    def positions(self, matrix: Floats) -> NDArray[np.intp]:
        """The positions of the predicted classes, shape (n,), for probabilities of shape (n, classes)."""
        if self.threshold is None:
            largest: NDArray[np.intp] = matrix.argmax(axis=1)
            return largest
        predicted: NDArray[np.intp] = self.last(matrix[:, 1], matrix[:, 0]).astype(np.intp)
        return predicted

    def to_json(self) -> dict[str, Any] | None:
        """The manifest's ``decision``; None for the largest probability."""
        if self.by_predict:
            return {"by": "predict"}
        return None if self.threshold is None else {"by": "threshold", "class": self.of, "threshold": self.threshold}

    @classmethod
    def from_json(cls, data: object, classes: int) -> Decision:
        """The rule of a manifest; raises :class:`FormatError`."""
        if data is None:
            return cls()
        if data == {"by": "predict"}:
            return cls(by_predict=True)
        if isinstance(data, Mapping) and data.get("by") == "threshold" and classes == 2:
            of, threshold = data.get("class"), data.get("threshold")
            if type(of) is int and of in (0, 1) and threshold is not None and is_number(threshold):
                return cls(float(threshold), of)
        raise FormatError("manifest.json", "decision must be a threshold for one of two classes, or by predict")


ARGMAX = Decision()


SEARCHES = frozenset({"GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"})
THRESHOLDS = frozenset({"FixedThresholdClassifier", "TunedThresholdClassifierCV"})


def unwrapped(estimator: Any) -> Any:
    """The estimator inside those that only search, freeze or choose a threshold: it has the same probabilities."""
    while (inner := _inside(estimator)) is not None:
        estimator = inner
    return estimator


def _inside(estimator: Any) -> Any:
    kind = type(estimator).__name__
    if kind in SEARCHES:
        return estimator.best_estimator_
    if kind in THRESHOLDS:
        return getattr(estimator, "estimator_", None) or estimator.estimator
    return estimator.estimator if kind == "FrozenEstimator" else None


def of_estimator(estimator: Any) -> Decision | None:
    """The rule of a fitted classifier, as far as its type tells; None for a type that is not known."""
    while (kind := type(estimator).__name__) not in THRESHOLDS:
        if kind == "Pipeline":
            estimator = estimator.steps[-1][1]
        elif (inner := _inside(estimator)) is not None:
            estimator = inner
        elif kind == "VotingClassifier":
            return ARGMAX if estimator.voting == "soft" else None
        else:
            return ARGMAX if kind in LARGEST else None
    return _threshold(estimator)


def _threshold(estimator: Any) -> Decision:
    inner = _inside(estimator)
    if estimator.response_method == "decision_function" or not hasattr(inner, "predict_proba"):
        return Decision(by_predict=True)
    if hasattr(estimator, "best_threshold_"):
        threshold, positive = estimator.best_threshold_, estimator._curve_scorer._get_pos_label()
    else:
        threshold, positive = estimator.threshold, estimator.pos_label
    at = 1 if positive is None else np.asarray(estimator.classes_).tolist().index(positive)
    return Decision(0.5 if isinstance(threshold, str) else float(threshold), at)
