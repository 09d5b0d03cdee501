"""Reads scikit-learn's fitted tree ensembles into one form: nodes over the model's input columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.compiling.encoding import Encoded, NotSupported
from modelbundle.publishing.compiling.preprocessing import encode
from modelbundle.scorers.base import FloatArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ensemble:
    """The nodes of all trees; the nodes of one tree are contiguous, its root first.

    A row goes left if its value of ``column`` is at most ``threshold`` (as float32 if ``narrow``). At a node with a ``subset``
    (not -1), it goes left if its category is in that row of ``subsets``. A missing value and a category that is not ``known``
    go left if ``missing_left``.
    """

    encoded: Sequence[Encoded]
    link: Literal["logit", "identity"]
    start: float
    narrow: bool
    roots: Ints
    column: Ints
    threshold: FloatArray
    missing_left: Bools
    left: Ints  # a leaf is its own child
    right: Ints
    value: FloatArray
    subset: Ints
    subsets: Bools  # (subsets, 256)
    known: Bools  # (columns, 256)

    @property
    def inner(self) -> Bools:
        """Which nodes are not leaves, shape (nodes,)."""
        found: Bools = self.left != np.arange(len(self.left))
        return found


def _forest(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    estimators = list(model.estimators_) if hasattr(model, "estimators_") else [model]
    if model.n_outputs_ != 1:
        raise NotSupported("a forest with more than one outcome is not supported")
    trees = [estimator.tree_ for estimator in estimators]
    return _of_trees(trees, encoded, "identity", 0.0, [tree.value[:, 0, klass] for tree in trees])


def _ada_boost(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    """Votes of trees: a leaf has the tree's weight for the class that it predicts (Zhu et al. 2009, SAMME)."""
    trees = []
    values = []
    classes = len(model.classes_)
    total = float(np.sum(model.estimator_weights_[: len(model.estimators_)]))
    for estimator, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        if type(estimator).__name__ != "DecisionTreeClassifier" or estimator.n_outputs_ != 1:
            raise NotSupported("AdaBoost of other classifiers than decision trees is not supported")
        tree = estimator.tree_
        voted = model.classes_.searchsorted(estimator.classes_)[tree.value[:, 0, :].argmax(axis=1)]
        chosen = voted == (klass if klass >= 0 else classes - 1)
        share = float(weight) / total
        values.append(
            np.where(chosen, share, -share) * 2 if classes == 2 else np.where(chosen, share, -share / (classes - 1))
        )
        trees.append(tree)
    factor = 1.0 if classes == 2 else 1.0 / (classes - 1)
    return _of_trees(trees, encoded, "logit", 0.0, [factor * value for value in values])


def _gradient_boosting(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    if not (isinstance(model.init_, str) and model.init_ == "zero") and type(model.init_).__name__ != "DummyClassifier":
        raise NotSupported("gradient boosting that starts from another model is not supported")
    factor = {"log_loss": 1.0, "exponential": 2.0}[model.loss]  # exponential loss scores half the log-odds
    place = max(klass, 0)
    start = float(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))[0, place])
    trees = [estimator.tree_ for estimator in model.estimators_[:, place]]
    values = [factor * (model.learning_rate * tree.value[:, 0, 0]) for tree in trees]
    return _of_trees(trees, encoded, "logit", factor * start, values)


def _of_trees(
    trees: Sequence[Any],
    encoded: Sequence[Encoded],
    link: Literal["logit", "identity"],
    start: float,
    values: Sequence[FloatArray],
) -> Ensemble:
    offsets = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])])
    left, right = [], []
    for tree, offset in zip(trees, offsets, strict=False):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        left.append(np.where(leaf, own, tree.children_left) + offset)
        right.append(np.where(leaf, own, tree.children_right) + offset)
    nodes = int(offsets[-1])
    return Ensemble(
        encoded=encoded,
        link=link,
        start=start,
        narrow=True,
        roots=offsets[:-1].astype(np.int64),
        column=np.maximum(np.concatenate([tree.feature for tree in trees]), 0).astype(np.int64),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        missing_left=np.concatenate([tree.missing_go_to_left for tree in trees]).astype(bool),
        left=np.concatenate(left),
        right=np.concatenate(right),
        value=np.concatenate(values).astype(np.float64),
        subset=np.full(nodes, -1, dtype=np.int64),
        subsets=np.zeros((0, 256), dtype=bool),
        known=np.zeros((len(encoded), 256), dtype=bool),
    )


def _histogram_boosting(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    predictors = [iteration[max(klass, 0)] for iteration in model._predictors]
    bitsets, positions = model._bin_mapper.make_known_categories_bitsets()
    encoded = _before_histograms(model, encoded)
    nodes = np.concatenate([predictor.nodes for predictor in predictors])
    sizes = [len(predictor.nodes) for predictor in predictors]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    subset_offsets = np.concatenate([[0], np.cumsum([len(p.raw_left_cat_bitsets) for p in predictors])])
    offset = np.repeat(offsets[:-1], sizes)
    own = np.arange(len(nodes))
    leaf = nodes["is_leaf"].astype(bool)
    categorical = nodes["is_categorical"].astype(bool) & ~leaf
    subset = nodes["bitset_idx"].astype(np.int64) + np.repeat(subset_offsets[:-1], sizes)
    known = np.zeros((len(encoded), 256), dtype=bool)
    if model._is_categorical_remapped is not None:
        for column in np.flatnonzero(model._is_categorical_remapped):
            known[column] = _bits(bitsets[positions[column]][None, :])[0]
    return Ensemble(
        encoded=encoded,
        link="logit",
        start=float(np.ravel(model._baseline_prediction)[max(klass, 0)]),
        narrow=False,
        roots=offsets[:-1].astype(np.int64),
        column=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf | categorical, 0.0, nodes["num_threshold"]),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        left=np.where(leaf, own, nodes["left"].astype(np.int64) + offset),
        right=np.where(leaf, own, nodes["right"].astype(np.int64) + offset),
        value=np.where(leaf, nodes["value"], 0.0),
        subset=np.where(categorical, subset, -1),
        subsets=_bits(np.concatenate([p.raw_left_cat_bitsets for p in predictors])),
        known=known,
    )


def _before_histograms(model: Any, encoded: Sequence[Encoded]) -> list[Encoded]:
    """The columns after the model's internal encoding: categories first, as codes, then numbers."""
    if model._preprocessor is None:
        return list(encoded)
    chosen = {name: mask for name, _, mask in model._preprocessor.transformers_ if name != "remainder"}
    encoder = model._preprocessor.named_transformers_["encoder"]
    categories = encode(encoder, [e for e, yes in zip(encoded, chosen["encoder"], strict=True) if yes], None)[0]
    return [*categories, *(e for e, yes in zip(encoded, chosen["numerical"], strict=True) if yes)]


def _bits(words: NDArray[np.uint32]) -> Bools:
    """Bitsets of eight 32-bit words as booleans, shape (n, 256)."""
    if not len(words):
        return np.zeros((0, 256), dtype=bool)
    return ((words[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1).reshape(len(words), 256).astype(bool)


READERS: dict[str, Any] = {
    "AdaBoostClassifier": _ada_boost,
    "RandomForestClassifier": _forest,
    "ExtraTreesClassifier": _forest,
    "DecisionTreeClassifier": _forest,
    "ExtraTreeClassifier": _forest,
    "GradientBoostingClassifier": _gradient_boosting,
    "HistGradientBoostingClassifier": _histogram_boosting,
}
