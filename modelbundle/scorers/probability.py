"""The function from log-odds to probability.

``math.exp`` and ``numpy.exp`` differ in the last bit, and both differ between processors and C libraries. An audit a year
later and a batch job must give the same bits as the API. So this module computes the exponential with +, -, *, / and
``ldexp`` only, which IEEE 754 rounds the same everywhere.

The rational approximation and the two-part ln 2 are those of Cephes (S. L. Moshier, ``exp.c``); the relative error of the
exponential is below 2.2e-16 on [-700, 0].
"""

from __future__ import annotations

from math import floor, ldexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOG2E = 1.4426950408889634073599
LN2_HIGH = 6.93145751953125e-1
LN2_LOW = 1.42860682030941723212e-6
P0, P1, P2 = 1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1
Q0, Q1, Q2, Q3 = 3.00198505138664455042e-6, 2.52448340349684104192e-3, 2.27265548208155028766e-1, 2.0
LIMIT = 700.0  # beyond, the probability is practically 0 or 1 and the exponential would be denormal


def expit(score: float) -> float:
    """The probability ``1 / (1 + exp(-score))`` of log-odds ``score``."""
    y = -score if score >= 0.0 else score
    if y < -LIMIT:
        y = -LIMIT
    n = floor(LOG2E * y + 0.5)
    r = y - n * LN2_HIGH
    r = r - n * LN2_LOW
    z = r * r
    p = r * ((P0 * z + P1) * z + P2)
    e = ldexp(1.0 + 2.0 * (p / ((((Q0 * z + Q1) * z + Q2) * z + Q3) - p)), n)
    return 1.0 / (1.0 + e) if score >= 0.0 else e / (1.0 + e)


def expit_array(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`expit` of every element, bit for bit the same; any shape."""
    e = exp_array(-np.abs(scores))
    result: NDArray[Any] = np.where(scores >= 0.0, 1.0, e) / (1.0 + e)
    return result


def exp_array(powers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential of every element, which must not be above 0; below -700 it is that of -700. Any shape."""
    y = np.maximum(powers, -LIMIT)
    n = np.floor(LOG2E * y + 0.5)
    r = y - n * LN2_HIGH
    r = r - n * LN2_LOW
    z = r * r
    p = r * ((P0 * z + P1) * z + P2)
    e: NDArray[Any] = np.ldexp(1.0 + 2.0 * (p / ((((Q0 * z + Q1) * z + Q2) * z + Q3) - p)), n.astype(np.int64))
    return e


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities of K classes for raw scores of shape (n, K): ``exp(s_k) / sum(exp(s))``."""
    e = exp_array(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[Any] = e / np.add.accumulate(e, axis=1)[:, -1:]
    return result
