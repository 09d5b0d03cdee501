"""The candidates, from the prototype's forest to the champion, each a scikit-learn pipeline on the raw ten columns.

Every step is importable from scikit-learn or interpret: whoever has the two can load the pipeline without this project.
All are seeded, and none looks at the outcome outside ``fit``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder

from late_payers.features import CATEGORIES, COLUMNS, EMP_LENGTHS, GRADES, NUMBERS

SEED: Final = 0
ORDERED: Final = ("grade", "emp_length")
NOMINAL: Final = ("purpose", "home_ownership")


def ordered() -> OrdinalEncoder:
    """Grade and time in job as their position in an order that everybody agrees on; a value outside it is missing."""
    return OrdinalEncoder(
        categories=[list(GRADES), list(EMP_LENGTHS)],
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
    )


def _one_hot() -> ColumnTransformer:
    """The prototype's encoding: medians for missing numbers, a category of its own for missing text, one-hot."""
    text = Pipeline(
        [
            ("fill", SimpleImputer(strategy="constant", fill_value="missing")),
            ("one_hot", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        ]
    )
    return ColumnTransformer(
        [("numbers", SimpleImputer(strategy="median"), list(NUMBERS)), ("categories", text, list(CATEGORIES))]
    )


def basic_forest() -> Pipeline:
    """The prototype's basic model: ten trees grown until every leaf is pure."""
    return Pipeline([("encode", _one_hot()), ("model", RandomForestClassifier(n_estimators=10, random_state=SEED))])


def tuned_forest() -> Pipeline:
    """The same with more trees and leaves of at least 100 loans, so that a leaf can hold a rate."""
    forest = RandomForestClassifier(
        n_estimators=100, min_samples_leaf=100, max_features=0.2, random_state=SEED, n_jobs=1
    )
    return Pipeline([("encode", _one_hot()), ("model", forest)])


def gradient_boosting() -> Pipeline:
    """The prototype's improvement: gradient boosting with scikit-learn's defaults."""
    return Pipeline([("encode", _one_hot()), ("model", GradientBoostingClassifier(random_state=SEED))])


def scorecard() -> Pipeline:
    """What credit risk has used for decades: a logistic regression on numbers cut into ten bins.

    The count of late payments is 0 for most loans, so it has no ten bins and goes in as it is.
    """
    count = ["delinq_2yrs"]
    bins = Pipeline(
        [
            ("fill", SimpleImputer(strategy="median")),
            ("bins", KBinsDiscretizer(10, encode="onehot", quantile_method="averaged_inverted_cdf")),
        ]
    )
    text = Pipeline(
        [
            ("fill", SimpleImputer(strategy="constant", fill_value="missing")),
            ("one_hot", OneHotEncoder(handle_unknown="ignore")),
        ]
    )
    encode = ColumnTransformer(
        [
            ("numbers", bins, [name for name in NUMBERS if name not in count]),
            ("count", SimpleImputer(strategy="median"), count),
            ("categories", text, list(CATEGORIES)),
        ]
    )
    return Pipeline([("encode", encode), ("model", LogisticRegression(C=0.1, max_iter=2000))])


def _as_codes() -> ColumnTransformer:
    """Ordered and nominal columns as numbers, missing kept, for scikit-learn's histogram boosting."""
    nominal = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        min_frequency=20,
    )
    return ColumnTransformer(
        [
            ("nominal", nominal, list(NOMINAL)),
            ("ordered", ordered(), list(ORDERED)),
            ("numbers", "passthrough", list(NUMBERS)),
        ]
    )


def _histogram_boosting(**settings: Any) -> Pipeline:
    model = HistGradientBoostingClassifier(
        early_stopping=False, categorical_features=list(range(len(NOMINAL))), random_state=SEED, **settings
    )
    return Pipeline([("encode", _as_codes()), ("model", model)])


def additive_boosting() -> Pipeline:
    """Histogram boosting in which no tree may look at two columns: a sum of ten curves."""
    return _histogram_boosting(
        learning_rate=0.03,
        max_iter=400,
        max_leaf_nodes=4,
        min_samples_leaf=200,
        l2_regularization=5.0,
        interaction_cst="no_interactions",
    )


def unconstrained() -> Pipeline:
    """The yardstick: histogram boosting that may combine any columns. It gives no exact reasons."""
    return _histogram_boosting(
        learning_rate=0.02,
        max_iter=450,
        max_leaf_nodes=8,
        min_samples_leaf=200,
        l2_regularization=10.0,
        max_features=0.5,
    )


def champion(bags: int = 12) -> Pipeline:
    """An explainable boosting machine: a curve for each column, and five surfaces for pairs that it finds.

    Few steps a curve, 100 loans a leaf, and long smoothing (rounds with random cuts before the greedy ones): steps
    that follow single loans do not outlive the quarter. The mean of ``bags`` models on different 85 % of the loans is
    again such a sum, and their spread is the curves' uncertainty.
    """
    from interpret.glassbox import ExplainableBoostingClassifier

    rest = [column for column in COLUMNS if column not in ORDERED]
    encode = ColumnTransformer(
        [("ordered", ordered(), list(ORDERED)), ("as_is", "passthrough", rest)],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = ExplainableBoostingClassifier(
        feature_types=["nominal" if column in NOMINAL else "continuous" for column in (*ORDERED, *rest)],
        interactions=5,
        max_bins=64,
        max_interaction_bins=64,
        min_samples_leaf=100,
        smoothing_rounds=500,
        interaction_smoothing_rounds=200,
        outer_bags=bags,
        n_jobs=1,
        random_state=SEED,
    )
    return Pipeline([("encode", encode), ("model", model)])


CANDIDATES: Final[Mapping[str, Callable[[], Pipeline]]] = {
    "basic forest": basic_forest,
    "tuned forest": tuned_forest,
    "gradient boosting": gradient_boosting,
    "logistic scorecard": scorecard,
    "additive boosting": additive_boosting,
    "champion": champion,
    "unconstrained": unconstrained,
}
