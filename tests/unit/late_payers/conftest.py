"""A small seeded book of loans in which lateness follows the grade, the amount and the use of credit limits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from late_payers.features import COLUMNS, EMP_LENGTHS, GRADES

Book = tuple[pd.DataFrame, NDArray[np.int64]]


@pytest.fixture(scope="session")
def loans() -> Book:
    """(features, labels) of 6,000 loans, about one in seven late."""
    rng = np.random.default_rng(20)
    n = 6000
    step = rng.choice(7, n, p=[0.26, 0.30, 0.26, 0.12, 0.04, 0.01, 0.01])
    frame = pd.DataFrame(
        {
            "loan_amnt": rng.integers(40, 1600, n) * 25,
            "int_rate": np.round(0.06 + 0.035 * step + rng.choice(5, n) * 0.006, 4),
            "purpose": rng.choice(["credit_card", "debt_consolidation", "small_business"], n, p=[0.4, 0.5, 0.1]),
            "grade": np.array(GRADES)[step],
            "annual_inc": np.round(np.exp(rng.normal(11.1, 0.5, n))),
            "revol_util": np.round(rng.random(n), 3),
            "emp_length": rng.choice(np.array(EMP_LENGTHS), n),
            "dti": np.round(rng.gamma(4, 4.4, n), 2),
            "delinq_2yrs": rng.poisson(0.24, n),
            "home_ownership": rng.choice(["MORTGAGE", "RENT", "OWN"], n, p=[0.45, 0.42, 0.13]),
        }
    )
    frame.loc[rng.random(n) < 0.07, "emp_length"] = None
    frame.loc[rng.random(n) < 0.02, "revol_util"] = np.nan
    frame.loc[:6, "home_ownership"] = "ANY"
    use = frame["revol_util"].fillna(1.2).to_numpy()
    score = -3.6 + 0.45 * step + frame["loan_amnt"].to_numpy() / 25_000 + 0.9 * use
    labels = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(np.int64)
    labels[:7] = 1
    return frame[list(COLUMNS)], labels


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine turn seconds of boosting into minutes."""
    with threadpool_limits(1):
        yield
