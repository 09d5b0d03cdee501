"""Compiling models that are made of others: several classes, votes, bags, and calibrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelbundle.publishing.compiling.ebm import compile_ebm
from modelbundle.publishing.compiling.encoding import Encoded, NotSupported
from modelbundle.publishing.compiling.linear import compile_logistic
from modelbundle.publishing.compiling.trees import compile_trees, is_ensemble, read_ensemble
from modelbundle.schema import Schema
from modelbundle.scorers.additive import AdditiveScorer, LinearTerm
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.combined import CLASSES, ISOTONIC, MEAN, SIGMOID, SOFTMAX, Combination, CombinedScorer
from modelbundle.scorers.trees import TreesScorer

Names = Sequence[str] | None
Inner = Callable[[Any, Sequence[Encoded], Names], Scorer]  # compiles a model inside, with its own steps
MOST_CLASSES = 100


def compile_combined(
    model: Any, encoded: Sequence[Encoded], names: Names, schema: Schema, inner: Inner
) -> CombinedScorer:
    """The scorer of a model that is made of others, with inputs ``encoded``; raises :class:`NotSupported`."""
    kind = type(model).__name__
    if is_calibrated(model):
        return _calibrated(model, encoded, names, schema, inner)
    if kind == "VotingClassifier":
        if model.voting != "soft":
            raise NotSupported("a vote that counts predictions has no probabilities")
        weights = model._weights_not_none or [1.0] * len(model.estimators_)
        parts = [inner(estimator, encoded, names) for estimator in model.estimators_]
        return _mean(parts, [float(weight) for weight in weights], schema)
    if kind == "BaggingClassifier":
        return _bagged(model, encoded, names, schema, inner)
    if len(model.classes_) > 2:
        return _classes(model, encoded, schema)
    raise NotSupported(f"{kind} is not made of models that are supported")


def _mean(parts: Sequence[Scorer], weights: Sequence[float], schema: Schema) -> CombinedScorer:
    return CombinedScorer(Combination(MEAN, weights=tuple(weights)), parts, schema)


def _bagged(model: Any, encoded: Sequence[Encoded], names: Names, schema: Schema, inner: Inner) -> CombinedScorer:
    parts = []
    for estimator, places in zip(model.estimators_, model.estimators_features_, strict=True):
        if not hasattr(estimator, "predict_proba") or len(estimator.classes_) != len(model.classes_):
            raise NotSupported(
                "a bag with classifiers without probabilities, or without some classes, is not supported"
            )
        chosen = [int(k) for k in places]
        own = None if names is None else [names[k] for k in chosen]
        parts.append(inner(estimator, [encoded[k] for k in chosen], own))
    return _mean(parts, [1.0] * len(parts), schema)


def _classes(model: Any, encoded: Sequence[Encoded], schema: Schema) -> CombinedScorer:
    """One part per class: of a softmax of raw scores, or of probabilities that trees have for each class."""
    count = len(model.classes_)
    if count > MOST_CLASSES:
        raise NotSupported(f"more than {MOST_CLASSES} classes are not compiled")
    package, name = type(model).__module__.partition(".")[0], type(model).__name__
    parts: list[Scorer] = []
    for klass in range(count):
        if is_ensemble(model):
            parts.append(compile_trees(read_ensemble(model, encoded, klass), schema))
        elif package == "sklearn" and name in ("LogisticRegression", "LogisticRegressionCV"):
            parts.append(compile_logistic(model, encoded, schema, klass))
        elif (package, name) == ("interpret", "ExplainableBoostingClassifier"):
            parts.append(compile_ebm(model, encoded, schema, klass))
        else:
            raise NotSupported(f"{name} with more than two classes is not supported")
    return CombinedScorer(Combination(SOFTMAX if parts[0].link == "logit" else CLASSES), parts, schema)


def _calibrated(model: Any, encoded: Sequence[Encoded], names: Names, schema: Schema, inner: Inner) -> CombinedScorer:
    """The mean of calibrated classifiers; each is a curve over its log-odds, or over its probability where it has none."""
    if len(model.classes_) != 2:
        raise NotSupported("calibration of more than two classes is not supported")
    found: list[Scorer] = []
    for one in model.calibrated_classifiers_:
        scorer = inner(one.estimator, encoded, names)
        if hasattr(one.estimator, "decision_function"):
            if scorer.link != "logit":
                raise NotSupported("the calibrated classifier's decision function is not its log-odds")
        elif scorer.link == "logit":
            scorer = _mean([scorer], [1.0], schema)  # its probability
        found.append(CombinedScorer(_curve(one.calibrators[0]), [scorer], schema))
    return _mean(found, [1.0] * len(found), schema)


def _curve(calibrator: Any) -> Combination:
    if type(calibrator).__name__ == "_SigmoidCalibration":
        return Combination(SIGMOID, factor=-float(calibrator.a_), shift=-float(calibrator.b_))
    if type(calibrator).__name__ == "IsotonicRegression" and calibrator.out_of_bounds == "clip":
        x, y = (np.asarray(v, dtype=np.float64) for v in (calibrator.X_thresholds_, calibrator.y_thresholds_))
        return replace(Combination(ISOTONIC), x=x, y=y)
    raise NotSupported("only sigmoid and isotonic calibration are supported")


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
            [factor * average for average in scorer.averages],
            lines=[LinearTerm(line.feature, factor * line.slope, line.center) for line in scorer.lines],
        )
    if isinstance(scorer, TreesScorer) and scorer.link == "logit":
        trees = replace(scorer.trees, values=factor * scorer.trees.values)
        return TreesScorer(factor * scorer.start + shift, "logit", scorer.questions, trees)
    raise NotSupported("the calibrated classifier has no log-odds")
