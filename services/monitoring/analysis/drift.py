"""Do the rows look like those of training? One test and three effect sizes per feature, and a verdict that needs both.

A difference counts only where it is statistically significant: Pearson's chi-squared test over the feature's bins, with Benjamini
and Hochberg's correction over all features and the score. Then its size decides: the population stability index (PSI), and the
feature's effect on the score, which is its mean contribution in log-odds. Contributions are relative to the average of training,
so their mean over live rows is the change since training. The effects of all features add up to the change of the mean score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.scorers.probability import expit_array
from modelbundle.statistics import log_odds, stability_index
from services.monitoring.analysis import sentences
from services.monitoring.analysis.bins import Bins
from services.monitoring.analysis.significance import benjamini_hochberg, homogeneity
from services.monitoring.log_reader.model_versions import ModelVersion
from services.monitoring.log_reader.sampling import PooledSample
from services.monitoring.summary import LEAST_ROWS

Floats = NDArray[np.float64]

Q = 0.01  # of the findings, at most this part are false ones, on average
LARGE, SMALL = 0.25, 0.10  # PSI, by custom: shifted, slightly shifted (Siddiqi 2006)
TRIFLING = 0.02  # PSI that is not more than noise
MATERIAL = 0.10  # log-odds: the average odds are a tenth higher or lower
SCORE = "score"
UNSEEN_SHOWN = 20  # a value that fewer sampled rows share is not shown: it could point at a person


@dataclass(frozen=True)
class _Part:
    """A feature, or the score: its names, its bins, and the shares per bin and mean contribution of the live rows."""

    facts: dict[str, Any]
    bins: Bins
    live: Floats | None
    effect: float | None

    @property
    def comparable(self) -> bool:
        """Whether there are rows both in training and now."""
        return self.live is not None and bool(self.bins.reference.sum())


def compare(known: ModelVersion, live: PooledSample | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The score's and the features' entries of ``monitor.json``, the features' most important first.

    ``live`` is None where there are no rows.
    """
    parts = _parts(known, live)
    judged = live is not None and live.effective >= LEAST_ROWS
    tested = [part.comparable and judged for part in parts]
    adjusted = iter(benjamini_hochberg([_chance(p, live) for p, test in zip(parts, tested, strict=True) if test]))
    expected = None if live is None else rate(live)
    entries = []
    for part, test in zip(parts, tested, strict=True):
        psi = index(part.bins, part.live, live.effective) if live is not None and part.live is not None else None
        p_value, q_value = (_chance(part, live), next(adjusted)) if test else (None, None)
        entry = {
            **part.facts,
            "status": verdict(psi, q_value, part.effect),
            "psi": psi,
            "p_value": p_value,
            "q_value": q_value,
            "effect": part.effect,
            "rate_without": None if live is None or part.effect is None else rate(live, part.effect),
            **_rates(part.bins, part.live),
            "bins": _shown(part.bins, part.live),
        }
        entry["text"] = sentences.difference(entry, known, part.live, expected)
        entries.append(entry)
    return entries[-1], sorted(entries[:-1], key=_importance)


def _parts(known: ModelVersion, live: PooledSample | None) -> list[_Part]:
    """One per feature, then the score."""
    effects = None if live is None else live.contributions
    parts = [
        _Part(
            {
                "name": feature.name,
                "title": feature.title,
                "unit": feature.unit,
                "kind": feature.kind,
                "unseen_values": _named(live, i),
            },
            known.bins[i],
            None if live is None else live.bins[i],
            None if effects is None else float(effects[i]),
        )
        for i, feature in enumerate(known.schema)
    ]
    facts = {"name": SCORE, "title": "Score", "unit": "", "kind": SCORE, "unseen_values": []}
    whole = None if effects is None else float(effects.sum())
    return [*parts, _Part(facts, known.score, None if live is None else live.score, whole)]


def _chance(part: _Part, live: PooledSample | None) -> float:
    assert live is not None
    assert part.live is not None
    return homogeneity(part.bins.reference, part.live * live.effective)


def _named(live: PooledSample | None, feature: int) -> list[dict[str, Any]]:
    """The values of a category that are unseen in training, where enough rows share them."""
    if live is None:
        return []
    found = sorted(live.strangers[feature].items(), key=lambda item: -item[1])
    return [
        {"value": value, "length": len(value), "rows": round(share * live.sampled), "share": share}
        for value, share in found
        if share * live.sampled >= UNSEEN_SHOWN - 0.5
    ]


def daily(known: ModelVersion, live: PooledSample | None) -> dict[str, Any]:
    """The differences of one day. There is no verdict, because a day may have few rows."""
    rates: dict[str, Any] = {}
    for i, feature in enumerate(known.schema):
        rates[feature.name] = _rates(known.bins[i], None if live is None else live.bins[i])
        rates[feature.name]["psi"] = None if live is None else index(known.bins[i], live.bins[i], live.effective)
    return {
        "score_psi": None if live is None else index(known.score, live.score, live.effective),
        "score": None if live is None else live.score.tolist(),
        "features": rates,
    }


def index(bins: Bins, shares: Floats, rows: float) -> float | None:
    """The stability index; None where training has no counts."""
    return stability_index(bins.reference, shares, rows) if bins.reference.sum() else None


def rate(live: PooledSample, without: float = 0.0) -> float:
    """The mean probability of the rows, with ``without`` (log-odds) taken from each row's score."""
    if not without:
        return float(np.average(live.probabilities, weights=live.weights))
    return float(np.average(expit_array(log_odds(live.probabilities) - without), weights=live.weights))


def verdict(psi: float | None, q: float | None, effect: float | None) -> str:
    """``waiting`` without a test, ``stable``, ``shifted`` or ``drifted``; the module says how."""
    if psi is None or q is None:
        return "waiting"
    if q >= Q:
        return "stable"
    if psi >= LARGE or (psi >= TRIFLING and effect is not None and abs(effect) >= MATERIAL):
        return "drifted"
    return "shifted" if psi >= SMALL else "stable"


def worst(statuses: Sequence[str]) -> str:
    """The most serious of them."""
    return max(statuses, key=("unknown", "waiting", "stable", "shifted", "drifted").index)


def _rates(bins: Bins, live: Floats | None) -> dict[str, float | None]:
    """The shares of missing values and of values unseen in training."""
    strange = float(live[list(bins.strange)].sum()) if live is not None and bins.strange else None
    known = bins.missing is not None and bins.reference.sum() > 0
    return {
        "missing_rate": None if live is None or bins.missing is None else float(live[bins.missing]),
        "reference_missing_rate": float(bins.reference[bins.missing] / bins.reference.sum()) if known else None,
        "unseen_rate": strange if len(bins.strange) == 1 else None,
        "out_of_range_rate": strange if len(bins.strange) == 2 else None,
    }


def _shown(bins: Bins, live: Floats | None) -> list[dict[str, Any]]:
    """The shares per bin, without bins that are empty on both sides."""
    total = float(bins.reference.sum()) or 1.0
    now = [None] * len(bins.labels) if live is None else live.tolist()
    return [
        {"label": label, "reference": before / total, "live": after}
        for label, before, after in zip(bins.labels, bins.reference.tolist(), now, strict=True)
        if before or after
    ]


def _importance(entry: dict[str, Any]) -> tuple[int, float, float]:
    order = ("drifted", "shifted", "stable", "waiting")
    return order.index(entry["status"]), -abs(entry["effect"] or 0.0), -(entry["psi"] or 0.0)
