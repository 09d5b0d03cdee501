"""interpret's explainable boosting machine as look-up tables.

A fitted machine keeps, per feature, its bins at one resolution for the main effect and at coarser ones for pairs, and per term
an array of scores whose index 0 is for missing values and whose last index is for values that were not seen in training
(``interpret.glassbox._ebm._bin.eval_terms``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.compiling.encoding import Encoded, Labels, NotUnderstood, Number
from modelbundle.publishing.compiling.terms import Terms
from modelbundle.schema import LARGEST, Schema
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins


def compile_ebm(model: Any, encoded: Sequence[Encoded], schema: Schema) -> AdditiveScorer:
    """The tables of a binary ExplainableBoostingClassifier whose inputs are ``encoded``; raises :class:`NotUnderstood`."""
    if getattr(model, "link_", "logit") != "logit":
        raise NotUnderstood(f"the machine's link is {model.link_}, not logit")
    if len(model.bins_) != len(encoded):
        raise NotUnderstood("the machine sees another number of columns than it is given")
    terms = Terms(schema)
    terms.intercept = float(np.ravel(model.intercept_)[0])
    for inputs, scores in zip(model.term_features_, model.term_scores_, strict=True):
        if not 1 <= len(inputs) <= 2:
            raise NotUnderstood("the machine has a term of more than two features")
        seen = [_binned(encoded[k], model.bins_[k], len(inputs)) for k in inputs]
        table = np.asarray(scores, dtype=np.float64)[np.ix_(*(places for _, places in seen))]
        features = [encoded[k].feature for k in inputs]
        if len(inputs) == 1:
            terms.add_table(features[0], seen[0][0], table)
        else:
            terms.add_pair((features[0], features[1]), (seen[0][0], seen[1][0]), table)
    return terms.scorer()


def _binned(column: Encoded, levels: Sequence[Any], dimensions: int) -> tuple[Bins, NDArray[np.int64]]:
    """Bins of the raw feature, and for each its index in the scores of a term of ``dimensions`` features."""
    level = levels[min(len(levels), dimensions) - 1]
    if isinstance(level, Mapping):
        if not isinstance(column, Labels):
            raise NotUnderstood("a number is taken for a category by the machine")
        labels = tuple(sorted(str(label) for label in level))
        missing = 0 if column.fill is None else level.get(column.fill, -1)
        return CategoryBins(labels), np.array([*(level[label] for label in labels), missing, -1], dtype=np.int64)
    if isinstance(column, Labels):
        raise NotUnderstood("a category is taken for a number by the machine")
    cuts = np.asarray(level, dtype=np.float64)
    if isinstance(column, Number):
        raw = column.first(lambda v: v >= cuts, len(cuts))
        bins = NumberBins(np.unique(raw[np.isfinite(raw) & (raw > -LARGEST)]))
        return bins, _indices(cuts, column.at(bins.examples()))
    return column.bins, _indices(cuts, column.values)


def _indices(cuts: FloatArray, values: FloatArray) -> NDArray[np.int64]:
    """Numbers' indices in the machine's scores: 0 is for missing ones, and a value equal to a cut is above it."""
    return np.where(np.isnan(values), 0, np.searchsorted(cuts, values, side="right") + 1).astype(np.int64)
