"""The summary as one self-contained page: no script, no outside request, for a screen in light or dark and for paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.monitoring.analysis.bins import percent

STATUS = {
    "waiting": "too few rows yet",
    "unknown": "cannot be compared",
    "stable": "as in training",
    "shifted": "differs, hardly matters",
    "drifted": "drifted",
}
FIGURES = (  # of PERFORMANCE: key, title, what it says
    ("roc_auc", "ROC-AUC", "how well it ranks; 0.5 is a coin"),
    ("predicted_to_observed", "Predicted to observed", "1: as many as were expected"),
    ("calibration_slope", "Calibration slope", "1: as spread as they should be"),
    ("calibration_intercept", "Calibration intercept", "0: right on the whole"),
    ("lift_top_decile", "Lift of the top tenth", "how many times the usual rate"),
)
WIDTH, HEIGHT = 640.0, 110.0


def page(content: Mapping[str, Any]) -> str:
    """HTML of a summary as :mod:`services.monitoring.monitor` computes it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, figure=figure, chance=chance, day=lambda text: str(text)[:10])
    environment.globals.update(line=line, pairs=pairs, statuses=STATUS, figures=FIGURES, width=WIDTH, height=HEIGHT)
    return environment.get_template("report.html").render(content)


def figure(value: float | None) -> str:
    """A number for people, to three places."""
    return "–" if value is None else f"{value:z.3f}"


def chance(value: float | None) -> str:
    """A p- or q-value."""
    return "< 0.001" if value is not None and value < 0.001 else figure(value)


def line(values: Sequence[float | None]) -> dict[str, Any]:
    """Points of values along equal steps, as an SVG ``points`` attribute, scaled from 0; a gap joins its neighbours."""
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    most = max((value for _, value in known), default=0.0) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    points = [(round(place * step, 1), round(HEIGHT - value / most * (HEIGHT - 8), 1)) for place, value in known]
    return {"points": " ".join(f"{x},{y}" for x, y in points), "dots": points, "most": most}


def pairs(bins: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Bars of each bin's share in training and now, widths in percent of the largest."""
    shares = [share for entry in bins for share in (entry["reference"], entry["live"]) if share is not None]
    most = max(shares, default=0.0) or 1.0

    def wide(share: float | None) -> float:
        return round(100 * (share or 0.0) / most, 1)

    return [
        {**entry, "before": wide(entry["reference"]), "now": wide(entry["live"])}
        for entry in bins
        if (entry["reference"] or 0.0) + (entry["live"] or 0.0) > 0
    ]
