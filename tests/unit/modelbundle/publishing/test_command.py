"""``python -m modelbundle publish``: from two files to a bundle, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelbundle.__main__ import main
from modelbundle.format import bundle
from modelbundle.publishing.publish import publish

RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(RNG.normal(size=(120, 3)), columns=["length", "width", "weight"])
KIND = pd.Series(np.where(FRAME["length"] > 0, "whale", "ant"), name="kind")


def run(folder: Path, model: Any, table: pd.DataFrame | None, ending: str = "parquet", label: str = "kind") -> int:
    joblib.dump(model, folder / "m.joblib")
    data = folder / f"t.{ending}"
    if table is not None:
        table.to_parquet(data) if ending == "parquet" else table.to_csv(data, index=False)
    return main(
        [
            "publish",
            str(folder / "m.joblib"),
            "--data",
            str(data),
            "--label",
            label,
            "--out",
            str(folder / "animals.bundle"),
        ]
    )


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_two_files_become_a_bundle(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns that the model does not take are left out; the last line says how it is deployed."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, KIND)
    table = pd.concat([pd.Series(range(120), name="row"), KIND, FRAME], axis=1)
    assert run(tmp_path, model, table, ending) == 0
    said = capsys.readouterr().out
    assert "additive scorer, proven equal on" in said
    assert f"make deploy BUNDLE={tmp_path / 'animals.bundle'}" in said
    made = bundle.read(tmp_path / "animals.bundle")
    assert made.schema.names == tuple(FRAME.columns)
    assert (made.manifest.name, made.manifest.positive) == ("animals", "kind is whale")
    assert made.answer(FRAME.iloc[0].tolist()).prediction == KIND[0]


def test_an_array_is_fitted_without_names(tmp_path: Path) -> None:
    """All columns but the label are the model's, in their order."""
    assert run(tmp_path, LogisticRegression().fit(FRAME.to_numpy(), KIND), pd.concat([FRAME, KIND], axis=1)) == 0


class Spaceless(ClassifierMixin, BaseEstimator):
    """Keeps the names of columns with underscores for spaces, as LightGBM does."""

    def fit(self, frame: pd.DataFrame, labels: Any) -> Spaceless:
        self.inner_ = GaussianNB().fit(frame.to_numpy(), labels)
        self.classes_ = self.inner_.classes_
        self.feature_names_in_ = np.array([name.replace(" ", "_") for name in frame.columns], dtype=object)
        return self

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return self.inner_.predict_proba(frame.to_numpy())

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.inner_.predict(frame.to_numpy())


def test_names_with_spaces_are_found_where_the_model_wrote_them_without(tmp_path: Path) -> None:
    """The schema has the file's own names."""
    frame = FRAME.rename(columns=lambda name: f"the {name}")
    assert run(tmp_path, Spaceless().fit(frame, KIND), pd.concat([KIND, frame], axis=1)) == 0
    made = bundle.read(tmp_path / "animals.bundle", allow_pickle=True)
    assert made.schema.names == ("the length", "the width", "the weight")


def test_without_an_author_the_file_gives_the_name(tmp_path: Path) -> None:
    """From Python too."""
    made = publish(LogisticRegression().fit(FRAME, KIND), FRAME, KIND, tmp_path / "Big Animals.bundle")
    assert made.manifest["name"] == "big-animals"


def wrong() -> list[tuple[str, Any, Any, str, str]]:
    good, table = LogisticRegression().fit(FRAME, KIND), pd.concat([FRAME, KIND], axis=1)
    missing = table.assign(kind=table["kind"].where(table.index > 3))
    return [
        ("regressor", LinearRegression().fit(FRAME, FRAME["length"]), table, "kind", "regressor"),
        ("no model", {"a": 1}, table, "kind", "predict_proba"),
        ("not fitted", LogisticRegression(), table, "kind", "fitted classifier"),
        ("no label", good, table, "species", "no column 'species'; it has length"),
        ("no file", good, None, "kind", "does not exist"),
        ("no column", good, table.drop(columns="width"), "kind", "not the columns width"),
        ("missing labels", good, missing, "kind", "4 missing values"),
        ("no rows", good, table[:0], "kind", "no rows"),
    ]


@pytest.mark.parametrize(("_", "model", "table", "label", "why"), wrong(), ids=[name for name, *_ in wrong()])
def test_what_is_wrong_is_said_in_one_line(
    _: str, model: Any, table: Any, label: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is left behind."""
    assert run(tmp_path, model, table, label=label) == 1
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "animals.bundle").exists()


def test_a_file_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.joblib").write_bytes(b"hello")
    FRAME.to_csv(tmp_path / "t.csv")
    (tmp_path / "u.csv").write_bytes(b"\x00\xff\xfe")
    for data in ("t.csv", "u.csv"):
        arguments = [
            "publish",
            str(tmp_path / "m.joblib"),
            "--data",
            str(tmp_path / data),
            "--label",
            "x",
            "--out",
            str(tmp_path / "o"),
        ]
        assert main(arguments) == 1
        assert capsys.readouterr().err.count("\n") == 1
