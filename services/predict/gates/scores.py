"""The scores gate: whether a candidate's probabilities of the same rows are of the same size and in the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.model import Model
from modelbundle.statistics import rank_correlation, stability_index
from services.predict.gates.contract import FEW, share
from services.predict.gates.replay import Floats

LEAST = 0.001  # a mean probability that changed by less is never a finding, whatever the factor
SURE = 3.0  # standard errors that are more than chance
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def findings(classes: Sequence[object], before: Floats, after: Floats, most_change: float) -> list[str]:
    """What changed too much between two models' probabilities of n rows, both (n, classes).

    The mean of a class, by more than the factor ``most_change``; or the order of the rows, which is reversed: a rank correlation
    below zero. Both by more than chance, :data:`SURE` standard errors: of the mean of the paired differences, and of the rank
    correlation without a relation, 1 / sqrt(n - 1) (Kendall, Rank Correlation Methods, 1948). Fewer than :data:`FEW` rows give no
    finding.
    """
    rows = len(before)
    found: list[str] = []
    if rows < FEW:
        return found
    for label, first, second in zip(classes, before.T, after.T, strict=True):
        old, new = first.mean(), second.mean()
        if abs(new - old) > LEAST and (_above(second, most_change * first) or _above(first, most_change * second)):
            factor = f" ({new / old:.3g} ×)" if old else ""
            found.append(f"the mean probability of `{label}` goes from {old:.3g} to {new:.3g}{factor}")
    for position, label in enumerate(classes):
        if position == 0 and len(classes) == 2:
            continue  # the other class has the same order, the other way round
        ranks = rank_correlation(before[:, position], after[:, position])
        if ranks is not None and ranks < -SURE / math.sqrt(rows - 1):
            found.append(f"the order of the rows by `{label}` is reversed: the rank correlation is {ranks:.2f}")
    return found


def _above(higher: Floats, lower: Floats) -> bool:
    """Whether the mean of the paired differences is above zero by more than chance."""
    difference = higher - lower
    return bool(difference.mean() > SURE * difference.std() / math.sqrt(len(difference)))


def unanswered(failed: int, rows: int, error: str) -> str:
    """The rows that a candidate cannot score."""
    return f"{share(failed, rows)} get no probability: {error}"


def figures(current: Model, candidate: Model, before: Floats, after: Floats) -> dict[str, Any]:
    """The figures of two models' probabilities of n rows, (n, classes) each; of the last class, and in JSON's types.

    ``mean`` and ``quantiles`` (at :data:`QUANTILES`) are pairs, before and after. The bins of ``stability_index`` are the
    deciles of before. ``other_band`` is the share of rows whose band changes; None where a model has no bands.
    """
    old, new = before[:, -1], after[:, -1]
    edges = np.unique(np.quantile(old, np.linspace(0.1, 0.9, 9)))
    counts = [np.bincount(np.searchsorted(edges, p), minlength=len(edges) + 1).astype(np.float64) for p in (old, new)]
    ranks = rank_correlation(old, new)
    return {
        "mean": [float(old.mean()), float(new.mean())],
        "quantiles": [np.quantile(p, QUANTILES).tolist() for p in (old, new)],
        "rank_correlation": None if ranks is None else round(ranks, 4),
        "stability_index": round(stability_index(counts[0], counts[1] / len(new), len(new)), 6),
        "other_band": _other_band(current, candidate, old, new),
    }


def _other_band(current: Model, candidate: Model, old: Floats, new: Floats) -> float | None:
    if not (current.labels and candidate.labels):
        return None
    counts = migration(current, candidate, old, new)
    same = sum(counts[i, j] for i, a in enumerate(current.labels) for j, b in enumerate(candidate.labels) if a == b)
    return float(1 - same / len(old))


def migration(current: Model, candidate: Model, old: Floats, new: Floats) -> NDArray[np.int64]:
    """How many of n rows move from each band of the current model to each of the candidate's, (bands, bands)."""
    places = [
        np.searchsorted([band.upper for band in model.manifest.bands], p, side="left")
        for model, p in ((current, old), (candidate, new))
    ]
    size = len(candidate.labels)
    counts = np.bincount(places[0] * size + places[1], minlength=len(current.labels) * size)
    return counts.reshape(len(current.labels), size).astype(np.int64)
