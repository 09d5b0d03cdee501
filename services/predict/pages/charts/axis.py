"""The axes of charts: round numbers for their ticks and ends."""

from __future__ import annotations

import math


def nice(step: float) -> float:
    """The largest of 1, 2, 5, 10, … that is at most ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(float(f"{m * power:.3g}") for m in (5, 2, 1) if m * power <= step * 1.0000001)


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """At most ``most`` round numbers from ``low`` to ``high``; only whole ones where ``whole``."""
    if not high > low:
        return [low]
    step = nice((high - low) / most)
    while math.floor(high / step) - math.ceil(low / step) + 1 > most:
        step = nice(step * 2.5)
    step = max(step, 1.0) if whole else step
    return [float(f"{k * step:.10g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def top(value: float) -> float:
    """A round end for an axis that begins at 0 and has room for a probability ``value``."""
    if value <= 0:
        return 0.01
    power = 10.0 ** math.floor(math.log10(value * 1.08))
    found = next(m * power for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12) if m * power >= value * 1.08)
    return min(found, 1.0)
