"""No loan is scored by a model that has seen it, and the same seed gives the same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from late_payers.folds import by_stretch_of_time, out_of_fold


class Memory:
    """A classifier that says 1 for rows it was fitted on and 0 for all others."""

    def fit(self, features: pd.DataFrame, labels: NDArray[np.int64]) -> Memory:
        self.seen = set(features["row"])
        self.rate = labels.mean()
        return self

    def predict_proba(self, features: pd.DataFrame) -> NDArray[np.float64]:
        seen = np.array([float(row in self.seen) for row in features["row"]])
        return np.column_stack([1 - seen, seen])


class Noise(Memory):
    """A classifier whose answer depends on the rows it was fitted on."""

    def predict_proba(self, features: pd.DataFrame) -> NDArray[np.float64]:
        share = np.full(len(features), (sum(self.seen) % 97) / 97)
        return np.column_stack([1 - share, share])


FEATURES = pd.DataFrame({"row": np.arange(200)})
LABELS = (np.arange(200) % 10 == 0).astype(np.int64)


@pytest.mark.parametrize("scheme", [lambda *a: out_of_fold(*a).probabilities, by_stretch_of_time])
def test_no_loan_is_scored_by_a_model_that_saw_it(scheme: Any) -> None:
    """A model that recognises its training loans recognises none of the loans that it scores."""
    assert (scheme(Memory, FEATURES, LABELS) == 0).all()


def test_every_fold_has_its_figure_on_the_training_loans() -> None:
    """The ROC-AUC on training loans is there for each fold; one answer for all is 0.5."""
    assert out_of_fold(Memory, FEATURES, LABELS).train_roc_auc == (0.5,) * 5


def test_folds_are_seeded() -> None:
    """The same seed gives the same folds, another seed others."""
    first, again, other = (out_of_fold(Noise, FEATURES, LABELS, seed=s).probabilities for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_stretches_are_contiguous() -> None:
    """One model scores each contiguous stretch of rows."""
    p = by_stretch_of_time(Noise, FEATURES, LABELS, parts=4)
    assert [len(set(p[start : start + 50])) for start in range(0, 200, 50)] == [1, 1, 1, 1]
