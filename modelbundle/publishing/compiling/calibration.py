"""scikit-learn's sigmoid calibration of one classifier: a straight line through its log-odds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelbundle.publishing.compiling.encoding import NotUnderstood
from modelbundle.scorers.additive import AdditiveScorer, Line
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.trees import TreesScorer


def is_calibrated(model: Any) -> bool:
    """Whether ``model`` is scikit-learn's calibration of another classifier."""
    return type(model).__name__ == "CalibratedClassifierCV" and type(model).__module__.startswith("sklearn.")


def calibrated(model: Any) -> tuple[Any, float, float]:
    """The classifier inside, and the factor and the shift of its log-odds.

    Raises :class:`NotUnderstood` for means of several classifiers and for other curves than the sigmoid.
    """
    if len(model.calibrated_classifiers_) != 1:
        raise NotUnderstood("a mean of several calibrated classifiers is not understood (ensemble=False makes one)")
    (one,) = model.calibrated_classifiers_
    (curve,) = one.calibrators
    if type(curve).__name__ != "_SigmoidCalibration":
        raise NotUnderstood("only sigmoid calibration is understood")
    inner = one.estimator
    if type(inner).__name__ == "FrozenEstimator":
        inner = inner.estimator
    if not hasattr(inner, "decision_function"):
        raise NotUnderstood("the calibrated classifier has no log-odds")
    return inner, -float(curve.a_), -float(curve.b_)


def on_a_line(scorer: Scorer, factor: float, shift: float) -> Scorer:
    """A scorer of ``factor * score + shift``, up to rounding; raises :class:`NotUnderstood`."""
    if isinstance(scorer, AdditiveScorer):
        return AdditiveScorer(
            factor * scorer.intercept + shift,
            scorer.bins,
            [factor * table for table in scorer.tables],
            [replace(pair, table=factor * pair.table) for pair in scorer.pairs],
            lines=[Line(line.feature, factor * line.slope, line.center) for line in scorer.lines],
        )
    if isinstance(scorer, TreesScorer) and scorer.link == "logit":
        trees = replace(scorer.trees, values=factor * scorer.trees.values)
        return TreesScorer(factor * scorer.start + shift, "logit", scorer.questions, trees)
    raise NotUnderstood("the calibrated classifier has no log-odds")
