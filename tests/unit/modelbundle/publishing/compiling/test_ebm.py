"""interpret's explainable boosting machine: after an ordinal encoding, like the champion, and on the frame itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from interpret.glassbox import ExplainableBoostingClassifier
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from modelbundle.schema import Schema
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.bins import CategoryBins, NumberBins
from tests.unit.modelbundle.books import GRADES, TENURES, book, compiled, reasons, rows_of

REST = ["amount", "rate", "purpose", "income", "late"]


def machine(types: list[str], **settings: Any) -> ExplainableBoostingClassifier:
    """A small machine with pairs."""
    return ExplainableBoostingClassifier(
        feature_types=types,
        **{"interactions": 5, "outer_bags": 3, "max_rounds": 40, "n_jobs": 1, "random_state": 0, **settings},
    )


def fit(model: Any, frame: pd.DataFrame, labels: NDArray[np.int64]) -> Any:
    """Fitted, without interpret's warning about its own plots of missing values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return model.fit(frame, labels)


def ordinal(unknown: float = np.nan, missing: float = np.nan) -> OrdinalEncoder:
    """Grades and years in the job by their order."""
    return OrdinalEncoder(
        categories=[list(GRADES), list(TENURES)],
        handle_unknown="use_encoded_value",
        unknown_value=unknown,
        encoded_missing_value=missing,
    )


def like_the_champion(encoder: Any, **settings: Any) -> Pipeline:
    """Ordered categories as numbers, the rest as it is, then the machine."""
    encode = ColumnTransformer(
        [("ordered", encoder, ["grade", "tenure"]), ("as_is", "passthrough", REST)], verbose_feature_names_out=False
    ).set_output(transform="pandas")
    types = ["nominal" if name == "purpose" else "continuous" for name in ("grade", "tenure", *REST)]
    return Pipeline([("encode", encode), ("model", machine(types, **settings))])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_bins": 8, "max_interaction_bins": 4},
        {"max_bins": 256, "max_interaction_bins": 16},
        {"interactions": 0, "outer_bags": 1},
        {"interactions": [(0, 1), (1, 5), (2, 4), (4, 0)]},
    ],
    ids=["defaults", "few bins", "coarser pairs", "no pairs", "chosen pairs"],
)
def test_after_an_ordinal_encoding(settings: dict[str, Any]) -> None:
    """The tables have all pairs and are proven on all rows, thresholds, unknown and missing values."""
    frame, labels = book()
    pipeline = fit(like_the_champion(ordinal(), **settings), frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert isinstance(scorer, AdditiveScorer)
    assert proof.max_difference <= 1e-12
    assert proof.rows >= len(frame) + 2000
    assert len(scorer.pairs) == sum(len(term) == 2 for term in pipeline[-1].term_features_)


@pytest.mark.parametrize("codes", [(-1, -2), (np.nan, -1), (99, np.nan)], ids=str)
def test_unknown_and_missing_have_the_codes_they_are_given(codes: tuple[float, float]) -> None:
    """Unknown and missing categories are in the bins of their codes, or in the bin of missing values."""
    frame, labels = book()
    pipeline = fit(like_the_champion(ordinal(*codes)), frame, labels)
    assert compiled(pipeline, frame)[0].kind == "additive"


def test_numbers_that_are_filled_and_scaled_first() -> None:
    """The cuts are the raw values whose scaled values are the machine's cuts."""
    frame, labels = book()
    frame = frame[["amount", "rate", "income"]]
    steps = make_pipeline(StandardScaler(), SimpleImputer(strategy="median"))
    pipeline = fit(Pipeline([("encode", steps), ("model", machine(["continuous"] * 3))]), frame, labels)
    scorer, proof = compiled(pipeline, frame)
    assert scorer.kind == "additive"
    assert proof.thresholds > 100


def test_on_the_frame_itself() -> None:
    """Nominal columns are compared as strings; missing and unknown labels have separate scores."""
    frame, labels = book()
    types = ["continuous", "nominal", "continuous", "nominal", "continuous", "nominal", "continuous"]
    scorer, _ = compiled(fit(machine(types), frame, labels), frame)
    assert isinstance(scorer, AdditiveScorer)
    assert [type(bins) for bins in scorer.bins] == [CategoryBins if t == "nominal" else NumberBins for t in types]


def test_contributions_are_the_machines_terms() -> None:
    """A feature's contribution is its term, and half of each pair's, less their averages over the training rows."""
    frame, labels = book()
    pipeline = fit(like_the_champion(ordinal()), frame, labels)
    scorer, _ = compiled(pipeline, frame)
    terms = pipeline[-1].eval_terms(pipeline[:-1].transform(frame))
    order = ["grade", "tenure", *REST]
    expected = np.zeros((len(frame), len(order)))
    for inputs, term in zip(pipeline[-1].term_features_, terms.T, strict=True):
        for k in inputs:
            expected[:, list(frame.columns).index(order[k])] += (term - term.mean()) / len(inputs)
    for row, contributions in zip(rows_of(Schema.from_frame(frame), frame)[:50], expected, strict=False):
        assert scorer.explain_row(row)[1] == pytest.approx(contributions.tolist(), abs=1e-9)


def test_changed_scores_are_followed() -> None:
    """The compiled scorer has the scores of the machine that an author has edited."""
    frame, labels = book()
    pipeline = fit(like_the_champion(ordinal()), frame, labels)
    before, _ = compiled(pipeline, frame)
    pipeline[-1].term_scores_[4][1] += 1.0
    after, proof = compiled(pipeline, frame)
    row = next(r for r in rows_of(Schema.from_frame(frame), frame) if r[3] == "boat")
    assert after.score_row(row) == pytest.approx(before.score_row(row) + 1.0)
    assert proof.max_difference <= 1e-12


def test_a_category_that_is_encoded_and_then_nominal_is_not_supported() -> None:
    """The machine would compare codes as strings, so the pipeline answers."""
    frame, labels = book()
    encode = ColumnTransformer([("ordered", ordinal(), ["grade", "tenure"])]).set_output(transform="pandas")
    pipeline = Pipeline([("encode", encode), ("model", machine(["nominal", "continuous"]))])
    assert "a number as a category" in reasons(fit(pipeline, frame, labels), frame)["additive"]
