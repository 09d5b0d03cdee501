"""Bundles to test with: small, real, made once per session."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from xdist.scheduler import LoadScopeScheduling

from benchmarks.swaps import forests
from modelbundle.publishing.annotations import Author, Band, FeatureWords
from modelbundle.publishing.publish import Published, publish
from tests.attacks import plugin

SHIPPED = Path(__file__).parents[1] / "models" / "late-payers.bundle"

GRADES = ["A", "B", "C", "D"]
LOAN: dict[str, Any] = {"amount": 12000, "int_rate": 0.13, "grade": "C", "purpose": "car", "emp_length": None}
WORDS = {
    "amount": FeatureWords(
        title="Loan amount", unit="USD", minimum=0, high="The loan is large", low="The loan is small"
    ),
    "int_rate": FeatureWords(title="Interest rate", minimum=0, maximum=1, disclosable=False),
    "emp_length": FeatureWords(title="Years in job", minimum=0, missing="You did not say how long you have your job"),
    "purpose": FeatureWords(title="Purpose", values={"boat": "Loans for boats are repaid late more often"}),
}
BANDS = [Band("low", 0.1, 0.05, 0.4), Band("moderate", 0.3, 0.2, 0.4), Band("high", 1.0, 0.5, 0.2)]

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes hangs on the machine
hypothesis.settings.load_profile("any machine")


class ByPlace(LoadScopeScheduling):
    """What shares a system stays in one process: the folders with one for all of their tests, otherwise each file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder in ("tests/browser", "tests/e2e") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPlace:
    """How tests are shared out with ``-n``."""
    return ByPlace(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked as an attack says so in its report."""
    for item in items:
        plugin.mark(item)


@dataclass(frozen=True)
class Made:
    """A published model and what it was made of."""

    published: Published
    pipeline: Any
    frame: pd.DataFrame

    @property
    def path(self) -> Path:
        return self.published.path

    @property
    def sha256(self) -> str:
        return self.published.sha256


def make_book(rows: int = 1500, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    """A small book of loans with a missing column, and who was late."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.integers(10, 400, rows) * 100.0,
            "int_rate": np.round(rng.uniform(0.05, 0.3, rows), 4),
            "grade": rng.choice(GRADES, rows),
            "purpose": rng.choice(["boat", "car", "house"], rows),
            "emp_length": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(0, 11, rows)),
        }
    )
    risk = 6 * frame["int_rate"] + 0.4 * frame["grade"].map(GRADES.index) - 2.8 + 0.5 * (frame["purpose"] == "boat")
    return frame, (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int64)


def make_ebm(seed: int) -> Pipeline:
    """A small explainable boosting machine behind an ordinal encoding, like the champion."""
    from interpret.glassbox import ExplainableBoostingClassifier

    encode = ColumnTransformer(
        [
            (
                "ordered",
                OrdinalEncoder(
                    categories=[GRADES],
                    handle_unknown="use_encoded_value",
                    unknown_value=np.nan,
                    encoded_missing_value=np.nan,
                ),
                ["grade"],
            ),
            ("as_is", "passthrough", ["amount", "int_rate", "purpose", "emp_length"]),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = ExplainableBoostingClassifier(
        feature_types=["continuous", "continuous", "continuous", "nominal", "continuous"],
        interactions=2,
        max_bins=32,
        outer_bags=2,
        max_rounds=30,
        random_state=seed,
        n_jobs=1,
    )
    return Pipeline([("encode", encode), ("model", model)])


def make_logistic(c: float = 1.0) -> Pipeline:
    """A pipeline of plain scikit-learn steps, without a scaler for missing values: emp_length is left out."""
    encode = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["amount", "int_rate"]),
            ("text", OneHotEncoder(handle_unknown="ignore"), ["grade", "purpose"]),
        ]
    )
    return Pipeline([("encode", encode), ("model", LogisticRegression(C=c))])


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    """Two additive bundles that answer differently."""
    return make_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a forest whose tables have more than a megabyte, so that processes share them."""
    return forests.make(SHIPPED, tmp_path_factory.mktemp("forest") / "forest.bundle", 1.5, depth=9)


def make_bundles(folder: Path) -> list[Made]:
    """The same, in a folder."""
    made = []
    for seed, name in enumerate(("first", "second")):
        frame, labels = make_book(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # interpret: its own plots cannot show missing values
            pipeline = make_ebm(seed).fit(frame, labels)
        author = Author(name, f"The {name}", "late", WORDS, BANDS, {"data": "made up"}, {"roc_auc": 0.7}, "# Card")
        made.append(Made(publish(pipeline, frame, labels, folder / f"{name}.bundle", author=author), pipeline, frame))
    return made
