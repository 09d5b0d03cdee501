"""Every candidate fits the raw ten columns, answers for any loan, and is the same each time."""

from __future__ import annotations

import io

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from late_payers import pipelines
from late_payers.features import COLUMNS

pytestmark = pytest.mark.filterwarnings("ignore:Missing values detected")  # about interpret's own plots

Book = tuple[pd.DataFrame, NDArray[np.int64]]

FAST = {**pipelines.CANDIDATES, "champion": lambda: pipelines.champion(bags=2)}

STRANGE = pd.DataFrame(
    [
        [10_000, 0.12, "credit_card", "B", 60_000.0, 0.4, "5 years", 15.0, 0, "RENT"],
        [10_000, 0.12, "a purpose nobody gave", "B", 60_000.0, 0.4, "5 years", 15.0, 0, "RENT"],
        [10_000, 0.12, "credit_card", "B", 60_000.0, np.nan, None, 15.0, 0, "RENT"],
        [10**9, 0.9, "credit_card", "Z", 0.0, 9.0, "forever", 900.0, 99, "TENT"],
    ],
    columns=list(COLUMNS),
)


@pytest.mark.parametrize("name", FAST)
def test_a_candidate_is_better_than_chance_and_answers_for_any_loan(name: str, loans: Book) -> None:
    """Fitted on half of the book it ranks the other half, and missing or unseen values get a probability."""
    features, labels = loans
    pipeline = FAST[name]().fit(features[:3000], labels[:3000])
    assert roc_auc_score(labels[3000:], pipeline.predict_proba(features[3000:])[:, 1]) > 0.57
    probabilities = pipeline.predict_proba(STRANGE)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert np.allclose(probabilities[:, 0] + probabilities[:, 1], 1)


@pytest.mark.parametrize("name", FAST)
def test_a_candidate_is_reproducible_and_can_be_stored(name: str, loans: Book) -> None:
    """Two fits give the same bits, and so does a stored and loaded pipeline."""
    features, labels = loans[0][:1500], loans[1][:1500]
    first, second = (FAST[name]().fit(features, labels) for _ in range(2))
    buffer = io.BytesIO()
    joblib.dump(first, buffer)
    buffer.seek(0)
    expected = first.predict_proba(features)
    assert (second.predict_proba(features) == expected).all()
    assert (joblib.load(buffer).predict_proba(features) == expected).all()


def test_the_forest_is_the_prototypes(loans: Book) -> None:
    """The basic forest has ten trees and knows its training loans by heart."""
    features, labels = loans
    forest = pipelines.basic_forest().fit(features, labels)
    assert len(forest[-1].estimators_) == 10
    assert roc_auc_score(labels, forest.predict_proba(features)[:, 1]) > 0.99


def test_orders_are_those_everybody_agrees_on() -> None:
    """A to G and less than one year to ten years or more become 0, 1, 2, ...; anything else is missing."""
    frame = pd.DataFrame({"grade": ["A", "G", "Z", None], "emp_length": ["< 1 year", "10+ years", "2 years", None]})
    codes = pipelines.ordered().fit_transform(frame)
    assert codes[:3].tolist()[:2] == [[0, 0], [6, 10]]
    assert codes[2][1] == 2
    assert np.isnan(codes[2][0])
    assert np.isnan(codes[3]).all()


def test_the_champion_is_a_sum_of_terms(loans: Book) -> None:
    """Its log-odds are the intercept plus the terms, for every loan, to 1e-9."""
    features, labels = loans
    pipeline = pipelines.champion(bags=2).fit(features, labels)
    encoded = pipeline[:-1].transform(features)
    total = np.full(len(labels), float(np.ravel(pipeline[-1].intercept_)[0]))
    for term in pipeline[-1].eval_terms(encoded).T:
        total = total + term
    p = pipeline.predict_proba(features)[:, 1]
    assert np.abs(np.log(p / (1 - p)) - total).max() < 1e-9
