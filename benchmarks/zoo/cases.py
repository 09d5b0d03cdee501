"""The classifiers of the zoo: every kind that users bring, each with a small set of data."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

NUMBERS, CATEGORIES = ["a", "b", "d"], ["c", "g"]


@dataclass(frozen=True)
class Case:
    """A classifier and what it is fitted on. ``kind`` is the scorer that it gets; ``needs``, the package that it comes from."""

    name: str
    kind: str
    make: Callable[[], Any]
    frame: Callable[[], tuple[Any, Any]]
    needs: str = "sklearn"


def mixed(rows: int = 800) -> tuple[pd.DataFrame, Any]:
    """Numbers and texts with missing values, two classes."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": np.where(np.arange(rows) % 9 == 0, np.nan, 100 * rng.normal(size=rows)),
            "d": rng.integers(0, 5, rows) * 1.0,
            "c": pd.Series(rng.choice(["x", "y", "z"], rows)).mask(np.arange(rows) % 11 == 0),
            "g": rng.choice(list("ABCDEFGH"), rows),
        }
    )
    risk = frame["a"] + 0.01 * frame["b"].fillna(0) + (frame["c"] == "x")
    return frame, (risk + rng.normal(size=rows) > 0.5).astype(int).to_numpy()


def whole() -> tuple[Any, Any]:
    """The same without missing values."""
    frame, labels = mixed()
    return frame.assign(b=frame["b"].fillna(0.0), c=frame["c"].fillna("y")), labels


def numbers() -> tuple[Any, Any]:
    """Its numbers, with missing values."""
    frame, labels = mixed()
    return frame[NUMBERS], labels


def whole_numbers() -> tuple[Any, Any]:
    """Its numbers, without missing values."""
    frame, labels = whole()
    return frame[NUMBERS], labels


def typed() -> tuple[Any, Any]:
    """With texts as pandas' categories, for models that take them as they are."""
    frame, labels = mixed()
    return frame.astype(dict.fromkeys(CATEGORIES, "category")), labels


def three() -> tuple[Any, Any]:
    """The mixed columns, three classes."""
    frame, _ = mixed()
    return frame, np.digitize(frame["a"] + 0.01 * frame["b"].fillna(0), [-0.5, 0.5])


def iris() -> tuple[Any, Any]:
    """Four numbers, three classes."""
    data = load_iris(as_frame=True)
    return data.data, data.target.to_numpy()


def digits() -> tuple[Any, Any]:
    """64 numbers, ten classes."""
    data = load_digits(as_frame=True)
    return data.data[:500], data.target[:500].to_numpy()


def cancer() -> tuple[Any, Any]:
    """30 numbers, two classes."""
    data = load_breast_cancer(as_frame=True)
    return data.data, data.target.to_numpy()


def encoded(model: Any, scale: Any = None) -> Any:
    """A pipeline of medians, scaling, one-hot columns, and the model."""
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), scale or StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
    )
    return make_pipeline(columns, model)


def vote() -> Any:
    """Three kinds of model with weights."""
    parts = [
        ("linear", LogisticRegression()),
        ("forest", RandomForestClassifier(10, random_state=0)),
        ("boosting", HistGradientBoostingClassifier(max_iter=10)),
    ]
    return encoded(VotingClassifier(parts, voting="soft", weights=[1, 2, 3]))


def targets(model: Any) -> Any:
    """Categories by the mean of their outcome."""
    return make_pipeline(make_column_transformer((TargetEncoder(), CATEGORIES), ("passthrough", NUMBERS)), model)


def ebm(**options: Any) -> Any:
    """interpret's explainable boosting machine."""
    from interpret.glassbox import ExplainableBoostingClassifier

    return ExplainableBoostingClassifier(max_rounds=30, outer_bags=2, random_state=0, n_jobs=1, **options)


def booster(module: str, name: str, **options: Any) -> Any:
    """A classifier of another package."""
    return getattr(importlib.import_module(module), name)(**options)


LR, FOREST, GB, HGB = (
    LogisticRegression,
    RandomForestClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
)
CASES = [
    Case("LogisticRegression", "additive", lambda: encoded(LR()), mixed),
    Case("LogisticRegression, OneHotEncoder() as it comes", "additive", lambda: make_pipeline(make_column_transformer((OneHotEncoder(), CATEGORIES), ("passthrough", ["a", "d"])), LR()), whole),
    Case("LogisticRegression, three classes", "combined", lambda: encoded(LR()), three),
    Case("ExplainableBoostingClassifier", "additive", lambda: ebm(interactions=2), mixed, "interpret"),
    Case("ExplainableBoostingClassifier, three classes", "combined", lambda: ebm(interactions=0), three, "interpret"),
    Case("DecisionTreeClassifier", "trees", lambda: DecisionTreeClassifier(max_depth=6), cancer),
    Case("DecisionTreeClassifier, ten classes", "combined", lambda: DecisionTreeClassifier(max_depth=8), digits),
    Case("RandomForestClassifier, 100 trees", "trees", lambda: FOREST(100, max_depth=8, random_state=0), cancer),
    Case("RandomForestClassifier, three classes", "combined", lambda: FOREST(20, random_state=0), iris),
    Case("ExtraTreesClassifier, ten classes", "combined", lambda: ExtraTreesClassifier(10, max_depth=8, random_state=0), digits),
    Case("GradientBoostingClassifier", "trees", lambda: GB(n_estimators=30, random_state=0), cancer),
    Case("GradientBoostingClassifier, three classes", "combined", lambda: GB(n_estimators=10, random_state=0), iris),
    Case("HistGradientBoostingClassifier", "trees", lambda: HGB(max_iter=30), cancer),
    Case("HistGradientBoostingClassifier, native categories", "trees", lambda: HGB(max_iter=20, categorical_features="from_dtype"), typed),
    Case("HistGradientBoostingClassifier, ten classes", "combined", lambda: HGB(max_iter=3), digits),
    Case("AdaBoostClassifier", "additive", lambda: AdaBoostClassifier(n_estimators=20, random_state=0), whole_numbers),
    Case("AdaBoostClassifier, three classes", "combined", lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=20, random_state=0), iris),
    Case("VotingClassifier, soft", "combined", vote, mixed),
    Case("BaggingClassifier", "combined", lambda: BaggingClassifier(DecisionTreeClassifier(max_depth=5), 10, max_features=0.7, random_state=0), numbers),
    Case("BaggingClassifier of pipelines' LogisticRegression", "combined", lambda: encoded(BaggingClassifier(LR(), 5, random_state=0)), mixed),
    Case("CalibratedClassifierCV, sigmoid, frozen", "additive", lambda: CalibratedClassifierCV(FrozenEstimator(encoded(LR()).fit(*mixed()))), mixed),
    Case("CalibratedClassifierCV, sigmoid, cv=3", "combined", lambda: encoded(CalibratedClassifierCV(LR(), cv=3)), mixed),
    Case("CalibratedClassifierCV, isotonic, cv=3", "combined", lambda: encoded(CalibratedClassifierCV(HGB(max_iter=10), cv=3, method="isotonic")), mixed),
    Case("CalibratedClassifierCV of a forest", "combined", lambda: CalibratedClassifierCV(encoded(FOREST(10, random_state=0)), cv=3), mixed),
    Case("FixedThresholdClassifier", "additive", lambda: FixedThresholdClassifier(encoded(LR()), threshold=0.1), mixed),
    Case("GridSearchCV", "additive", lambda: GridSearchCV(encoded(LR()), {"logisticregression__C": [0.1, 1.0]}), mixed),
    Case("TargetEncoder, then boosting", "trees", lambda: targets(HGB(max_iter=20)), mixed),
    Case("PowerTransformer, then a forest", "trees", lambda: encoded(FOREST(10, random_state=0), PowerTransformer()), mixed),
    Case("QuantileTransformer, then boosting", "additive", lambda: make_pipeline(QuantileTransformer(n_quantiles=50), GB(n_estimators=10, random_state=0)), whole_numbers),
    Case("PowerTransformer, then LogisticRegression", "pipeline", lambda: make_pipeline(PowerTransformer(), LR()), whole_numbers),
    Case("PolynomialFeatures", "pipeline", lambda: make_pipeline(PolynomialFeatures(2), StandardScaler(), LR()), whole_numbers),
    Case("SplineTransformer", "pipeline", lambda: make_pipeline(SplineTransformer(), LR()), whole_numbers),
    Case("SVC(probability=True)", "pipeline", lambda: make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)), whole_numbers),
    Case("GaussianNB", "pipeline", GaussianNB, whole_numbers),
    Case("KNeighborsClassifier", "pipeline", KNeighborsClassifier, whole_numbers),
    Case("MLPClassifier", "pipeline", lambda: encoded(MLPClassifier((8,), max_iter=30, random_state=0)), mixed),
    Case("XGBClassifier", "trees", lambda: booster("xgboost", "XGBClassifier", n_estimators=50), numbers, "xgboost"),
    Case("XGBClassifier, native categories", "trees", lambda: booster("xgboost", "XGBClassifier", n_estimators=30, enable_categorical=True), typed, "xgboost"),
    Case("XGBClassifier in a pipeline", "trees", lambda: encoded(booster("xgboost", "XGBClassifier", n_estimators=30)), mixed, "xgboost"),
    Case("XGBClassifier, three classes", "combined", lambda: booster("xgboost", "XGBClassifier", n_estimators=20), iris, "xgboost"),
    Case("XGBClassifier, dart", "trees", lambda: booster("xgboost", "XGBClassifier", n_estimators=20, booster="dart", rate_drop=0.3), numbers, "xgboost"),
    Case("XGBRFClassifier", "trees", lambda: booster("xgboost", "XGBRFClassifier", n_estimators=20), numbers, "xgboost"),
    Case("LGBMClassifier", "trees", lambda: booster("lightgbm", "LGBMClassifier", n_estimators=50, verbose=-1), numbers, "lightgbm"),
    Case("LGBMClassifier, native categories", "trees", lambda: booster("lightgbm", "LGBMClassifier", n_estimators=50, verbose=-1), typed, "lightgbm"),
    Case("LGBMClassifier, three classes", "combined", lambda: booster("lightgbm", "LGBMClassifier", n_estimators=10, verbose=-1), iris, "lightgbm"),
    Case("CatBoostClassifier", "trees", lambda: booster("catboost", "CatBoostClassifier", iterations=50, verbose=0, allow_writing_files=False), numbers, "catboost"),
    Case("CatBoostClassifier, three classes", "combined", lambda: booster("catboost", "CatBoostClassifier", iterations=20, verbose=0, allow_writing_files=False), iris, "catboost"),
    Case("CatBoostClassifier, native categories", "pipeline", lambda: booster("catboost", "CatBoostClassifier", iterations=20, verbose=0, cat_features=CATEGORIES, allow_writing_files=False), whole, "catboost"),
]  # fmt: skip


def installed(case: Case) -> bool:
    """Whether the package of a case is there."""
    return importlib.util.find_spec(case.needs) is not None
