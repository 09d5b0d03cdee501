"""Every tree ensemble that is supported is proven equal to scikit-learn's own answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.trees import TreesScorer
from tests.unit.modelbundle.books import CATEGORIES, NUMBERS, book, compiled, reasons

FORESTS: dict[str, Any] = {
    "forest": RandomForestClassifier(20, random_state=0),
    "forest of few leaves": RandomForestClassifier(25, max_leaf_nodes=5, random_state=0),
    "weighted forest": RandomForestClassifier(5, class_weight="balanced", random_state=0),
    "extra trees": ExtraTreesClassifier(20, max_depth=6, random_state=0),
    "one tree": DecisionTreeClassifier(max_depth=5, random_state=0),
}
BOOSTED: dict[str, Any] = {
    "boosting": GradientBoostingClassifier(n_estimators=30, random_state=0),
    "boosting from zero": GradientBoostingClassifier(n_estimators=20, init="zero", random_state=0),
    "exponential boosting": GradientBoostingClassifier(n_estimators=20, loss="exponential", random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=30, random_state=0),
}


def filled(model: Any) -> Pipeline:
    """Medians and one-hot columns before the model."""
    encode = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES),
        ]
    )
    return Pipeline([("encode", encode), ("model", model)])


def coded(model: Any) -> Pipeline:
    """Categories as codes in front, missing values kept."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    encode = ColumnTransformer([("text", codes, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    return Pipeline([("encode", encode), ("model", model)])


@pytest.mark.parametrize("name", [*FORESTS, *BOOSTED])
def test_ensembles_behind_an_encoding(name: str) -> None:
    """With filled numbers and one-hot categories, the trees are proven on every row, threshold and accepted extreme."""
    frame, labels = book()
    pipeline = filled({**FORESTS, **BOOSTED}[name]).fit(frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert isinstance(scorer, TreesScorer)
    assert scorer.link == ("logit" if name in BOOSTED else "identity")
    assert proof.thresholds == proof.thresholds_tried > 10
    assert proof.max_difference <= 1e-12


@pytest.mark.parametrize("name", [n for n in FORESTS if n != "extra trees"])
def test_forests_that_are_given_missing_values(name: str) -> None:
    """A node sends a missing value to the side that it learned."""
    frame, labels = book()
    scorer, _ = compiled(coded(FORESTS[name]).fit(frame, labels), frame)
    assert scorer.kind == "trees"


def test_forests_on_numbers_alone() -> None:
    """A forest without preprocessing is compiled on the frame itself."""
    frame, labels = book()
    frame = frame[NUMBERS]
    assert compiled(RandomForestClassifier(10, random_state=0).fit(frame, labels), frame)[0].kind == "trees"


CATEGORICAL = {"as codes": [0, 1, 2], "codes, a count too": [0, 1, 2, 6], "none": None}


@pytest.mark.parametrize("chosen", CATEGORICAL)
@pytest.mark.parametrize("how", ["free", "pairs", "additive"])
def test_histogram_boosting(how: str, chosen: str) -> None:
    """Missing values, category splits and unknown categories are followed; at most pairs give an additive model."""
    frame, labels = book()
    groups = [{0, 3}, {1, 4}, {2}, {5}, {6}]
    interactions: Any = {"free": None, "pairs": groups, "additive": "no_interactions"}[how]
    model = HistGradientBoostingClassifier(
        max_iter=40, categorical_features=CATEGORICAL[chosen], interaction_cst=interactions, random_state=0
    )
    scorer, proof = compiled(coded(model).fit(frame, labels), frame)
    assert scorer.kind == ("trees" if how == "free" else "additive")
    assert proof.max_difference <= 1e-12
    if isinstance(scorer, AdditiveScorer):
        assert bool(scorer.pairs) == (how == "pairs")


def test_histogram_boosting_on_the_frame_itself() -> None:
    """The compiler follows the model's encoding of pandas categories; it does not support text columns."""
    frame, labels = book()
    numbers = frame[NUMBERS]
    assert compiled(HistGradientBoostingClassifier(max_iter=20).fit(numbers, labels), numbers)[0].kind == "trees"


def test_stumps_are_an_additive_model() -> None:
    """Boosting with one split per tree is a sum of curves; with two splits, of curves and surfaces."""
    frame, labels = book()
    for depth in (1, 2):
        model = GradientBoostingClassifier(n_estimators=40, max_depth=depth, random_state=0)
        encode = ColumnTransformer([("numbers", SimpleImputer(), NUMBERS)])
        pipeline = Pipeline([("encode", encode), ("model", model)]).fit(frame, labels)
        scorer, _ = compiled(pipeline, frame)
        if depth == 1:
            assert isinstance(scorer, AdditiveScorer)
            assert not scorer.pairs
        else:
            assert scorer.kind == "trees"
            assert "more than two features" in reasons(pipeline, frame)["additive"]


def test_thresholds_beyond_the_float32_grid() -> None:
    """Neighbouring float64 values that are one float32 go the same way, as in scikit-learn's trees."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": 16777216.0 + rng.integers(0, 64, 500) / 8})
    labels = (frame["n"].to_numpy() * 8 % 5 > 2).astype(int)
    scorer, proof = compiled(RandomForestClassifier(5, random_state=0).fit(frame, labels), frame)
    assert scorer.kind == "trees"
    assert proof.thresholds_tried > 3


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (GradientBoostingClassifier(n_estimators=3, init=LogisticRegression(max_iter=5000)), "another model"),
        (LogisticRegression(max_iter=5000), "not a tree ensemble"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_not_supported_is_said(model: Any, word: str) -> None:
    """The reason is a sentence about the model."""
    frame, labels = book(300)
    assert word in reasons(filled(model).fit(frame, labels), frame)["trees"]


def test_three_classes_are_combined() -> None:
    """One part per class."""
    frame, labels = book(300)
    model = filled(RandomForestClassifier(3)).fit(frame, np.where(frame["late"] > 1, 2, labels))
    assert set(reasons(model, frame)) == {"additive", "trees"}
    assert compiled(model, frame)[0].outputs == 3
