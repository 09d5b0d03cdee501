"""Every preprocessing step that is supported, proven on a model behind it; and what is not supported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from tests.unit.modelbundle.books import CATEGORIES, NUMBERS, book, compiled, reasons

pytestmark = [
    pytest.mark.filterwarnings("ignore:Bins whose width are too small"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

FILLED = SimpleImputer(strategy="median")
IGNORE: Any = {"handle_unknown": "ignore"}
CODES: Any = {"handle_unknown": "use_encoded_value", "unknown_value": -1}

OF_NUMBERS: dict[str, Any] = {
    "median": FILLED,
    "mean, standardised": make_pipeline(SimpleImputer(), StandardScaler()),
    "constant, with a mark": SimpleImputer(strategy="constant", fill_value=-1, add_indicator=True),
    "most frequent, min-max": make_pipeline(SimpleImputer(strategy="most_frequent"), MinMaxScaler((-1, 2))),
    "median, min-max, clipped": make_pipeline(FILLED, MinMaxScaler(clip=True)),
    "standardised, then filled": make_pipeline(StandardScaler(), SimpleImputer(), FunctionTransformer()),
    "robust, largest": make_pipeline(FILLED, RobustScaler(), MaxAbsScaler()),
    "without a mean": make_pipeline(FILLED, StandardScaler(with_mean=False)),
    "bins, one-hot": make_pipeline(FILLED, KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")),
    "scaled bins in order": make_pipeline(
        FILLED, StandardScaler(), KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), StandardScaler()
    ),
}
OF_CATEGORIES: dict[str, Any] = {
    "one-hot": OneHotEncoder(**IGNORE),
    "one-hot, dense, first dropped": OneHotEncoder(**IGNORE, drop="first", sparse_output=False),
    "one-hot, rare ones together": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=60),
    "filled, one-hot": make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(**IGNORE)),
    "filled with the most frequent": make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**IGNORE)),
    "codes": OrdinalEncoder(**CODES, encoded_missing_value=-2),
    "codes, standardised": make_pipeline(OrdinalEncoder(**CODES, encoded_missing_value=-2), StandardScaler()),
    "codes, rare ones together": OrdinalEncoder(**CODES, encoded_missing_value=-3, min_frequency=60),
    "codes, one-hot": make_pipeline(OrdinalEncoder(**CODES, encoded_missing_value=-2), OneHotEncoder(**IGNORE)),
}
MODELS = {
    "regression": lambda: LogisticRegression(max_iter=3000),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=12, random_state=0),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step", OF_NUMBERS)
def test_numbers(step: str, model: str) -> None:
    """A model after the step is compiled and proven, except a regression on a clipped number, which is not linear."""
    frame, labels = book()
    encode = ColumnTransformer([("numbers", OF_NUMBERS[step], NUMBERS), ("text", OneHotEncoder(**IGNORE), CATEGORIES)])
    pipeline = Pipeline([("encode", encode), ("model", MODELS[model]())]).fit(frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert scorer.kind == {"regression": "pipeline" if "clipped" in step else "additive", "boosting": "trees"}[model]
    assert proof.max_difference <= 1e-12
    assert proof.rows > len(frame) + 2000 or scorer.kind == "pipeline"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step", OF_CATEGORIES)
def test_categories(step: str, model: str) -> None:
    """A model after the step is compiled and proven, with unknown and missing categories."""
    frame, labels = book()
    encode = ColumnTransformer([("text", OF_CATEGORIES[step], CATEGORIES)], remainder=FILLED)
    pipeline = Pipeline([("encode", encode), ("model", MODELS[model]())]).fit(frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert scorer.kind == {"regression": "additive", "boosting": "trees"}[model]
    assert proof.rows > len(frame) + 2000


@pytest.mark.parametrize(
    "chosen",
    [
        [0, 2, -1],
        slice(0, 1),
        np.array([True, False, True, False, False, False, True]),
        make_column_selector(pattern="amount|late"),
        ["late", "rate"],
    ],
    ids=["numbers", "slice", "mask", "selector", "names"],
)
def test_columns_are_found_however_they_are_chosen(chosen: Any) -> None:
    """Columns are selected by name, position, slice, mask or selector, and may change places."""
    frame, labels = book()
    frame = frame[["amount", "income", "rate", "grade", "purpose", "tenure", "late"]]
    numbers = make_pipeline(FILLED, StandardScaler())
    first = ColumnTransformer(
        [("chosen", numbers, chosen), ("text", OneHotEncoder(**IGNORE), CATEGORIES)], remainder=FILLED
    )
    pipeline = Pipeline([("encode", first), ("model", LogisticRegression(max_iter=500))]).fit(frame, labels)
    assert compiled(pipeline, frame)[0].kind == "additive"


def test_numbers_as_categories() -> None:
    """A small count that is one-hot or ordinal encoded is compiled."""
    frame, labels = book()
    encode = ColumnTransformer(
        [("hot", OneHotEncoder(**IGNORE), ["late"]), ("code", OrdinalEncoder(**CODES), ["late"])]
    )
    pipeline = Pipeline([("encode", encode), ("model", LogisticRegression())]).fit(frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert scorer.kind == "additive"
    assert proof.thresholds >= 2


def test_steps_after_steps_know_their_columns() -> None:
    """A second ColumnTransformer chooses among the first one's columns, by name or by position."""
    frame, labels = book()
    codes = OrdinalEncoder(**CODES, encoded_missing_value=-2)
    for named in (False, True):
        first = ColumnTransformer(
            [("codes", codes, CATEGORIES), ("numbers", FILLED, NUMBERS)], verbose_feature_names_out=False
        )
        chosen: list[Any] = [0, 1, 4] if not named else ["grade", "purpose", "rate"]
        if named:
            first.set_output(transform="pandas")
        second = ColumnTransformer([("scaled", StandardScaler(), chosen)], remainder="drop")
        pipeline = Pipeline([("first", first), ("second", second), ("model", LogisticRegression())]).fit(frame, labels)
        assert compiled(pipeline, frame)[0].kind == "additive"


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (make_pipeline(OneHotEncoder(**IGNORE, sparse_output=False), VarianceThreshold()), "VarianceThreshold"),
        (
            make_pipeline(OneHotEncoder(**IGNORE, sparse_output=False), FunctionTransformer(np.sqrt)),
            "FunctionTransformer",
        ),
    ],
)
def test_what_is_not_supported_is_said(step: Any, word: str) -> None:
    """The reason names the step, and the bundle has the pipeline."""
    frame, labels = book()
    encode = ColumnTransformer([("text", step, CATEGORIES)], remainder=FILLED)
    pipeline = Pipeline([("encode", encode), ("model", LogisticRegression())]).fit(frame, labels)
    given = reasons(pipeline, frame)
    assert sorted(given) == ["additive", "combined", "trees"]
    assert word in given["additive"]
    assert compiled(pipeline, frame)[0].kind == "pipeline"


def test_a_subclass_is_not_taken_for_its_parent() -> None:
    """A step of a derived class may behave differently, so it is not supported."""

    class Doubling(StandardScaler):
        def transform(self, X: Any, copy: Any = None) -> Any:
            return 2 * super().transform(X, copy)

    frame, labels = book()
    encode = ColumnTransformer([("numbers", Doubling(), ["amount", "rate"])])
    pipeline = Pipeline([("encode", encode), ("model", LogisticRegression())]).fit(frame, labels)
    assert "Doubling" in reasons(pipeline, frame)["additive"]
