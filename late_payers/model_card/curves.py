"""The terms of the fitted champion: one curve per column and one surface per pair, in log-odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from late_payers.features import EMP_LENGTHS, GRADES

Floats = NDArray[np.float64]

_ORDERED_NAMES = {"grade": GRADES, "emp_length": EMP_LENGTHS}


@dataclass(frozen=True)
class Curve:
    """One column's term.

    A number has ``edges`` (k + 1) of k steps, from the smallest to the largest training value; a category has ``names`` (k).
    ``scores``, ``deviations`` (one standard deviation between the bags) and ``weights`` (training loans) have shape (k,);
    ``missing`` is the score of a missing value.
    """

    feature: str
    edges: Floats | None
    names: tuple[str, ...]
    scores: Floats
    deviations: Floats
    weights: Floats
    missing: float


@dataclass(frozen=True)
class Surface:
    """A pair's term: ``scores[i, j]`` in log-odds for step i of ``first`` and step j of ``second``."""

    first: str
    second: str
    first_edges: Floats
    second_edges: Floats
    scores: Floats


def importances(model: Any) -> dict[str, float]:
    """The mean absolute contribution of each term over the training loans, in log-odds, largest first."""
    found = dict(zip(model.term_names_, map(float, model.term_importances()), strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def curves(model: Any) -> list[Curve]:
    """The curves of a fitted explainable boosting machine, in the order of its columns."""
    found = []
    for number, term in enumerate(model.term_features_):
        if len(term) == 1:
            found.append(_curve(model, number, term[0]))
    return found


def _curve(model: Any, number: int, column: int) -> Curve:
    name = model.feature_names_in_[column]
    bins = model.bins_[column][0]
    scores, deviations = model.term_scores_[number], model.standard_deviations_[number]
    weights = model.bin_weights_[number]
    missing = float(scores[0])
    if isinstance(bins, dict):
        order = sorted(bins, key=lambda value: float(scores[bins[value]]))
        rows = np.array([bins[value] for value in order])
        return Curve(name, None, tuple(order), scores[rows], deviations[rows], weights[rows], missing)
    if name in _ORDERED_NAMES:
        names = _ORDERED_NAMES[name]
        rows = np.digitize(np.arange(len(names), dtype=np.float64), bins) + 1
        return Curve(name, None, names, scores[rows], deviations[rows], weights[rows], missing)
    low, high = model.feature_bounds_[column]
    edges = np.concatenate([[low], bins, [high]])
    return Curve(name, edges, (), scores[1:-1], deviations[1:-1], weights[1:-1], missing)


def surfaces(model: Any) -> list[Surface]:
    """The surfaces of pairs of numbers or ordered columns; pairs with a nominal column have none."""
    found = []
    for number, term in enumerate(model.term_features_):
        if len(term) != 2 or any(isinstance(_pair_bins(model, column), dict) for column in term):
            continue
        edges = []
        for column in term:
            low, high = model.feature_bounds_[column]
            edges.append(np.concatenate([[low], _pair_bins(model, column), [high]]))
        first, second = (model.feature_names_in_[column] for column in term)
        found.append(Surface(first, second, edges[0], edges[1], model.term_scores_[number][1:-1, 1:-1]))
    return found


def _pair_bins(model: Any, column: int) -> Any:
    levels = model.bins_[column]
    return levels[min(1, len(levels) - 1)]
