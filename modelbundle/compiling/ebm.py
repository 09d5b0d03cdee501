"""interpret's explainable boosting machine as look-up tables.

A fitted machine keeps, per feature, its bins at one resolution for the main effect and at coarser ones for pairs, and per term
an array of scores whose index 0 is for missing values and whose last index is for values that were not seen in training
(``interpret.glassbox._ebm._bin.eval_terms``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.compiling.encoding import Codes, Encoded, NotCompilable
from modelbundle.schema import Schema
from modelbundle.scorers.additive import AdditiveScorer, Bins, CategoryBins, NumberBins, Pair

FloatArray = NDArray[np.float64]


def compile_ebm(model: Any, encoded: Sequence[Encoded], schema: Schema) -> AdditiveScorer:
    """The tables of a binary ExplainableBoostingClassifier whose inputs are ``encoded``; raises :class:`NotCompilable`."""
    if len(model.classes_) != 2:
        raise NotCompilable("additive", "the machine has more than two classes")
    if len(encoded) != len(schema) or len({e.column for e in encoded}) != len(schema):
        raise NotCompilable("additive", "the machine does not see each column once")
    at = {e.column: k for k, e in enumerate(encoded)}
    features = [_Feature(model, at[f.name], encoded[at[f.name]]) for f in schema]
    position = {feature.index: i for i, feature in enumerate(features)}
    tables: list[FloatArray] = [np.zeros(feature.bins.size) for feature in features]
    pairs: list[Pair] = []
    for term, scores in zip(model.term_features_, model.term_scores_, strict=True):
        scores = np.ascontiguousarray(scores, dtype=np.float64)
        if len(term) == 1:
            feature = features[position[term[0]]]
            tables[position[term[0]]] = scores[feature.scores_index(1)]
        elif len(term) == 2:
            i, j = position[term[0]], position[term[1]]
            pairs.append(_pair(i, j, features, scores))
        else:
            raise NotCompilable("additive", "the machine has a term of more than two features")
    return AdditiveScorer(float(np.ravel(model.intercept_)[0]), [f.bins for f in features], tables, pairs)


def _pair(i: int, j: int, features: Sequence[_Feature], scores: FloatArray) -> Pair:
    left, right = features[i].scores_index(2), features[j].scores_index(2)
    size = scores.shape
    return Pair((i, j), left % size[0], right % size[1], scores)


class _Feature:
    """One input of the machine, seen from the raw column."""

    def __init__(self, model: Any, index: int, encoded: Encoded) -> None:
        self.index = index
        self.encoded = encoded
        self.levels = model.bins_[index]
        self.bins = self._bins()

    def _bins(self) -> Bins:
        if isinstance(self.encoded, Codes):
            if isinstance(self.levels[0], dict):
                raise NotCompilable("additive", f"{self.encoded.column} is encoded and then treated as nominal")
            return CategoryBins(self.encoded.categories)
        if isinstance(self.levels[0], dict):
            labels = {str(label) for level in self.levels for label in level}
            return CategoryBins(tuple(sorted(labels)))
        return NumberBins(np.unique(np.concatenate([np.asarray(level, dtype=np.float64) for level in self.levels])))

    def scores_index(self, dimensions: int) -> NDArray[np.int64]:
        """For every bin of the scorer the index into the machine's scores, at the resolution for terms of ``dimensions``.

        Unseen values have index -1, as in the machine itself.
        """
        level = self.levels[min(len(self.levels), dimensions) - 1]
        if isinstance(self.bins, NumberBins):
            # a bin of the union of all cuts lies within one bin of each resolution; its lower end tells which
            lower = np.concatenate([[-np.inf], self.bins.cuts])
            return np.append(np.searchsorted(level, lower, side="right") + 1, 0).astype(np.int64)
        if isinstance(self.encoded, Codes):
            codes = [float(k) for k in range(len(self.encoded.categories))]
            return np.array(
                [_bin(level, c) for c in (*codes, self.encoded.missing, self.encoded.unknown)], dtype=np.int64
            )
        known = [level.get(label, -1) for label in self.bins.labels]
        return np.array([*known, 0, -1], dtype=np.int64)


def _bin(cuts: Any, code: float) -> int:
    """A number's index in the machine's scores."""
    return 0 if code != code else bisect_right(list(cuts), code) + 1
