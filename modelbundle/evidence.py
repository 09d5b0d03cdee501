"""Evidence that may be looked at after every row: e-values and a confidence sequence for the mean of bounded differences.

Fixed tests hold for one look at a number of rows that was decided before. A monitor looks every minute. An e-value is a wealth
that starts at 1 and bets on each row before it is seen. Under the hypothesis it is not expected to grow, so that by Ville's
inequality it ever reaches 20 with a probability of at most 1/20, however often one looks.

- The wealth bets a fixed share of itself, ``prod(1 + share * d)``, and is averaged over :data:`SHARES`: Waudby-Smith and
  Ramdas, *Estimating means of bounded random variables by betting*, JRSS B 2024, section 4. The shares do not depend on the rows.
- With ``m`` the mean of ``d`` given the rows before, ``prod(1 + share * d) * exp(-share * sum(m))`` is not expected to grow,
  because ``1 + x <= exp(x)``. So evidence and interval are about the average of these means so far, which may change over
  time, as in Choe and Ramdas, *Comparing sequential forecasters*, Operations Research 2023.

Libraries have confidence sequences for one stream at a time; none has both for differences that arrive in pages and are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHARES = np.array([0.96, 0.48, 0.24, 0.12])  # of the wealth, which are bet
TARGET = 20.0  # the evidence that by chance comes in at most 5 of 100 streams
BOUND = 2.0  # nats that one row may count for a model: a probability that is 7.4 times the other's
FLOOR = 1e-6  # the least probability that counts, and the most is 1 - FLOOR
POINTS = 200  # of a path


@dataclass
class Evidence:
    """Evidence about the mean of differences between ``-bound`` and ``bound``. All attributes are plain data.

    ``path`` has at most :data:`POINTS` points: time, rows, and the logarithms of both e-values.
    """

    bound: float = BOUND
    rows: int = 0
    total: float = 0.0
    path: list[tuple[str, int, float, float]] = field(default_factory=list)
    _wealth: Floats = field(default_factory=lambda: np.zeros((2, len(SHARES))))  # logarithms: positive, negative
    _stride: int = 1
    _last: str = ""

    def update(self, differences: Floats, times: Sequence[str] | None = None) -> None:
        """Add n rows, shape (n,), in the order in which they became known; ``times`` are for the path.

        Raises :class:`ValueError` for differences that are not finite or beyond the bound, and for another number of times.
        """
        if not (np.isfinite(differences).all() and (np.abs(differences) <= self.bound).all()):
            raise ValueError(f"a difference is not between -{self.bound:g} and {self.bound:g}")
        if times is not None and len(times) != len(differences):
            raise ValueError(f"{len(times)} times for {len(differences)} differences")
        if not len(differences):
            return
        scaled = differences / self.bound
        both = []
        for k, signed in enumerate((scaled, -scaled)):
            steps = np.log1p(SHARES[:, None] * signed)
            steps[:, 0] += self._wealth[k]
            wealth = np.cumsum(steps, axis=1)
            self._wealth[k] = wealth[:, -1]
            both.append(_mean(wealth))
        for k in range(-(self.rows + 1) % self._stride, len(scaled)):
            if (self.rows + k + 1) % self._stride == 0:
                self._mark("" if times is None else times[k], self.rows + k + 1, float(both[0][k]), float(both[1][k]))
        self.rows += len(scaled)
        self._last = "" if times is None else times[-1]
        self.total = float(np.cumsum(np.append(self.total, differences))[-1])

    def _mark(self, time: str, rows: int, positive: float, negative: float) -> None:
        if len(self.path) == POINTS:
            self._stride *= 2
            self.path = [point for point in self.path if point[1] % self._stride == 0]
            if rows % self._stride:
                return
        self.path.append((time, rows, positive, negative))

    @property
    def log_positive(self) -> float:
        """The logarithm of the e-value against "the mean is at most 0"."""
        return float(_mean(self._wealth[0][:, None])[0])

    @property
    def log_negative(self) -> float:
        """The logarithm of the e-value against "the mean is at least 0"."""
        return float(_mean(self._wealth[1][:, None])[0])

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """The average of the conditional means is in this interval at every number of rows, with probability 1 - alpha."""
        if not self.rows:
            return -self.bound, self.bound
        return self._least(0, alpha), -self._least(1, alpha)

    def _least(self, side: int, alpha: float) -> float:
        """The mean at which the e-value of a side falls to ``2 / alpha``, by bisection: it falls as the mean rises."""
        low, high = -1.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            value = _mean((self._wealth[side] - SHARES * self.rows * middle)[:, None])[0]
            low, high = (middle, high) if value >= np.log(2 / alpha) else (low, middle)
        return low * self.bound

    def more(self, log_value: float, target: float = TARGET) -> int | None:
        """About how many more rows until an e-value with this logarithm is ``target``, at the rate so far; None if it falls."""
        wanted = float(np.log(target))
        if log_value >= wanted:
            return 0
        return round(self.rows * (wanted - log_value) / log_value) if log_value > 0 else None

    def to_json(self, positive: str = "positive", negative: str = "negative") -> dict[str, Any]:
        """Both e-values under these names, how many more rows they need, the interval of the mean, and the path up to now."""
        low, high = self.interval()
        now = [(self._last, self.rows, self.log_positive, self.log_negative)] if self.rows else []
        points = [point for point in self.path if point[1] < self.rows] + now
        return {
            "rows": self.rows,
            "mean": self.total / self.rows if self.rows else None,
            "low": low,
            "high": high,
            positive: value(self.log_positive),
            negative: value(self.log_negative),
            "more": {positive: self.more(self.log_positive), negative: self.more(self.log_negative)},
            "path": [{"time": t, "rows": n, positive: value(a), negative: value(b)} for t, n, a, b in points],
        }


@dataclass
class Calibration(Evidence):
    """Evidence about ``predicted - observed``: positive where too many were predicted, negative where too few were."""

    bound: float = 1.0
    predicted: float = 0.0

    def observe(self, labels: NDArray[np.int64], probabilities: Floats, times: Sequence[str] | None = None) -> None:
        """Add n labels and the probabilities (n,) of the label 1; raises what :meth:`update` raises."""
        self.update(probabilities - labels, times)
        self.predicted = float(np.cumsum(np.append(self.predicted, probabilities))[-1])

    def ratio(self, alpha: float = 0.05) -> tuple[float, float | None]:
        """The interval of predicted to observed, from that of the mean; None where nothing may be observed."""
        if not self.rows or not self.predicted:
            return 0.0, None
        low, high = self.interval(alpha)
        mean = self.predicted / self.rows
        return mean / min(mean - low, 1.0), mean / (mean - high) if mean > high else None


def value(logarithm: float) -> float:
    """An e-value from its logarithm, at most 1e300, so that it is a number of JSON."""
    return float(np.exp(min(logarithm, 690.0)))


def log_loss_differences(labels: NDArray[np.int64], first: Floats, second: Floats) -> Floats:
    """How much lower the log loss of ``second`` is than that of ``first``, in nats, shape (n,).

    Both are probabilities (n,) of the label 1, held between :data:`FLOOR` and 1 - FLOOR. A row on which they may differ by more
    than :data:`BOUND` is scaled down as a whole, whatever its label: a weight that is known before the outcome and is the same
    for both models. To cut off only what happened would forgive the model that is seldom, and very, wrong.
    """
    p, q = (np.clip(probabilities, FLOOR, 1 - FLOOR) for probabilities in (first, second))
    positive, negative = np.log(q) - np.log(p), np.log1p(-q) - np.log1p(-p)
    scale = np.maximum(1.0, np.maximum(np.abs(positive), np.abs(negative)) / BOUND)
    return np.asarray(np.clip(np.where(labels == 1, positive, negative) / scale, -BOUND, BOUND))


def _mean(logarithms: Floats) -> Floats:
    """The logarithm of the mean over the first axis."""
    return np.asarray(np.logaddexp.reduce(logarithms, axis=0) - np.log(len(logarithms)))
