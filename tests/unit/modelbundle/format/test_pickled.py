# ruff: noqa: E501
"""Plain files of every shape: the schema comes from whatever encoders are inside, and the answers are the classifier's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from modelbundle.errors import FormatError
from modelbundle.format import bundle
from modelbundle.model import Model

ROWS = 150
RNG = np.random.default_rng(0)
X = RNG.normal(size=ROWS)
LABELS = (X > 0).astype(int)
TEXT = np.where(X > 0.3, "high", np.where(X < -0.3, "low", "middle"))
FRAME = pd.DataFrame({"x": X, "c": TEXT})


def hot(**options: Any) -> Any:
    encoder = OneHotEncoder(**{"handle_unknown": "ignore", **options})
    return make_column_transformer((encoder, ["c"]), ("passthrough", ["x"]))


def read(model: Any, folder: Path) -> Model:
    joblib.dump(model, folder / "own model.joblib")
    return bundle.read(folder / "own model.joblib")


AROUND = [
    ("a search", GridSearchCV(make_pipeline(hot(), LogisticRegression()), {"logisticregression__C": [1.0]})),
    ("a vote", VotingClassifier([("a", make_pipeline(hot(), LogisticRegression())), ("b", make_pipeline(hot(), RandomForestClassifier(3)))], voting="soft")),
    ("a calibration", CalibratedClassifierCV(make_pipeline(hot(), LogisticRegression()), cv=2)),
    ("two of them", GridSearchCV(CalibratedClassifierCV(make_pipeline(hot(), LogisticRegression()), cv=2), {"cv": [2]})),
    ("a bag inside", make_pipeline(hot(), BaggingClassifier(LogisticRegression(), 2))),
    ("a step before", make_pipeline(make_column_transformer((OrdinalEncoder(), ["c"]), remainder="passthrough"), StandardScaler(), LogisticRegression())),
    ("native categories", HistGradientBoostingClassifier(max_iter=3, categorical_features=["c"])),
]  # fmt: skip


@pytest.mark.parametrize(("_", "model"), AROUND, ids=[name for name, _ in AROUND])
def test_an_encoder_is_found_wherever_it_is(_: str, model: Any, tmp_path: Path) -> None:
    """The text column is a category, and the answers are those of the object."""
    served = read(model.fit(FRAME, LABELS), tmp_path)
    assert [feature.kind for feature in served.schema] == ["number", "category"]
    assert served.manifest.name == "own-model"
    found = [answer.predict_proba for answer in served.answers([X, list(TEXT)])]
    assert np.array(found) == pytest.approx(model.predict_proba(FRAME), abs=1e-12)


def test_categories_of_pandas_are_taken_from_the_frame(tmp_path: Path) -> None:
    """Histogram boosting that was told by the types."""
    frame = FRAME.astype({"c": "category"})
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype").fit(frame, LABELS)
    served = read(model, tmp_path)
    found = [answer.predict_proba for answer in served.answers([X, list(TEXT)])]
    assert np.array(found) == pytest.approx(model.predict_proba(frame), abs=1e-12)


def test_none_that_an_encoder_knows_is_not_nan(tmp_path: Path) -> None:
    """It has a column of its own in the encoding."""
    frame = FRAME.assign(c=pd.Series([None if k % 7 == 0 else text for k, text in enumerate(TEXT)], dtype=object))
    model = make_pipeline(hot(), LogisticRegression()).fit(frame, LABELS)
    served = read(model, tmp_path)
    missing = served.answer([0.1, None])
    expected = model.predict_proba(pd.DataFrame({"x": [0.1], "c": pd.Series([None], dtype=object)}))[0]
    assert missing.predict_proba == pytest.approx(expected.tolist(), abs=1e-12)


def test_free_texts_may_be_long(tmp_path: Path) -> None:
    """TF-IDF: no value counts as unseen, and a page of text is accepted."""
    texts = pd.DataFrame({"c": [f"{word} " * 80 for word in TEXT]})
    encode = make_column_transformer((TfidfVectorizer(), "c"))
    model = make_pipeline(encode, LogisticRegression()).fit(texts, LABELS)
    served = read(model, tmp_path)
    asked = served.validator.record({"c": "high " * 2000})
    assert asked.warnings == []
    expected = model.predict_proba(pd.DataFrame({"c": ["high " * 2000]}))[0].tolist()
    assert served.answer(asked.row).predict_proba == pytest.approx(expected, abs=1e-12)


def test_what_was_fitted_on_an_array(tmp_path: Path) -> None:
    """Columns x0, x1, …, as scikit-learn names them."""
    array = np.column_stack([X, X**2])
    served = read(RandomForestClassifier(3, random_state=0).fit(array, LABELS), tmp_path)
    assert served.schema.names == ("x0", "x1")


def test_an_unseen_category_is_refused_by_name_where_the_encoder_raises(tmp_path: Path) -> None:
    """The feature is closed."""
    model = make_pipeline(hot(handle_unknown="error"), LogisticRegression()).fit(FRAME, LABELS)
    assert [feature.closed for feature in read(model, tmp_path).schema] == [False, True]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"a": 1}, "only fitted classifiers"),
        (LinearRegression().fit(FRAME[["x"]], LABELS), "only fitted classifiers"),
        (LogisticRegression(), "only fitted classifiers"),
        (np.arange(3), "only fitted classifiers"),
    ],
)
def test_what_is_no_classifier(model: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=why):
        read(model, tmp_path)
