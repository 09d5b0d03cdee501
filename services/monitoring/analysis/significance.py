"""Is a difference more than chance? A test of two distributions, and its correction for many tests at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FEW_EXPECTED = 5.0  # Cochran's rule for the chi-squared approximation


def homogeneity(reference: Floats, live: Floats) -> float:
    """The probability that chance alone makes two rows of counts at least as different: Pearson's chi-squared test, 2 x k table.

    Bins with an expected count below 5 are pooled (Cochran, Biometrics 10, 1954).
    """
    table = np.stack([reference, live])
    sides = table.sum(axis=1)
    if min(sides) <= 0:
        return 1.0
    share = table.sum(axis=0) / sides.sum()
    few = share * sides.min() < _FEW_EXPECTED
    pooled = np.column_stack([table[:, ~few], table[:, few].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return 1.0
    expected = np.outer(sides, pooled.sum(axis=0) / sides.sum())
    return chi_squared_tail(pooled.shape[1] - 1, float(((pooled - expected) ** 2 / expected).sum()))


def chi_squared_tail(degrees: int, value: float) -> float:
    """The probability that a chi-squared variable of that many degrees of freedom exceeds ``value`` ≥ 0.

    The regularised incomplete gamma function Q(degrees / 2, value / 2), from Q(1/2, h) = erfc(√h) or Q(1, h) = exp(-h) up by
    Q(a + 1, h) = Q(a, h) + hᵃ exp(-h) / Γ(a + 1) (DLMF 8.4.6, 8.8.6).
    scipy has the function too, but importing it costs a quarter of this process's memory.
    """
    half = value / 2
    if half == 0:
        return 1.0
    tail, shape = (math.exp(-half), 1.0) if degrees % 2 == 0 else (math.erfc(math.sqrt(half)), 0.5)
    while shape < degrees / 2:
        tail += math.exp(shape * math.log(half) - half - math.lgamma(shape + 1))
        shape += 1
    return min(tail, 1.0)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values. Of the findings with a value below q, at most a share of q is false, on average.

    Source: Benjamini and Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (1995).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    adjusted = [1.0] * len(p_values)
    least = 1.0
    for above, i in enumerate(order):
        least = min(least, p_values[i] * len(p_values) / (len(p_values) - above))
        adjusted[i] = least
    return adjusted
