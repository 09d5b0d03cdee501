"""Contents of ``monitor.json`` as the monitor writes them, made up: a week in which a model was replaced and incomes drifted."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from modelbundle.evidence import Evidence, log_loss_differences
from services.monitoring.analysis import sentences

FIRST, SECOND = "06f1002c2907" + "0" * 52, "b7c2f9d01e44" + "0" * 52
BANDS = ("very low", "low", "moderate", "elevated", "high")
SHARES = (0.14, 0.22, 0.26, 0.27, 0.11)
STEPS = {"minute": (60, 180), "hour": (3600, 168), "day": (86400, 30)}


def moment(now: datetime, **ago: float) -> str:
    """A time before ``now``."""
    return (now - timedelta(**ago)).isoformat(timespec="milliseconds")


def replica(now: datetime) -> dict[str, Any]:
    """What /readyz says of a replica that is well."""
    return {
        "ready": True,
        "model_version": SECOND,
        "generation": 2,
        "name": "late-payers",
        "confirmed": True,
        "since": moment(now, hours=40),
        "checked": moment(now, seconds=1),
        "wanted": SECOND,
        "serving": SECOND,
        "trouble": None,
        "refusal": {"model_version": FIRST, "reason": "a golden row's score differs", "time": moment(now, hours=50)},
    }


def empty(now: datetime) -> dict[str, Any]:
    """Before anything was scored."""
    return {
        "format": 1,
        "computed": None,
        "age_seconds": None,
        "stale": False,
        "every_seconds": 60,
        "trouble": None,
        "logging": True,
        "replica": replica(now),
        "window": {"days": 7, "since": moment(now, days=7), "until": moment(now), "least_rows": 500},
        "verdict": {"status": "waiting", "text": "0 rows so far; from 500 on they are compared with training."},
        "models": [],
        "traffic": {name: series(now, step, steps, 0) for name, (step, steps) in STEPS.items()},
        "http": http(now, 0),
        "events": [],
    }


def series(now: datetime, step: int, steps: int, most: float) -> dict[str, Any]:
    """Rows that come by day and rest by night; the second model took over 40 hours ago."""
    begin = now - timedelta(seconds=step * steps)
    rows, first, second, rate = [], [], [], []
    for i in range(steps):
        at = begin + timedelta(seconds=step * i)
        busy = max(0.0, math.sin((at.hour - 6) / 24 * 2 * math.pi)) if step < 86400 else 0.8 + 0.2 * math.sin(i)
        here = int(most * busy * (0.9 + 0.1 * math.sin(3 * i)))
        new = now - at < timedelta(hours=40)
        rows.append(here)
        first.append(0 if new else here)
        second.append(here if new else 0)
        rate.append(0.022 + 0.004 * new + 0.001 * math.sin(i / 2) if here else None)
    bands = {band: [int(here * share) for here in rows] for band, share in zip(BANDS, SHARES, strict=True)}
    return {
        "start": begin.isoformat(timespec="milliseconds"),
        "step_seconds": step,
        "rows": rows,
        "expected_rate": rate,
        "bands": bands,
        "versions": {FIRST: first, SECOND: second} if most else {},
    }


def http(now: datetime, most: int) -> dict[str, Any]:
    """Latencies and errors by minute; nobody measured in the first hours."""
    minutes = range(1440)
    known = [bool(most) and i > 200 for i in minutes]
    return {
        "start": moment(now, hours=24),
        "step_seconds": 60,
        "replicas": ["3f2a"] if most else [],
        "requests": [most if k else None for k in known],
        "client_errors": [(i % 97 == 0) * 3 if k else None for i, k in zip(minutes, known, strict=True)],
        "server_errors": [int(i == 900) if k else None for i, k in zip(minutes, known, strict=True)],
        "p50_ms": [1.7 + 0.2 * math.sin(i / 60) if k else None for i, k in zip(minutes, known, strict=True)],
        "p99_ms": [6.0 + 2 * math.sin(i / 40) ** 4 if k else None for i, k in zip(minutes, known, strict=True)],
    }


def compared(
    name: str, title: str, status: str, text: str, psi: float, effect: float | None, **more: Any
) -> dict[str, Any]:
    """One feature beside training."""
    tilt = math.copysign(min(math.sqrt(psi), 0.8), -1)
    bins = [
        {"label": f"{10 * i:,} to {10 * i + 10:,}", "reference": 0.1, "live": 0.1 * (1 + tilt * (i - 4.5) / 4.5)}
        for i in range(10)
    ]
    return {
        "name": name,
        "title": title,
        "unit": "",
        "kind": "number",
        "status": status,
        "text": text,
        "psi": psi,
        "p_value": 0.0 if psi > 0.05 else 0.4,
        "q_value": 0.0 if psi > 0.05 else 0.6,
        "effect": effect,
        "rate_without": 0.022,
        "missing_rate": 0.0,
        "reference_missing_rate": 0.0,
        "unseen_rate": None,
        "out_of_range_rate": 0.0,
        "unseen_values": [],
        "bins": bins,
        **more,
    }


def interval(value: float, half: float) -> dict[str, float]:
    """With its ends."""
    return {"value": value, "low": value - half, "high": value + half}


def evidence(now: datetime) -> dict[str, Any]:
    """Of 800 outcomes that a challenger was better on."""
    found = Evidence()
    rng = np.random.default_rng(0)
    truth = rng.beta(0.3, 5, 800)
    labels = (rng.random(800) < truth).astype(np.int64)
    times = [moment(now, seconds=3600 * 24 * 9 - 900 * i) for i in range(800)]
    found.update(log_loss_differences(labels, np.full(800, truth.mean()), truth), times)
    facts = found.to_json("challenger", "champion")
    return {**facts, "text": sentences.evidence(facts)}


def performance() -> dict[str, Any]:
    """4,000 outcomes."""
    curve = [
        {"predicted": p, "observed": p * 1.1, "low": p * 0.7, "high": p * 1.6, "count": 400}
        for p in (0.003, 0.006, 0.01, 0.014, 0.018, 0.022, 0.028, 0.035, 0.045, 0.07)
    ]
    return {
        "outcomes": 4000,
        "sampled": 4000,
        "positives": 91,
        "observed_rate": 0.0227,
        "expected_rate": 0.0231,
        "since": "2026-08-01T00:00:00+00:00",
        "until": "2026-11-01T00:00:00+00:00",
        "roc_auc": interval(0.712, 0.041),
        "estimated_roc_auc": 0.721,
        "published_roc_auc": 0.724,
        "predicted_to_observed": interval(1.02, 0.19),
        "calibration_intercept": interval(0.0, 0.3),
        "calibration_slope": interval(0.97, 0.2),
        "lift_top_decile": interval(2.9, 0.5),
        "curve": curve,
        "text": "4,000 outcomes are known: 2.3 % where 2.3 % was expected. The ROC-AUC is 0.712 (0.671 to 0.753);"
        " it was published with 0.724.",
    }


def full(now: datetime | None = None) -> dict[str, Any]:
    """A busy week."""
    now = now or datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
    same = [
        compared(name, title, "stable", f"{title} is as in training.", 0.01, 0.001)
        for name, title in (("dti", "Debt to income"), ("grade", "Grade"), ("loan_amnt", "Loan amount"))
    ]
    features = [
        compared(
            "annual_inc",
            "Annual income",
            "drifted",
            "Annual income is lower than in training: 40 % were at most 60,000 USD per year, now 71 % are."
            " This alone moves the expected rate (late next quarter) from 2.1 % to 2.6 %.",
            0.31,
            0.21,
        ),
        compared(
            "purpose",
            "Purpose",
            "shifted",
            "Purpose has values that training never saw, such as a text of 7 characters in 250 rows: 5 % of the rows."
            " It hardly moves the score.",
            0.12,
            0.004,
            kind="category",
            unseen_rate=0.05,
            unseen_values=[{"length": 7, "rows": 250, "share": 0.05}],
        ),
        *same,
    ]
    model = {
        "model_version": SECOND,
        "current": True,
        "name": "late-payers",
        "title": "Late payers",
        "positive": "late next quarter",
        "first": moment(now, hours=40),
        "last": moment(now, minutes=1),
        "rows": 12345,
        "sampled": 5000,
        "status": "drifted",
        "text": "Not as in training: Annual income.",
        "why_not": None,
        "expected_rate": 0.026,
        "reference_rate": 0.0221,
        "estimated_roc_auc": 0.71,
        "bands": [
            {"label": band, "upper": 1.0, "rows": int(12345 * share), "share": share, "reference_share": share}
            for band, share in zip(BANDS, SHARES, strict=True)
        ],
        "score": compared(
            "score",
            "Score",
            "shifted",
            "The scores are distributed differently from training.",
            0.11,
            None,
            kind="score",
        ),
        "features": features,
        "days": [],
        "performance": performance(),
        "challengers": [
            {
                "model_version": FIRST,
                "rows": 900,
                "mean_difference": 0.001,
                "champion": None,
                "challenger": None,
                "roc_auc_difference": None,
                "evidence": evidence(now),
            }
        ],
    }
    return {
        **empty(now),
        "computed": moment(now, seconds=12),
        "age_seconds": 12.0,
        "verdict": {"status": "drifted", "text": "Not as in training: Annual income."},
        "models": [model],
        "traffic": {
            "minute": series(now, 60, 180, 9),
            "hour": series(now, 3600, 168, 540),
            "day": series(now, 86400, 30, 5200),
        },
        "http": http(now, 9),
        "events": [
            {
                "time": moment(now, hours=40),
                "kind": "switch",
                "detail": {},
                "text": f"Switched from {FIRST[:12]} to {SECOND[:12]} (generation 2).",
            },
            {
                "time": moment(now, hours=41),
                "kind": "deployment",
                "detail": {},
                "text": "Deploy of late-payers.bundle: accepted.",
            },
            {
                "time": moment(now, hours=50),
                "kind": "refusal",
                "detail": {},
                "text": f"Refused {FIRST[:12]}: a golden row's score differs.",
            },
        ],
    }
