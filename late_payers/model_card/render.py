"""The model card: measurements, plots and written sections, as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from late_payers.features import WORDS
from late_payers.model_card import curves as terms
from late_payers.model_card import plots
from late_payers.model_card.markup import Block, Bullets, Picture, Section, Table, to_html, to_markdown
from late_payers.model_card.narrative import Narrative, paragraphs
from modelbundle import statistics
from modelbundle.errors import PublishError
from modelbundle.publishing.annotations import Band
from modelbundle.statistics import Estimate

METHOD = (
    "Out of fold: five stratified folds, shuffled with seed 0; each loan is scored by a model that has not seen it. "
    "Intervals at 95 %, from 200 bootstrap samples of the loans."
)

NAMES = {
    "roc_auc": "ROC-AUC",
    "average_precision": "Average precision",
    "ks": "Kolmogorov-Smirnov distance",
    "lift_top_decile": "Lift in the top decile",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "expected_calibration_error": "Expected calibration error",
    "predicted_to_observed": "Predicted to observed late rate",
}


@dataclass(frozen=True)
class Evidence:
    """The measurements behind a published model.

    ``features`` (n rows), ``labels`` (n,) and out-of-fold ``probabilities`` (n,) are of the training quarter; ``figures`` are
    their metrics; ``model`` is the fitted explainable boosting machine. For a retrained model they are of newer
    loans, out of time: ``method`` then says so, ``how`` in a word, ``loans`` which they are;
    ``first`` are sections before all others.
    """

    features: pd.DataFrame
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    figures: Mapping[str, Estimate]
    bands: Sequence[Band]
    training: Mapping[str, Any]
    model: Any
    method: str = METHOD
    how: str = "out of fold"
    loans: str = "loans of one quarter"
    promise: str = "No loan of the quarter that follows was used for fitting or choosing."
    first: Sequence[Section] = ()


def render(title: str, evidence: Evidence, narrative: Narrative) -> tuple[str, str]:
    """The card as (Markdown, HTML). Raises :class:`PublishError` for an empty written section."""
    if missing := narrative.empty():
        raise PublishError(f"sections of the model card are empty: {', '.join(missing)}")
    sections = [
        *evidence.first,
        Section("Intended use", [Bullets(paragraphs(narrative.intended_use))]),
        Section("What it must not be used for", [Bullets(paragraphs(narrative.must_not_be_used_for))]),
        _data(evidence),
        _performance(evidence),
        _bands(evidence),
        _slices(evidence),
        _terms(evidence),
        Section("Assumptions and limits", [Bullets(paragraphs(narrative.assumptions_and_limits))]),
        Section("Fairness", paragraphs(narrative.fairness)),
        Section("Reasons", paragraphs(narrative.reason_codes)),
        Section("Monitoring plan", [Bullets(paragraphs(narrative.monitoring))]),
        Section("Ownership", paragraphs(narrative.ownership)),
    ]
    return to_markdown(title, sections), to_html(title, sections)


def percent(rate: float, digits: int = 2) -> str:
    """A fraction as a percentage."""
    return f"{100 * rate:.{digits}f} %"


def _data(evidence: Evidence) -> Section:
    rows = [
        [WORDS[name].title, name, WORDS[name].unit or "-", percent(float(evidence.features[name].isna().mean()))]
        for name in map(str, evidence.features)
    ]
    overview = (
        f"{len(evidence.labels):,} {evidence.loans}, of which {percent(float(evidence.labels.mean()))} were late. "
        f"{evidence.promise}"
    )
    facts = [f"{key.replace('_', ' ')}: {value}" for key, value in evidence.training.items()]
    return Section(
        "Data",
        [
            overview,
            Bullets(facts),
            Table(["Column", "Name", "Unit", "Missing"], rows),
        ],
    )


def _performance(evidence: Evidence) -> Section:
    rows = [
        [NAMES[name], f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}"]
        for name, figure in evidence.figures.items()
    ]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.draw_calibration(left, statistics.calibration_curve(evidence.labels, evidence.probabilities))
    plots.draw_roc(right, evidence.labels, {"champion": plots.thinned(evidence.probabilities)})
    return Section(
        "Performance",
        [
            evidence.method,
            Table(["Figure", "Value", "Interval"], rows),
            Picture(
                plots.svg(figure),
                "Left: predicted and observed late rate in ten groups of equal size. Right: the ROC curve.",
            ),
        ],
    )


def _bands(evidence: Evidence) -> Section:
    rows = [
        [band.label, percent(band.upper), percent(band.observed_rate or 0.0), percent(band.share or 0.0, 1)]
        for band in evidence.bands
    ]
    return Section(
        "Risk bands",
        [
            f"A band is a range of probabilities. Its observed late rate and share are {evidence.how}.",
            Table(["Band", "Up to", "Observed late rate", "Share of loans"], rows),
        ],
    )


def slices(features: pd.DataFrame) -> dict[str, pd.Series]:
    """The slices of the card: for each slicing a categorical series, shape (n,)."""
    income = pd.cut(
        features["annual_inc"],
        [-1, 40_000, 70_000, 100_000, np.inf],
        labels=["to 40,000", "to 70,000", "to 100,000", "above"],
    )
    grade = features["grade"].where(features["grade"].isin(["A", "B", "C", "D"]), "E to G")
    return {
        "Grade": grade.astype("category"),
        "Home ownership": features["home_ownership"].astype("category"),
        "Purpose": features["purpose"].astype("category"),
        "Annual income, USD": income,
        "Time in job": features["emp_length"].notna().map({True: "stated", False: "missing"}).astype("category"),
    }


def _slices(evidence: Evidence) -> Section:
    rows = []
    for slicing, groups in slices(evidence.features).items():
        for group in groups.cat.categories:
            inside = (groups == group).to_numpy()
            labels, p = evidence.labels[inside], evidence.probabilities[inside]
            if labels.sum() < 20:
                continue
            auc = statistics.roc_auc(labels, p)
            rates = [percent(float(p.mean())), percent(float(labels.mean()))]
            name = f"{slicing}: {group.replace('_', ' ')}"
            rows.append([name, f"{inside.sum():,}", *rates, f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"])
    return Section(
        "Slices",
        [
            f"{evidence.how.capitalize()}. Groups with fewer than 20 late loans are left out: their figures would be chance.",
            Table(["Slice", "Loans", "Predicted", "Observed", "ROC-AUC"], rows),
        ],
    )


def _terms(evidence: Evidence) -> Section:
    rows = [
        [name.replace(" & ", " with "), f"{value:.3f}"] for name, value in terms.importances(evidence.model).items()
    ]
    blocks: list[Block] = [
        "The score, in log-odds, is the baseline plus one term for each line of this table. A term above 0 raises the risk.",
        Table(["Term", "Mean size, log-odds"], rows),
        Picture(
            plots.svg(plots.curves_figure(terms.curves(evidence.model))),
            "The curve of each column in log-odds, with one standard deviation between models on different parts of the loans.",
        ),
    ]
    if pairs := terms.surfaces(evidence.model):
        blocks.append(Picture(plots.svg(plots.surfaces_figure(pairs)), "What pairs of columns add to their curves."))
    return Section("Curves", blocks)
