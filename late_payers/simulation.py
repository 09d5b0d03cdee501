"""A seeded stand-in for the book of loans, simulated from published statistics of the original, without any of its rows.

Numbers and ordered categories are drawn together by a Gaussian copula: correlated normal scores, each mapped to its own
marginal distribution. Purpose and home ownership are drawn given the income. Whether a loan will be late is drawn from an
additive log-odds model. ``book_statistics.json`` has all parameters; :func:`measure` made it from the original training quarter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from late_payers.features import COLUMNS, EMP_LENGTHS, GRADES, TARGET

SEED: Final = 20171
ROWS: Final = 111_068
TEST_ROWS: Final = 6_843
TEST_SHIFT: Final = -0.47  # log-odds: the quarter that follows has a late rate of about 1.4 % instead of 2.2 %
RARE: Final = 20
JOINT: Final = ("loan_amnt", "int_rate", "annual_inc", "revol_util", "emp_length", "dti", "delinq_2yrs")
CURVES: Final = ("loan_amnt", "int_rate", "annual_inc", "revol_util", "dti", "delinq_2yrs")
TEXTS: Final = ("purpose", "emp_length", "home_ownership")
INCOME_GROUPS: Final = 5
Floats = NDArray[np.float64]


@cache
def statistics() -> dict[str, Any]:
    """The statistics of the original training quarter from which the stand-in is simulated."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / "book_statistics.json").read_text("utf-8"))
    return data


def stand_in(rows: int = ROWS, test_rows: int = TEST_ROWS, seed: int = SEED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A training quarter of ``rows`` loans and a following quarter of ``test_rows``; the same frames for the same arguments."""
    return simulate(rows, seed), simulate(test_rows, seed + 1, shift=TEST_SHIFT)


def simulate(rows: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    """``rows`` loans with the ten features and ``is_late``; ``shift`` moves every loan's log-odds of being late."""
    facts = statistics()
    rng = np.random.Generator(np.random.PCG64(seed))
    normal = rng.multivariate_normal(np.zeros(len(JOINT)), np.array(facts["correlation"]), rows, method="cholesky")
    order = np.argsort(normal, axis=0)
    position = np.empty_like(order)
    for k in range(len(JOINT)):
        position[order[:, k], k] = np.arange(rows)
    level = {name: (position[:, k] + rng.random(rows)) / rows for k, name in enumerate(JOINT)}
    frame = pd.DataFrame(
        {name: _quantile(facts["steps"][name], level[name]) for name in JOINT if name in facts["steps"]}
    )
    frame["annual_inc"] = _heaped(_interpolated(facts["quantiles"]["annual_inc"], level["annual_inc"]), rng)
    frame["dti"] = np.round(_interpolated(facts["quantiles"]["dti"], level["dti"]), 2)
    util = np.round(_interpolated(facts["quantiles"]["revol_util"], level["revol_util"]), 3)
    frame["revol_util"] = np.where(rng.random(rows) < facts["missing"]["revol_util"], np.nan, util)
    frame["grade"] = _grades(facts, frame["int_rate"].to_numpy(), rng)
    lengths = np.array(EMP_LENGTHS)[_quantile(facts["emp_length"], level["emp_length"]).astype(int)]
    missing = _missing_length(facts, level["annual_inc"], rng)
    frame["emp_length"] = pd.Series(lengths, dtype="str").where(~missing)
    group = np.minimum((level["annual_inc"] * INCOME_GROUPS).astype(int), INCOME_GROUPS - 1)
    for name in ("purpose", "home_ownership"):
        frame[name] = _given_group(facts["given_income"][name], group, rng)
    score = log_odds(facts, frame) + shift
    frame[TARGET] = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(np.int64)
    return frame[[*COLUMNS, TARGET]]


def log_odds(facts: Mapping[str, Any], frame: pd.DataFrame) -> Floats:
    """The log-odds with which the simulation draws ``is_late``, shape (n,)."""
    score = np.full(len(frame), float(facts["late"]["intercept"]))
    for name in CURVES:
        edges, effects = facts["late"]["curves"][name]
        values = frame[name].to_numpy(float)
        known = ~np.isnan(values)
        score[known] += np.array(effects)[np.searchsorted(edges, values[known], side="right")]
    for name in ("grade", *TEXTS):
        effects = facts["late"]["categories"][name]
        score += frame[name].map(effects).fillna(effects.get("missing", 0.0)).to_numpy(float)
    return score


def _quantile(steps: list[list[float]], level: Floats) -> Floats:
    """The values of a discrete distribution (values, cumulative shares) at levels between 0 and 1."""
    values, cumulative = np.array(steps[0]), np.array(steps[1])
    found: Floats = values[np.minimum(np.searchsorted(cumulative, level, side="right"), len(values) - 1)]
    return found


def _interpolated(quantiles: list[float], level: Floats) -> Floats:
    return np.interp(level, np.linspace(0, 1, len(quantiles)), quantiles)


def _heaped(incomes: Floats, rng: np.random.Generator) -> Floats:
    """Incomes as people state them: most are rounded to thousands or five thousands, some are exact."""
    unit = rng.choice([1.0, 500.0, 1000.0, 5000.0], len(incomes), p=[0.1, 0.1, 0.45, 0.35])
    heaped: Floats = np.maximum(np.round(incomes / unit) * unit, 2000.0)
    return heaped


def _grades(facts: Mapping[str, Any], rates: Floats, rng: np.random.Generator) -> NDArray[np.str_]:
    """Grades for rates: the lender prices by grade, so a listed rate belongs to one grade, or to two with given shares."""
    table = {float(rate): shares for rate, shares in facts["grade_of_rate"]}
    draw = rng.random(len(rates))
    distinct, which = np.unique(rates, return_inverse=True)
    cumulative = np.array([np.cumsum(table[rate]) for rate in distinct.tolist()])
    at = (draw[:, None] >= cumulative[which]).sum(axis=1)
    grades: NDArray[np.str_] = np.array(GRADES)[np.minimum(at, len(GRADES) - 1)]
    return grades


def _missing_length(facts: Mapping[str, Any], income_level: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    group = np.minimum((income_level * INCOME_GROUPS).astype(int), INCOME_GROUPS - 1)
    missing: NDArray[np.bool_] = rng.random(len(group)) < np.array(facts["missing"]["emp_length"])[group]
    return missing


def _given_group(table: Mapping[str, Any], group: NDArray[np.int64], rng: np.random.Generator) -> pd.Series:
    cumulative = np.cumsum(np.array(table["shares"]), axis=1)
    at = (rng.random(len(group))[:, None] >= cumulative[group]).sum(axis=1)
    return pd.Series(np.array(table["values"])[np.minimum(at, len(table["values"]) - 1)], dtype="str")


# Measuring the real book


def measure(frame: pd.DataFrame) -> dict[str, Any]:
    """The statistics of a training quarter, without values of fewer than 20 loans and without extremes beyond a quantile."""
    rank = frame["annual_inc"].rank(pct=True, method="first")
    groups = (rank * INCOME_GROUPS).astype(int).clip(upper=INCOME_GROUPS - 1)
    length = frame["emp_length"].map({name: float(k) for k, name in enumerate(EMP_LENGTHS)})
    return {
        "rows": len(frame),
        "late_rate": round(float(frame[TARGET].mean()), 5),
        "correlation": _correlation(frame.assign(emp_length=length)),
        "steps": {name: _steps(frame[name]) for name in ("loan_amnt", "int_rate", "delinq_2yrs")},
        "emp_length": _steps(length.dropna()),
        "quantiles": {name: _quantiles(frame[name]) for name in ("annual_inc", "dti", "revol_util")},
        "missing": {
            "revol_util": round(float(frame["revol_util"].isna().mean()), 5),
            "emp_length": [
                round(float(frame.loc[groups == g, "emp_length"].isna().mean()), 4) for g in range(INCOME_GROUPS)
            ],
        },
        "grade_of_rate": _grade_of_rate(frame),
        "given_income": {name: _shares(frame[name], groups) for name in ("purpose", "home_ownership")},
        "late": _late_model(frame),
    }


def _correlation(frame: pd.DataFrame) -> list[list[float]]:
    from scipy.stats import norm

    scores = frame[list(JOINT)].rank(pct=True, method="average").fillna(0.5).clip(1e-4, 1 - 1e-4)
    return [[round(float(v), 3) for v in row] for row in np.corrcoef(norm.ppf(scores.to_numpy()), rowvar=False)]


def _steps(column: pd.Series) -> list[list[float]]:
    counts = column.value_counts().sort_index()
    counts = counts[counts >= RARE]
    shares = np.cumsum(counts.to_numpy() / counts.sum())
    return [[float(v) for v in counts.index], [round(float(s), 6) for s in shares]]


def _quantiles(column: pd.Series) -> list[float]:
    inner = np.quantile(column.dropna(), np.linspace(0, 1, 101).clip(0.0005, 0.9995))
    return [float(f"{v:.5g}") for v in inner]


def _grade_of_rate(frame: pd.DataFrame) -> list[Any]:
    table = pd.crosstab(frame["int_rate"], frame["grade"]).reindex(columns=list(GRADES), fill_value=0)
    table = table[table.sum(axis=1) >= RARE]
    table = table.where(table >= RARE, 0)
    table = table[table.sum(axis=1) > 0]
    shares = table.div(table.sum(axis=1), axis=0)
    return [
        [float(rate), [round(float(s), 4) for s in row]]
        for rate, row in zip(shares.index, shares.to_numpy(), strict=True)
    ]


def _shares(column: pd.Series, groups: pd.Series) -> dict[str, Any]:
    counts = column.value_counts()
    values = sorted(counts[counts >= RARE].index)
    kept = column.isin(values)
    rows = [[round(float((column[kept & (groups == g)] == v).mean()), 4) for v in values] for g in range(INCOME_GROUPS)]
    return {"values": values, "shares": rows}


def _late_model(frame: pd.DataFrame) -> dict[str, Any]:
    """The effects of a logistic regression on binned columns, one curve per column, in log-odds."""
    from sklearn.linear_model import LogisticRegression

    parts: list[Floats] = []
    curves: dict[str, Any] = {}
    categories: dict[str, dict[str, float]] = {}
    edges = {name: np.unique(np.nanquantile(frame[name], np.linspace(0, 1, 9)[1:-1])) for name in CURVES}
    for name in CURVES:
        values = frame[name].to_numpy(float)
        bins = np.searchsorted(edges[name], values, side="right")
        parts.append(((bins[:, None] == np.arange(len(edges[name]) + 1)) & ~np.isnan(values)[:, None]).astype(float))
    names = {}
    for name in ("grade", *TEXTS):
        text = frame[name].astype(object).where(frame[name].notna(), "missing")
        counts = text.value_counts()
        names[name] = sorted(counts[counts >= RARE].index)
        parts.append(np.array([[v == n for n in names[name]] for v in text], dtype=float))
    model = LogisticRegression(C=1.0, max_iter=2000).fit(np.hstack(parts), frame[TARGET])
    effects = iter(np.round(model.coef_[0], 3).tolist())
    for name in CURVES:
        curves[name] = [[float(f"{e:.5g}") for e in edges[name]], [next(effects) for _ in range(len(edges[name]) + 1)]]
    for name, labels in names.items():
        categories[name] = {label: next(effects) for label in labels}
    return {"intercept": round(float(model.intercept_[0]), 3), "curves": curves, "categories": categories}
