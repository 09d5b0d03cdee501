"""How the pages write numbers: short, in one way everywhere, with what belongs together kept together."""

from __future__ import annotations

import json
import math
from typing import Any

THIN = "\u202f"  # a narrow space at which no line breaks
MINUS = "\u2212"


def percent(probability: float) -> str:
    """A probability as a percentage with about three significant digits, never rounded to certainty."""
    value = 100 * probability
    if 0 < value < 0.01:
        return f"<{THIN}0.01{THIN}%"
    if 99.99 < value < 100:
        return f">{THIN}99.99{THIN}%"
    digits = 2 if value < 10 or value > 99 else 1
    return f"{value:.{digits}f}{THIN}%"


def short_percent(probability: float) -> str:
    """The same for the ticks of an axis: no digit more than needed."""
    return f"{100 * probability:.3g}{THIN}%"


def number(value: float) -> str:
    """A number to read: thousands grouped, four significant digits, whole numbers whole."""
    if abs(value) >= 1e15:
        return f"{value:.3e}"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def plain(value: float) -> str:
    """A number as it is typed: nothing grouped, nothing rounded."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def label(text: str) -> str:
    """A category to read: ``home_improvement`` has spaces."""
    return text.replace("_", " ")


def signed(value: float, digits: int = 3) -> str:
    """A difference, its sign always there."""
    rounded = round(value, digits)
    return f"{'+' if rounded > 0 else MINUS if rounded < 0 else '±'}{abs(rounded):.{digits}f}"


def one_in(probability: float) -> str:
    """``1 in 62``; empty where that says nothing."""
    return f"1 in {number(round(1 / probability))}" if 1e-9 < probability <= 0.4 else ""


def moment(text: str) -> str:
    """A time of the log to read: to the millisecond, in UTC. Another text stays as it is."""
    return f"{text[:10]} {text[11:23]} UTC" if text[10:11] == "T" and text.endswith("+00:00") else text


def in_json(value: Any) -> str:
    """A value as JSON has it, exactly."""
    return json.dumps(value, ensure_ascii=False)


def logit(probability: float) -> float:
    """Log-odds, of probabilities at the ends too."""
    inside = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))
