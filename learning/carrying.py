"""What a retrained model takes over from its parent, and what its card says has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from late_payers.model_card.markup import Bullets, Section, Table
from learning.outcomes import Floats, Interval, Judgement
from modelbundle.format.manifest import Manifest
from modelbundle.publishing.annotations import Author, Band, FeatureWords
from modelbundle.statistics import Labels

MOST = 8  # features whose size is compared


def carried(manifest: Manifest) -> Author:
    """The annotations of a model as its author gave them: texts, units, bounds, reasons, bands, title."""
    words = {}
    for feature in manifest.schema:
        reasons = manifest.data.get("reasons", {}).get(feature.name, {})
        texts = {key: reasons[key] for key in ("disclosable", "high", "low", "missing", "values") if key in reasons}
        words[feature.name] = FeatureWords(
            title=feature.title,
            description=feature.description,
            unit=feature.unit,
            minimum=feature.minimum,
            maximum=feature.maximum,
            **texts,
        )
    return Author(manifest.name, manifest.title, manifest.positive, words, manifest.bands, outcome=manifest.outcome)


def bands(given: Sequence[Band], labels: Labels, probabilities: Floats) -> list[Band]:
    """The same bands with their observed rates and shares on the newer outcomes; None for the rate of an empty band."""
    place = np.searchsorted([band.upper for band in given], probabilities, side="left")
    made = []
    for k, band in enumerate(given):
        inside = place == k
        rate = float(labels[inside].mean()) if inside.any() else None
        made.append(replace(band, observed_rate=rate, share=float(inside.mean())))
    return made


def changes(
    lineage: Mapping[str, Any], before: Judgement, after: Judgement, sizes: Mapping[str, tuple[float, float]]
) -> Section:
    """The card's section "What changed". ``sizes``: each feature's mean size in log-odds, in the parent and now."""
    rows = lineage["rows"]
    facts = [
        f"parent: {lineage['parent']}",
        f"recipe: {lineage['recipe']['name']}, {lineage['recipe']['version']}",
        f"fitted on {rows['original']:,} original rows and {rows['logged']:,} logged ones; "
        f"judged on {rows['judged']:,} newer ones, which neither model was fitted on",
        f"logged from {lineage['since']} to {lineage['until']}; judged from {lineage['split']}",
        f"dataset: {lineage['dataset']}",
    ]
    gain = lineage["gain"]
    table = [[name, words(old), words(new)] for name, old, new in _figures(before, after)]
    blocks: list[Any] = [
        Bullets(facts),
        Table(["On the newer outcomes", "Parent", "This model"], table),
        f"The log loss is {gain[0]:.5f} lower a row (95 %: {gain[1]:.5f} to {gain[2]:.5f}).",
    ]
    if sizes:
        most = sorted(sizes, key=lambda name: -abs(sizes[name][1] - sizes[name][0]))[:MOST]
        moved = [[name, f"{sizes[name][0]:.3f}", f"{sizes[name][1]:.3f}"] for name in most]
        blocks += [
            "The features whose mean size in log-odds, on the same rows, moved most:",
            Table(["Feature", "Parent", "This model"], moved),
        ]
    return Section("What changed", blocks)


def _figures(before: Judgement, after: Judgement) -> list[tuple[str, Interval | None, Interval | None]]:
    def ratio(found: Judgement) -> Interval:
        return (found.predicted_to_observed, *found.predicted_to_observed_interval)

    def loss(found: Judgement) -> Interval:
        return (found.log_loss, np.nan, np.nan)

    return [
        ("Log loss", loss(before), loss(after)),
        ("ROC-AUC", before.roc_auc, after.roc_auc),
        ("Predicted to observed rate", ratio(before), ratio(after)),
        ("Calibration slope", before.slope, after.slope),
    ]


def words(found: Interval | None) -> str:
    """A figure with its interval, if it has one."""
    if found is None:
        return "not determined"
    value, low, high = found
    return f"{value:.5f}" if np.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"
