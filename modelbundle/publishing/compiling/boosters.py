"""Reads the trees of XGBoost, LightGBM and CatBoost into the form of :mod:`modelbundle.publishing.compiling.ensembles`.

They are read from what the fitted objects write as JSON, so none of these packages is imported, here or in a service.
XGBoost adds its leaves in float32: its own probabilities are right to some 1e-7, and that is how near the proof can come.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelbundle.publishing.compiling.encoding import Encoded, Labels, NotSupported, Steps
from modelbundle.publishing.compiling.ensembles import Ensemble
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import CategoryBins

MOST_CATEGORIES = 256


class Nodes:
    """Collects the nodes of trees, tree by tree."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.rows: list[
            tuple[int, float, bool, int, int, float]
        ] = []  # column, threshold, missing left, left, right, value
        self.subset: dict[int, np.ndarray[Any, np.dtype[np.bool_]]] = {}  # the categories that go left, by node

    def add(self, column: int = 0, threshold: float = 0.0, missing_left: bool = False, value: float = 0.0) -> int:
        """A node, which is a leaf until it gets children; returns its number."""
        own = len(self.rows)
        self.rows.append((column, threshold, missing_left, own, own, value))
        return own

    def join(self, node: int, left: int, right: int) -> None:
        """Give a node its children."""
        column, threshold, missing_left, *_ = self.rows[node]
        self.rows[node] = (column, threshold, missing_left, left, right, 0.0)

    def ensemble(self, encoded: Sequence[Encoded], start: float, narrow: bool) -> Ensemble:
        """All trees."""
        if not self.roots:
            raise NotSupported("the model has no trees")
        column, threshold, missing_left, left, right, value = (np.array(part) for part in zip(*self.rows, strict=True))
        subset = np.full(len(self.rows), -1, dtype=np.int64)
        subset[list(self.subset)] = np.arange(len(self.subset))
        return Ensemble(
            encoded=encoded,
            link="logit",
            start=start,
            narrow=narrow,
            roots=np.array(self.roots, dtype=np.int64),
            column=column.astype(np.int64),
            threshold=threshold.astype(np.float64),
            missing_left=missing_left.astype(bool),
            left=left.astype(np.int64),
            right=right.astype(np.int64),
            value=value.astype(np.float64),
            subset=subset,
            subsets=np.array(list(self.subset.values()), dtype=bool).reshape(-1, MOST_CATEGORIES),
            known=np.ones((len(encoded), MOST_CATEGORIES), dtype=bool),
        )


def coded(encoded: Sequence[Encoded]) -> list[Encoded]:
    """The columns with categories as the codes of their pandas type; missing and unseen ones are NaN."""
    found: list[Encoded] = []
    for column in encoded:
        if isinstance(column, Labels) and column.codes is not None:
            labels = tuple(sorted(column.codes))
            codes = [float(column.codes.index(label)) for label in labels]
            column = Steps(column.feature, CategoryBins(labels), np.array([*codes, np.nan, np.nan]))
        found.append(column)
    return found


def xgboost(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    """A row goes left where its float32 value is below the condition, and where its category is not among the node's."""
    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    booster = learner["gradient_booster"]
    drop = booster.get("weight_drop")
    booster = booster.get("gbtree", booster)
    if "model" not in booster or "trees" not in booster["model"]:
        raise NotSupported("only XGBoost's trees are supported")
    objective = learner["objective"]["name"]
    if objective not in ("binary:logistic", "multi:softprob", "multi:softmax"):
        raise NotSupported(f"XGBoost's objective {objective} is not supported")
    base = np.atleast_1d(np.array(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float64))
    start = float(base[min(klass, len(base) - 1)])
    if objective == "binary:logistic":
        start = math.log(start / (1.0 - start))
    trees, group = booster["model"]["trees"], booster["model"]["tree_info"]
    used = len(trees)
    if (best := getattr(model, "best_iteration", None) if _stopped_early(model) else None) is not None:
        used = booster["model"]["iteration_indptr"][best + 1]
    nodes = Nodes()
    for k in range(used):
        if objective == "binary:logistic" or group[k] == klass:
            _xgboost_tree(nodes, trees[k], 1.0 if drop is None else drop[k])
    return nodes.ensemble(coded(encoded), start, narrow=True)


def _stopped_early(model: Any) -> bool:
    return getattr(model, "early_stopping_rounds", None) is not None


def _xgboost_tree(nodes: Nodes, tree: dict[str, Any], weight: float) -> None:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise NotSupported("XGBoost's trees with several values in a leaf are not supported")
    first = len(nodes.rows)
    sets = {
        node: tree["categories"][begin : begin + size]
        for node, begin, size in zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
    }
    for k, left in enumerate(tree["left_children"]):
        condition = np.float32(tree["split_conditions"][k])
        if left < 0:
            nodes.add(value=float(condition) * weight)
            continue
        below = float(np.nextafter(condition, np.float32(-np.inf)))  # x < t is x <= the float32 before t
        node = nodes.add(tree["split_indices"][k], below, bool(tree["default_left"][k]))
        if tree["split_type"][k]:
            nodes.subset[node] = ~_members(sets[k])
    for k, (left, right) in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
        if left >= 0:
            nodes.join(first + k, first + left, first + right)
    nodes.roots.append(first)


def _members(categories: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if any(not 0 <= c < MOST_CATEGORIES for c in categories):
        raise NotSupported(f"a category has more than {MOST_CATEGORIES} values")
    found = np.zeros(MOST_CATEGORIES, dtype=bool)
    found[list(categories)] = True
    return found


def lightgbm(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    """A row goes left where its value is at most the threshold, and where its category is among the node's."""
    found = model.booster_.dump_model(num_iteration=model.best_iteration_ or None)
    objective, *options = found["objective"].split()
    factor = 1.0
    if objective == "binary":
        factor = next((float(o.partition(":")[2]) for o in options if o.startswith("sigmoid:")), 1.0)
    elif objective != "multiclass":
        raise NotSupported(f"LightGBM's objective {objective} is not supported")
    if found["average_output"]:
        raise NotSupported("LightGBM's random forests are not supported")
    each = found["num_tree_per_iteration"]
    nodes = Nodes()
    for tree in found["tree_info"]:
        if each == 1 or tree["tree_index"] % each == klass:
            nodes.roots.append(_lightgbm_node(nodes, tree["tree_structure"], factor))
    without_tiny = [c if isinstance(c, Labels) else c.then("call", _without_tiny) for c in coded(encoded)]
    return nodes.ensemble(without_tiny, 0.0, narrow=False)


def _without_tiny(values: FloatArray) -> FloatArray:
    """The values as LightGBM sees them: what is at most its ``kZeroThreshold`` away from zero is zero."""
    return np.where(np.abs(values) <= np.float64(np.float32(1e-35)), 0.0, values)


def _lightgbm_node(nodes: Nodes, found: dict[str, Any], factor: float) -> int:
    """The number of the tree's root: a walk over its nodes without recursion, which deep trees would exhaust."""
    root = -1
    waiting: list[tuple[dict[str, Any], int, bool]] = [(found, -1, False)]
    children: dict[int, list[int]] = {}
    while waiting:
        entry, parent, is_right = waiting.pop()
        if "split_feature" not in entry:
            node = nodes.add(value=factor * entry["leaf_value"])
        else:
            node = _lightgbm_split(nodes, entry)
            children[node] = [-1, -1]
            waiting += [(entry["right_child"], node, True), (entry["left_child"], node, False)]
        if parent < 0:
            root = node
        else:
            children[parent][is_right] = node
    for node, (left, right) in children.items():
        nodes.join(node, left, right)
    return root


def _lightgbm_split(nodes: Nodes, entry: dict[str, Any]) -> int:
    column = entry["split_feature"]
    if entry["decision_type"] == "==":
        node = nodes.add(column, 0.0, missing_left=False)
        nodes.subset[node] = _members([int(c) for c in str(entry["threshold"]).split("||")])
        return node
    if entry["missing_type"] == "Zero":
        raise NotSupported("LightGBM's zeros as missing values are not supported")
    threshold = float(entry["threshold"])
    missing_left = entry["default_left"] if entry["missing_type"] == "NaN" else threshold >= 0.0
    return nodes.add(column, threshold, missing_left)


def catboost(model: Any, encoded: Sequence[Encoded], klass: int) -> Ensemble:
    """Symmetric trees of float32 numbers: bit i of a leaf's number says that the value is above border i."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        found = json.loads(path.read_text("utf-8"))
    if "oblivious_trees" not in found:
        raise NotSupported("only CatBoost's symmetric trees are supported")
    floats = {feature["feature_index"]: feature for feature in found["features_info"]["float_features"]}
    scale, bias = found["scale_and_bias"]
    classes = max(len(bias), 1)
    nodes = Nodes()
    for tree in found["oblivious_trees"]:
        splits = tree["splits"] or []
        if any(split["split_type"] != "FloatFeature" for split in splits):
            raise NotSupported("CatBoost's own encodings of categories are not supported")
        values = [scale * value for value in tree["leaf_values"][klass % classes :: classes]]
        nodes.roots.append(_symmetric(nodes, splits, floats, values, len(splits), 0))
    return nodes.ensemble(coded(encoded), float(bias[klass % classes]) if bias else 0.0, narrow=True)


def _symmetric(
    nodes: Nodes,
    splits: Sequence[dict[str, Any]],
    floats: dict[int, Any],
    values: Sequence[float],
    depth: int,
    leaf: int,
) -> int:
    if depth == 0:
        return nodes.add(value=values[leaf])
    split = splits[depth - 1]
    feature = floats[split["float_feature_index"]]
    node = nodes.add(feature["flat_feature_index"], split["border"], feature["nan_value_treatment"] != "AsTrue")
    left = _symmetric(nodes, splits, floats, values, depth - 1, leaf)
    right = _symmetric(nodes, splits, floats, values, depth - 1, leaf | (1 << (depth - 1)))
    nodes.join(node, left, right)
    return node


READERS = {
    ("xgboost", "XGBClassifier"): xgboost,
    ("xgboost", "XGBRFClassifier"): xgboost,
    ("lightgbm", "LGBMClassifier"): lightgbm,
    ("catboost", "CatBoostClassifier"): catboost,
}
