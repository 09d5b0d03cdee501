"""The figures in sentences, for readers who see them for the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.monitoring.analysis.bins import Bins, CategoryBins, NumberBins, number, percent
from services.monitoring.log_reader.model_versions import ModelVersion

Floats = NDArray[np.float64]
MANY = 3  # names that a sentence lists


def difference(entry: Mapping[str, Any], known: ModelVersion, live: Floats | None, expected: float | None) -> str:
    """One feature's, or the score's, difference to training.

    ``live`` has the shares of its bins, ``expected`` is the mean probability of the rows.
    """
    title = entry["title"]
    if entry["status"] == "waiting" or live is None:
        return f"{title}: there are not enough rows yet to compare with training."
    if entry["status"] == "stable":
        return f"{title} is as in training."
    positive = known.manifest.positive or "positive"
    if entry["kind"] == "score":
        before = known.reference_rate()
        rates = f" The expected rate ({positive}) is {percent(expected)}" if expected is not None else ""
        then = f"; in training it was {percent(before)}." if rates and before is not None else "." if rates else ""
        return f"The scores are distributed differently from training.{rates}{then}"
    position = known.schema.index[entry["name"]]
    return f"{_how(entry, known.bins[position], live)} {_effect(entry, positive, expected)}"


def _how(entry: Mapping[str, Any], bins: Bins, live: Floats) -> str:
    title, unit = entry["title"], f" {entry['unit']}" if entry["unit"] else ""
    total = bins.reference.sum()
    before = bins.reference / total
    moved = np.abs(live - before)
    missing = bins.missing if bins.missing is not None else -1
    if int(moved.argmax()) == missing and moved[missing] > 0:
        return f"{title} is missing in {percent(live[missing])} of the rows; in training it was in {percent(before[missing])}."
    if isinstance(bins, CategoryBins):
        unseen = bins.strange[0]
        if live[unseen] - before[unseen] >= moved.max() / 2:
            named = ", ".join(f"“{value['value']}”" for value in entry["unseen_values"][:MANY])
            what = f", such as {named}" if named else ""
            return f"{title} has values that training never saw{what}: {percent(live[unseen])} of the rows."
        most = int(moved.argmax())
        now, then = percent(live[most]), percent(before[most])
        return f"{title} is “{bins.labels[most]}” in {now} of the rows; in training it was in {then}."
    assert isinstance(bins, NumberBins)
    beyond = list(bins.strange)
    if live[beyond].sum() >= 0.5:
        which = "below" if live[beyond[0]] > live[beyond[1]] else "above"
        share = percent(float(live[beyond].sum()))
        return f"{title} lies outside the range of training in {share} of the rows, mostly {which} it: are the units the same?"
    known_before, known_now = np.cumsum(before[:-2])[1:], np.cumsum(live[:-2])[1:]
    if len(bins.edges) == 0:
        return f"{title} is not what it was in training."
    at = int(np.abs(known_now - known_before)[: len(bins.edges)].argmax())
    direction = "lower" if known_now[at] > known_before[at] else "higher"
    return (
        f"{title} is {direction} than in training: {percent(float(known_before[at]))} were at most"
        f" {number(float(bins.edges[at]))}{unit}, now {percent(float(known_now[at]))} are."
    )


def _effect(entry: Mapping[str, Any], positive: str, expected: float | None) -> str:
    if entry["effect"] is None or expected is None or entry["rate_without"] is None:
        return "What that does to the score cannot be told apart for this model."
    before, after = percent(entry["rate_without"]), percent(expected)
    if before == after:
        return "It hardly moves the score."
    return f"This alone moves the expected rate ({positive}) from {before} to {after}."


def model(status: str, score: Mapping[str, Any], features: Sequence[Mapping[str, Any]], rows: int, least: int) -> str:
    """One sentence about a model."""
    if status == "waiting":
        return f"{rows:,} rows so far; from {least:,} on they are compared with training."
    moved = [entry["title"] for entry in features if entry["status"] == "drifted"]
    if score["status"] == "drifted":
        moved.append("the score")
    if moved:
        return f"Not as in training: {_list(moved)}."
    slightly = [entry["title"] for entry in (*features, score) if entry["status"] == "shifted"]
    if slightly:
        return f"As in training, but for {_list(slightly)}, which hardly {'moves' if len(slightly) == 1 else 'move'} the score."
    return "The rows look like those of training."


def performance(facts: Mapping[str, Any]) -> str:
    """One sentence or two about predictions whose outcomes are known."""
    observed, expected = percent(facts["observed_rate"]), percent(facts["expected_rate"])
    known = f"{facts['outcomes']:,} outcomes are known: {observed} where {expected} was expected."
    area = facts["roc_auc"]
    if area is None:
        return f"{known} They are too few to say how well the model ranks."
    text = f"{known} The ROC-AUC is {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})"
    published = facts["published_roc_auc"]
    if published is None:
        return f"{text}."
    if area["high"] < published:
        return f"{text}, below the {published:.3f} that it was published with."
    return f"{text}; it was published with {published:.3f}."


def happened(kind: str, detail: Mapping[str, Any]) -> str:
    """One event."""
    version = str(detail.get("model_version") or detail.get("sha256") or "")[:12]
    if kind == "switch":
        before = f" from {str(detail['old'])[:12]}" if detail.get("old") else ""
        return f"Switched{before} to {version} (generation {detail.get('generation')})."
    if kind == "refusal":
        return f"Refused {version}: {detail.get('reason')}."
    if kind == "erasure":
        return f"{detail.get('predictions')} predictions were erased."
    if kind == "deployment":
        return f"{str(detail.get('action')).capitalize()} of {detail.get('file') or version}: {detail.get('result')}."
    if kind == "correction":
        return "The outcome of a prediction was corrected."
    return kind.capitalize()


def _list(names: Sequence[str]) -> str:
    shown = list(names[:MANY])
    if len(names) > MANY:
        shown.append(f"{len(names) - MANY} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
