"""Training frames of every kind of column are published and scored with the pipeline's own bits, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from modelbundle.errors import CannotScore, PublishError
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.publishing.publish import publish
from modelbundle.validation.problems import Invalid

ROWS = 200
RNG = np.random.default_rng(0)
X = RNG.normal(size=ROWS)
LABELS = (X + 0.5 * RNG.normal(size=ROWS) > 0).astype(int)
WHOLE = np.round(3 * X)
GAPS = np.arange(ROWS) % 7 == 0
TEXT = np.where(X > 0.3, "high", np.where(X < -0.3, "low", "middle"))


def served(pipeline: Any, frame: Any, tmp_path: Path, labels: Any = LABELS) -> Model:
    """The model that a replica loads, after it gave the pipeline's answers to every training row."""
    made = publish(pipeline.fit(frame, labels), frame, labels, tmp_path / "m.bundle")
    return bundle.read(made.path)


def hot(column: str = "c") -> Any:
    return make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [column]), remainder="passthrough"),
        LogisticRegression(),
    )


def numeric() -> Any:
    return make_pipeline(SimpleImputer(), LogisticRegression())


@pytest.mark.parametrize(
    ("column", "sent", "value"),
    [
        (pd.Series(X > 0), 1.0, True),
        (pd.array(np.where(GAPS, None, X > 0), dtype="boolean"), None, pd.NA),
        (pd.array(np.where(GAPS, None, WHOLE), dtype="Int64"), None, pd.NA),
        (pd.array(np.where(GAPS, None, WHOLE), dtype="Int64"), 2.0, 2),
        (pd.Series(np.where(GAPS, np.nan, WHOLE)).astype("float32"), 1.0, 1.0),
        (pd.Series(np.where(GAPS, None, WHOLE)).astype("float64").astype("int64[pyarrow]"), 1.0, 1),
    ],
    ids=["bool", "boolean with NA", "Int64 with NA", "Int64", "float32", "int64[pyarrow] with NA"],
)
def test_numbers_of_every_type(column: Any, sent: float | None, value: Any, tmp_path: Path) -> None:
    """What the API takes as a number or null is what the pipeline was fitted on, missing values included."""
    frame = pd.DataFrame({"x": X, "c": column})
    pipeline = make_pipeline(FunctionTransformer(floats), SimpleImputer(), LogisticRegression())
    model = served(pipeline, frame, tmp_path)
    one = pd.DataFrame({"x": [0.25], "c": pd.array([value], dtype=frame["c"].dtype)})
    asked = model.validator.record({"x": 0.25, "c": sent})
    assert model.answer(asked.row).predict_proba[1] == pytest.approx(pipeline.predict_proba(one)[0, 1], abs=1e-12)


def floats(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"c": "Float64"}).astype({"c": "float64"})


def test_dates_are_seconds_since_1970(tmp_path: Path) -> None:
    """The schema states the encoding; the pipeline gets dates again, also where they were of another unit or zone."""
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.round(30 * X), unit="D")

    pipeline = make_pipeline(FunctionTransformer(ages), LogisticRegression())
    frame = pd.DataFrame({"x": X, "c": pd.Series(days)})
    model = served(pipeline, frame, tmp_path)
    feature = model.schema.features[1]
    assert (feature.kind, feature.description) == ("number", "seconds since 1970-01-01 00:00 UTC")
    seconds = pd.Timestamp("2024-02-03 04:05:06").timestamp()
    one = pd.DataFrame({"x": [0.1], "c": [pd.Timestamp("2024-02-03 04:05:06")]})
    assert model.answer([0.1, seconds]).predict_proba[1] == pytest.approx(pipeline.predict_proba(one)[0, 1], abs=1e-12)


def ages(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(c=(frame["c"] - pd.Timestamp("2024-01-01")).dt.days)


@pytest.mark.parametrize("missing", [None, np.nan], ids=["None", "NaN"])
@pytest.mark.parametrize("dtype", [object, "category", "str"])
def test_categories_of_every_type_and_their_missing_values(missing: Any, dtype: Any, tmp_path: Path) -> None:
    """An encoder tells None from NaN: the pipeline gets the one that it was fitted on."""
    frame = pd.DataFrame(
        {"x": X, "c": pd.Series([missing if gap else text for gap, text in zip(GAPS, TEXT, strict=True)], dtype=object)}
    )
    frame["c"] = frame["c"].astype(dtype)
    model = served(pipeline := hot(), frame, tmp_path)
    one = frame[GAPS].iloc[:1]
    row = [float(one["x"].iloc[0]), None]
    assert model.answer(row).predict_proba[1] == pytest.approx(pipeline.predict_proba(one)[0, 1], abs=1e-12)


def test_native_categories_need_their_type(tmp_path: Path) -> None:
    """Histogram boosting takes categories from the frame's types, texts and whole numbers."""
    frame = pd.DataFrame({"x": X, "c": pd.Categorical(TEXT), "n": pd.Categorical(WHOLE.astype(int))})
    model = served(HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"), frame, tmp_path)
    assert [feature.kind for feature in model.schema] == ["number", "category", "number"]


@pytest.mark.parametrize("names", [[0, 1], ["self", "x"], ["band", "error"], ["id", "records"]])
def test_odd_names(names: list[Any], tmp_path: Path) -> None:
    """Numbers as names, names of arguments, names of the answer's columns."""
    frame = pd.DataFrame(np.column_stack([X, WHOLE]), columns=names)
    model = served(numeric(), frame, tmp_path)
    assert list(model.schema.names) == [str(name) for name in names]


def test_arrays_and_polars_frames(tmp_path: Path) -> None:
    """An array's columns get the names that scikit-learn gives them."""
    array = np.column_stack([X, WHOLE])
    assert served(numeric(), array, tmp_path).schema.names == ("x0", "x1")
    tree = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=3))
    assert served(tree, array, tmp_path).schema.names == ("x0", "x1")


def test_a_closed_category_is_refused_by_name(tmp_path: Path) -> None:
    """``OneHotEncoder()`` as it comes raises for categories that training had not: the request gets the feature and the rule."""
    rare = np.where(np.arange(ROWS) == 0, "once", TEXT)
    frame = pd.DataFrame({"x": X, "c": rare})
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough"), LogisticRegression()
    )
    model = served(pipeline, frame, tmp_path)
    assert model.schema.features[1].closed
    assert model.schema.to_json()["features"][1]["closed"] is True
    assert model.validator.record({"x": 0.0, "c": "once"}).row == [
        0.0,
        "once",
    ]  # rare, so not named, and it can be scored
    with pytest.raises(Invalid) as refused:
        model.validator.record({"x": 0.0, "c": "purple"})
    assert (refused.value.problems[0].pointer, "category that training has" in refused.value.problems[0].detail) == (
        "/c",
        True,
    )
    with pytest.raises(Invalid):
        model.validator.records([{"x": 0.0, "c": "high"}, {"x": 0.0, "c": "purple"}], 10)


def wrong_columns() -> list[tuple[str, Any, str]]:
    return [
        ("nothing", pd.Series([None] * ROWS, dtype=object), "has no values"),
        ("lists", pd.Series([[1]] * ROWS), "neither numbers nor strings"),
        ("mixed", pd.Series(["a", 1] * (ROWS // 2), dtype=object), "neither numbers nor strings"),
        ("complex", pd.Series(X + 1j), "neither numbers nor strings"),
        ("infinite", pd.Series(np.where(GAPS, np.inf, X)), "infinite"),
    ]


@pytest.mark.parametrize(("name", "column", "why"), wrong_columns(), ids=[name for name, *_ in wrong_columns()])
def test_what_cannot_be_published_is_said_in_a_sentence(name: str, column: Any, why: str, tmp_path: Path) -> None:
    """Never the exception of a library."""
    del name
    frame = pd.DataFrame({"x": X, "c": column})
    fitted = LogisticRegression().fit(frame[["x"]], LABELS)
    with pytest.raises(PublishError, match=why):
        publish(
            make_pipeline(make_column_transformer(("passthrough", ["x"])), fitted).fit(frame, LABELS),
            frame,
            LABELS,
            tmp_path / "m",
        )
    assert not (tmp_path / "m").exists()


def test_frames_that_do_not_belong_to_the_pipeline(tmp_path: Path) -> None:
    """Other columns, none, twice the same, or no frame at all."""
    frame = pd.DataFrame({"x": X, "y": WHOLE})
    pipeline = numeric().fit(frame, LABELS)
    for other, why in (
        (frame[["y", "x"]], "in the same order"),
        (frame[:0], "no rows"),
        (frame.set_axis(["x", "x"], axis=1), "the same name"),
        ([[1, 2]], "must be a DataFrame"),
        (X, "one row per case"),
        (frame.to_numpy()[:, :1], "fitted on|columns"),
    ):
        with pytest.raises(PublishError, match=why):
            publish(pipeline, other, LABELS, tmp_path / "m")
    nameless = frame.set_axis(["x", ""], axis=1)
    with pytest.raises(PublishError, match="no name"):
        publish(numeric().fit(nameless, LABELS), nameless, LABELS, tmp_path / "m")


def test_a_lambda_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """What cannot be pickled cannot be served."""
    frame = pd.DataFrame({"x": X, "y": WHOLE})
    pipeline = make_pipeline(FunctionTransformer(lambda f: f * 2), LogisticRegression()).fit(frame, LABELS)
    with pytest.raises(PublishError, match="cannot be pickled"):
        publish(pipeline, frame, LABELS, tmp_path / "m")


def test_a_function_of_the_script_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica has no such script."""
    frame = pd.DataFrame({"x": X, "y": WHOLE})
    import __main__

    monkeypatch.setattr(floats, "__module__", "__main__")
    monkeypatch.setattr(__main__, "floats", floats, raising=False)
    pipeline = make_pipeline(FunctionTransformer(floats), LogisticRegression())
    frame["c"] = WHOLE
    with pytest.raises(PublishError, match="a module that is installed"):
        publish(pipeline.fit(frame, LABELS), frame, LABELS, tmp_path / "m")


def test_rows_that_the_pipeline_refuses_are_named_and_the_others_are_scored(tmp_path: Path) -> None:
    """A forest of three classes refuses numbers beyond float32, and says so for exactly these rows."""
    from sklearn.neighbors import KNeighborsClassifier

    frame = pd.DataFrame({"x": X, "y": WHOLE})
    model = served(KNeighborsClassifier(), frame, tmp_path)
    columns: list[Any] = [np.array([0.0, 1e200, 1.0, np.nan, 2.0]), np.array([1.0, 1e200, 1.0, 1.0, 1.0])]
    with pytest.raises(CannotScore) as raised:
        model.answers(columns)
    assert 3 in raised.value.rows
    assert 0 not in raised.value.rows
    last = model.last_class(columns)
    assert np.isnan(last[3])
    assert last[0] == model.answer([0.0, 1.0]).predict_proba[1]
