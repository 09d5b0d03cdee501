"""Plots for the model card and the notebook; a function draws on given axes or returns a new figure."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from late_payers.features import GRADES, WORDS
from late_payers.model_card.curves import Curve, Surface
from modelbundle.statistics import CurvePoint, Estimate

Floats = NDArray[np.float64]
INK, ACCENT, PALE = "#1f2937", "#1d4ed8", "#93c5fd"


def title(feature: str) -> str:
    """The feature's title for an axis, with its unit."""
    words = WORDS[feature]
    return f"{words.title} ({words.unit})" if words.unit else words.title


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Draw a term as steps, or as bars for a category, with one standard deviation between the bags."""
    if curve.edges is None:
        names = [name.replace("_", " ") for name in curve.names]
        places = np.arange(len(names))
        axes.barh(places, curve.scores, xerr=curve.deviations, color=PALE, ecolor=INK, error_kw={"linewidth": 0.8})
        if curve.missing:
            axes.barh(len(names), curve.missing, color=ACCENT)
            names.append("missing")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_xlabel("log-odds", fontsize=8)
    else:
        low, high = curve.scores - curve.deviations, curve.scores + curve.deviations
        edges = _visible(curve)
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.fill_between(edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=PALE, alpha=0.6)
        axes.step(edges, np.append(curve.scores, curve.scores[-1]), where="post", color=ACCENT, linewidth=1.2)
        if curve.missing:
            axes.text(
                0.98, 0.95, f"missing: {curve.missing:+.2f}", transform=axes.transAxes, ha="right", va="top", fontsize=7
            )
        axes.set_ylabel("log-odds", fontsize=8)
    axes.set_title(title(curve.feature), fontsize=9)
    axes.tick_params(labelsize=7)


def _visible(curve: Curve) -> Floats:
    """The edges; the last step is cut to a tenth of the other steps' width, or an income of nine million would hide them."""
    assert curve.edges is not None
    edges = curve.edges
    limit = edges[-2] + (edges[-2] - edges[0]) / 10
    return np.asarray(np.minimum(edges, limit))


def curves_figure(curves: Sequence[Curve]) -> Figure:
    """All curves in one figure; the numeric ones share a vertical scale."""
    figure = Figure(figsize=(11, 2.6 * ((len(curves) + 2) // 3)), layout="constrained")
    grid = figure.subplots((len(curves) + 2) // 3, 3, squeeze=False)
    numeric = [curve for curve in curves if curve.edges is not None]
    low = min(float((curve.scores - curve.deviations).min()) for curve in numeric)
    high = max(float((curve.scores + curve.deviations).max()) for curve in numeric)
    for axes, curve in zip(grid.flat, curves, strict=False):
        draw_curve(axes, curve)
        if curve.edges is not None:
            axes.set_ylim(low - 0.05, high + 0.05)
    for axes in list(grid.flat)[len(curves) :]:
        axes.set_visible(False)
    return figure


def surfaces_figure(surfaces: Sequence[Surface]) -> Figure:
    """The pairs as heat maps: red raises the risk, blue lowers it."""
    figure = Figure(figsize=(3.7 * len(surfaces), 3.1), layout="constrained")
    grid = figure.subplots(1, len(surfaces), squeeze=False)
    reach = max(float(np.abs(surface.scores).max()) for surface in surfaces)
    for axes, surface in zip(grid.flat, surfaces, strict=True):
        image = axes.imshow(
            surface.scores.T,
            origin="lower",
            aspect="auto",
            cmap="RdBu_r",
            vmin=-reach,
            vmax=reach,
            extent=(0, 1, 0, 1),
        )
        for axis, name, edges in (
            ("x", surface.first, surface.first_edges),
            ("y", surface.second, surface.second_edges),
        ):
            places = np.linspace(0, len(edges) - 1, 4).astype(int)
            labels = [_short(name, float(edges[place])) for place in places]
            axes.set(**{f"{axis}ticks": places / (len(edges) - 1), f"{axis}ticklabels": labels})
            axes.set(**{f"{axis}label": WORDS[name].title})
        axes.tick_params(labelsize=7)
    figure.colorbar(image, ax=list(grid.flat), label="log-odds", shrink=0.8)
    return figure


def _short(feature: str, value: float) -> str:
    """A tick's label: a grade's letter, a whole number from 100 up, three digits below."""
    if feature == "grade":
        return GRADES[round(value)]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_calibration(axes: Axes, points: Sequence[CurvePoint], label: str = "") -> None:
    """Draw predicted against observed late rates, in percent, with intervals of the observed rates."""
    predicted = np.array([point.predicted for point in points]) * 100
    observed = np.array([point.observed for point in points]) * 100
    below = observed - np.array([point.low for point in points]) * 100
    above = np.array([point.high for point in points]) * 100 - observed
    top = float(max(predicted.max(), observed.max())) * 1.1
    axes.plot([0, top], [0, top], color=INK, linewidth=0.6)
    axes.errorbar(predicted, observed, yerr=[below, above], marker="o", markersize=3, linewidth=1, label=label or None)
    axes.set(xlabel="predicted late rate, %", ylabel="observed late rate, %")


def draw_roc(axes: Axes, labels: NDArray[np.int64], scores: Mapping[str, Floats]) -> None:
    """Draw the ROC curves of several models on the same loans."""
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6)
    for name, values in scores.items():
        false, true, _ = roc_curve(labels, values)
        axes.plot(false, true, linewidth=1.1, label=name)
    axes.set(xlabel="share of loans on time flagged", ylabel="share of late loans found")
    axes.legend(fontsize=8)


def draw_estimates(axes: Axes, estimates: Mapping[str, Estimate]) -> None:
    """Draw one metric of several models with intervals, the best on top."""
    ordered = sorted(estimates.items(), key=lambda item: item[1].value)
    for place, (_, estimate) in enumerate(ordered):
        axes.plot([estimate.low, estimate.high], [place, place], color=PALE, linewidth=4)
        axes.plot(estimate.value, place, "o", color=ACCENT, markersize=4)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])


def thinned(scores: Floats, levels: int = 300) -> Floats:
    """Scores rounded to ``levels`` quantiles, so that a ROC curve has at most that many points instead of one per loan."""
    cuts = np.unique(np.quantile(scores, np.linspace(0, 1, levels)))
    return np.asarray(np.searchsorted(cuts, scores), dtype=np.float64)


def svg(figure: Figure) -> str:
    """The figure as one inline SVG element; the same bytes for the same figure."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "late-payers", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return re.sub(r"\s*\n\s*", "\n", text[text.index("<svg") :])
