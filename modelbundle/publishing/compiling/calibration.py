"""scikit-learn's sigmoid calibration of one classifier, which is linear in its log-odds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelbundle.publishing.compiling.encoding import NotSupported
from modelbundle.scorers.additive import AdditiveScorer, LinearTerm
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.trees import TreesScorer


def is_calibrated(model: Any) -> bool:
    """Whether ``model`` is scikit-learn's ``CalibratedClassifierCV``."""
    return type(model).__name__ == "CalibratedClassifierCV" and type(model).__module__.startswith("sklearn.")


def calibrated(model: Any) -> tuple[Any, float, float]:
    """The calibrated classifier, and the factor and shift that the calibration applies to its log-odds.

    Raises :class:`NotSupported` for the mean of several classifiers and for other calibrations than the sigmoid.
    """
    if len(model.calibrated_classifiers_) != 1:
        raise NotSupported("a mean of several calibrated classifiers is not supported (ensemble=False makes one)")
    (one,) = model.calibrated_classifiers_
    (curve,) = one.calibrators
    if type(curve).__name__ != "_SigmoidCalibration":
        raise NotSupported("only sigmoid calibration is supported")
    inner = one.estimator
    if type(inner).__name__ == "FrozenEstimator":
        inner = inner.estimator
    if not hasattr(inner, "decision_function"):
        raise NotSupported("the calibrated classifier has no log-odds")
    return inner, -float(curve.a_), -float(curve.b_)


def on_a_line(scorer: Scorer, factor: float, shift: float) -> Scorer:
    """The scorer with scores ``factor * score + shift``, up to rounding; raises :class:`NotSupported`."""
    if isinstance(scorer, AdditiveScorer):
        return AdditiveScorer(
            factor * scorer.intercept + shift,
            scorer.bins,
            [factor * table for table in scorer.tables],
            [replace(pair, table=factor * pair.table) for pair in scorer.pairs],
            lines=[LinearTerm(line.feature, factor * line.slope, line.center) for line in scorer.lines],
        )
    if isinstance(scorer, TreesScorer) and scorer.link == "logit":
        trees = replace(scorer.trees, values=factor * scorer.trees.values)
        return TreesScorer(factor * scorer.start + shift, "logit", scorer.questions, trees)
    raise NotSupported("the calibrated classifier has no log-odds")
