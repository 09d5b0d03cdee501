"""The figures in sentences, for readers who see them for the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelbundle.evidence import TARGET
from services.monitoring import unseen
from services.monitoring.analysis.bins import Bins, CategoryBins, NumberBins, number, percent
from services.monitoring.log_reader.model_versions import ModelVersion

Floats = NDArray[np.float64]
MANY = 3  # names that a sentence lists
MANY_MORE = 10_000_000  # outcomes, which nobody will wait for


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
        new = bins.strange[0]
        if live[new] - before[new] >= moved.max() / 2:
            some = unseen.listed(entry["unseen_values"])
            what = f", such as {some}" if some else ""
            return f"{title} has values that training never saw{what}: {percent(live[new])} of the rows."
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


def evidence(facts: Mapping[str, Any]) -> str:
    """One sentence about the evidence for the challenger or the champion."""
    better = "challenger" if facts["challenger"] >= facts["champion"] else "champion"
    known = f"{facts['rows']:,} outcomes beside each other"
    if facts[better] >= TARGET:
        return f"{known}: the {better}'s log loss is lower (evidence {_times(facts[better])})."
    more = facts["more"][better]
    if more is None or more > MANY_MORE:
        return f"{known} tell no difference in log loss (evidence {_times(facts[better])}; {TARGET:g} is asked for)."
    return (
        f"{known}: evidence {_times(facts[better])} for the {better}, of {TARGET:g}; at this rate about {_round(more):,} more"
        " outcomes decide."
    )


def calibration(facts: Mapping[str, Any]) -> str:
    """One sentence about the evidence that too many or too few were predicted."""
    side = "too_many" if facts["too_many"] >= facts["too_few"] else "too_few"
    words = side.replace("_", " ")
    if facts[side] >= TARGET:
        return f"The model predicts {words} (evidence {_times(facts[side])}): recalibrate it."
    return f"No evidence that it predicts too many or too few ({_times(facts[side])} for {words}, of {TARGET:g})."


def _times(value: float) -> str:
    return f"{value:.3g}" if value < 1e6 else "above a million"


def _round(rows: int) -> int:
    """Two digits: it is a guess."""
    return int(float(f"{rows:.2g}"))


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
    if kind == "challenge":
        share = f" {detail['share']:g} % of the records" if detail.get("share") else ""
        why = f": {detail['reason']}" if detail.get("reason") else ""
        return f"Challenger {version}: {detail.get('result')}{share}{why}."
    if kind == "correction":
        return "The outcome of a prediction was corrected."
    return kind.capitalize()


def _list(names: Sequence[str]) -> str:
    shown = list(names[:MANY])
    if len(names) > MANY:
        shown.append(f"{len(names) - MANY} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
