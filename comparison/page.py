"""A comparison as one self-contained page, in the style of the monitor's report: no script, light or dark, and for paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services import monitoring
from services.monitoring.analysis.bins import percent
from services.monitoring.report import figure

WIDTH, HEIGHT = 320.0, 110.0
FOLDERS = (Path(__file__).parent, Path(monitoring.__file__).parent)  # the page, and the sheet that it shares


def html(content: Mapping[str, Any]) -> str:
    """The page of a result of :meth:`comparison.compare.Comparison.result`."""
    environment = Environment(
        loader=FileSystemLoader(FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, figure=figure, odds=odds, value=value)
    environment.globals.update(curve=curve, width=WIDTH, height=HEIGHT)
    return environment.get_template("comparison.html").render(content=content)


def odds(number: float) -> str:
    """A term or a change in log-odds, with its sign."""
    return f"{number:+.3f}"


def value(cell: Any) -> str:
    """A value of a feature."""
    return "missing" if cell is None else f"{cell:,.6g}" if isinstance(cell, float) else str(cell)


def curve(pair: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The points of both models' probabilities along equal steps, as SVG ``points``, on one scale from 0."""
    most = max(max(values) for values in pair) or 1.0
    step = WIDTH / max(1, len(pair[0]) - 1)
    points = [
        " ".join(f"{i * step:.1f},{HEIGHT - p / most * (HEIGHT - 8):.1f}" for i, p in enumerate(values))
        for values in pair
    ]
    return {"before": points[0], "after": points[1], "most": most}
