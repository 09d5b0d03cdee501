"""Out-of-fold probabilities: every loan is scored by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

FOLDS: Final = 5


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities of lateness of n loans, shape (n,), and the ROC-AUC of each fold's model on the loans it was fitted on."""

    probabilities: NDArray[np.float64]
    train_roc_auc: tuple[float, ...]


def out_of_fold(
    make: Callable[[], Any],
    features: pd.DataFrame,
    labels: NDArray[np.int64],
    seed: int = 0,
    folds: int = FOLDS,
    jobs: int = 1,
) -> OutOfFold:
    """Fit ``make()`` on all folds but one and score that one, for each; folds are stratified and shuffled with ``seed``.

    ``jobs`` processes work on the folds; the result does not depend on it.
    """
    parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels))
    scored = Parallel(n_jobs=jobs)(delayed(_fold)(make, features, labels, train, test) for train, test in parts)
    probabilities = np.empty(len(labels), dtype=np.float64)
    for (_, test), (values, _) in zip(parts, scored, strict=True):
        probabilities[test] = values
    return OutOfFold(probabilities, tuple(on_train for _, on_train in scored))


def _fold(
    make: Callable[[], Any],
    features: pd.DataFrame,
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> tuple[NDArray[np.float64], float]:
    pipeline = make().fit(features.iloc[train], labels[train])
    on_train = float(roc_auc_score(labels[train], pipeline.predict_proba(features.iloc[train])[:, 1]))
    return pipeline.predict_proba(features.iloc[test])[:, 1], on_train


def by_stretch_of_time(
    make: Callable[[], Any], features: pd.DataFrame, labels: NDArray[np.int64], parts: int = 5
) -> NDArray[np.float64]:
    """Probabilities, shape (n,), where each of ``parts`` contiguous stretches of rows is scored by a model fitted on the others.

    Rows of the original book run from the newest loan to the oldest, so a stretch is a stretch of time; a model that lives
    on what only its own weeks show loses here.
    """
    stretch = np.arange(len(labels)) * parts // len(labels)
    probabilities = np.empty(len(labels), dtype=np.float64)
    for part in range(parts):
        inside = stretch == part
        pipeline = make().fit(features[~inside], labels[~inside])
        probabilities[inside] = pipeline.predict_proba(features[inside])[:, 1]
    return probabilities
