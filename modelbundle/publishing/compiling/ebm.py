"""interpret's explainable boosting machine as look-up tables.

A fitted machine has, per feature, fine bins for the main effect and coarser ones for pairs, and per term an array of scores.
Index 0 of the array is for missing values, its last index for values that training has not seen
(``interpret.glassbox._ebm._bin.eval_terms``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.compiling.encoding import Encoded, Labels, NotSupported, Number
from modelbundle.publishing.compiling.terms import Terms
from modelbundle.schema import LARGEST, Schema
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import Bins, CategoryBins, NumberBins


def compile_ebm(model: Any, encoded: Sequence[Encoded], schema: Schema, klass: int | None = None) -> AdditiveScorer:
    """The scorer of an ExplainableBoostingClassifier with inputs ``encoded``; raises :class:`NotSupported`.

    It gives the log-odds of the last of two classes, or the raw score of the class at position ``klass``.
    """
    if (link := getattr(model, "link_", "logit")) != ("logit" if klass is None else "mlogit"):
        raise NotSupported(f"the machine's link {link} is not supported")
    if len(model.bins_) != len(encoded):
        raise NotSupported("the machine has another number of columns than its input")
    terms = Terms(schema)
    terms.intercept = float(np.ravel(model.intercept_)[klass or 0])
    for inputs, scores in zip(model.term_features_, model.term_scores_, strict=True):
        if not 1 <= len(inputs) <= 2:
            raise NotSupported("the machine has a term of more than two features")
        seen = [_binned(encoded[k], model.bins_[k], len(inputs)) for k in inputs]
        own = np.asarray(scores, dtype=np.float64)
        table = (own if klass is None else own[..., klass])[np.ix_(*(places for _, places in seen))]
        features = [encoded[k].feature for k in inputs]
        if len(inputs) == 1:
            terms.add_table(features[0], seen[0][0], table)
        else:
            terms.add_pair((features[0], features[1]), (seen[0][0], seen[1][0]), table)
    return terms.scorer()


def _binned(column: Encoded, levels: Sequence[Any], dimensions: int) -> tuple[Bins, NDArray[np.int64]]:
    """The bins of the raw feature, and the index of each in the scores of a term of ``dimensions`` features."""
    level = levels[min(len(levels), dimensions) - 1]
    if isinstance(level, Mapping):
        if not isinstance(column, Labels):
            raise NotSupported("the machine treats a number as a category")
        labels = tuple(sorted(str(label) for label in level))
        missing = 0 if column.fill is None else level.get(column.fill, -1)
        return CategoryBins(labels), np.array([*(level[label] for label in labels), missing, -1], dtype=np.int64)
    if isinstance(column, Labels):
        raise NotSupported("the machine treats a category as a number")
    cuts = np.asarray(level, dtype=np.float64)
    if isinstance(column, Number):
        raw = column.first(lambda v: v >= cuts, len(cuts))
        bins = NumberBins(np.unique(raw[np.isfinite(raw) & (raw > -LARGEST)]))
        return bins, _indices(cuts, column.at(bins.examples()))
    return column.bins, _indices(cuts, column.values)


def _indices(cuts: FloatArray, values: FloatArray) -> NDArray[np.int64]:
    """The indices of numbers in the machine's scores: 0 for a missing one; a value equal to a cut is above it."""
    return np.where(np.isnan(values), 0, np.searchsorted(cuts, values, side="right") + 1).astype(np.int64)
