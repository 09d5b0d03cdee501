"""The figures by group, by fairlearn's ``MetricFrame``, with the intervals of :mod:`modelbundle.statistics`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fairlearn
import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, count, selection_rate
from numpy.typing import NDArray

from fairness.errors import FairnessError, shown
from fairness.groups import Groups
from fairness.rows import Judged
from modelbundle import statistics
from modelbundle.fairness import Fairness, Group, figure
from modelbundle.model import Model
from modelbundle.statistics import Estimate, Floats, Labels
from services.monitoring.analysis.performance import FEWEST

LEAST = 100  # rows of a group, below which it has no figures
FOUR_FIFTHS = 0.8
FEW_VALUES = 50  # of a feature that may tell the group
UNKNOWN = -1  # the place of rows whose group is not known
METHOD = (
    "Intervals are at 95 %, each by itself. Rates: Wilson, J. Am. Stat. Assoc. 22, 1927. Ratios: Koopman's score interval, "
    "Biometrics 40, 1984, which also holds for small groups; for large ones it agrees with Katz, Biometrics 34, 1978. ROC-AUC: "
    "DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988. Predicted to observed: Wilson's of the observed rate. Calibration "
    "slope: Cox, Biometrika 45, 1958, with Wald's. By group: MetricFrame of fairlearn {version}."
)

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decision:
    """Which rows are refused: those whose probability is above ``threshold``, or with ``below`` those up to it."""

    threshold: float
    below: bool
    text: str

    @classmethod
    def of(cls, text: str, below: bool, model: Model) -> Decision:
        """From the label of a band (this band and those above it, or below it) or from a probability.

        Raises :class:`FairnessError`.
        """
        bands = model.manifest.bands
        labels = [band.label for band in bands]
        if text in labels:
            place = labels.index(text)
            edges = [0.0, *(band.upper for band in bands)]
            if place == (len(bands) - 1 if below else 0):
                raise FairnessError(f"the band {shown(text)} and all {'below' if below else 'above'} it are all bands")
            threshold = edges[place + 1] if below else edges[place]
            also = f", which is the band {text} or a {'lower' if below else 'higher'} one"
        else:
            try:
                threshold, also = float(text), ""
            except ValueError:
                threshold, also = -1.0, ""
            if not 0 < threshold < 1:
                known = f"; the bands are {', '.join(map(shown, labels))}" if labels else "; the model has no bands"
                raise FairnessError(f"{shown(text)} is neither a band nor a probability between 0 and 1{known}")
        words = f"a probability of at most {threshold}" if below else f"a probability above {threshold}"
        return cls(threshold, below, f"Refused: {words}{also}.")

    def refuses(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Which rows are refused, shape (n,)."""
        return np.asarray(probabilities <= self.threshold if self.below else probabilities > self.threshold)


def measure(
    judged: Judged,
    groups: Groups,
    model: Model,
    decision: Decision,
    reference: str,
    *,
    least: int = LEAST,
    others: bool = False,
) -> Fairness:
    """The figures of each group.

    ``others`` allows the file of groups to have ids that are not among the rows. Raises :class:`FairnessError` for these
    otherwise, for a column of groups that is one of the features, and for a reference that is not there or too small.
    """
    notes = [*judged.notes, *_extra(judged, groups, others)]
    names, places = _places(judged, groups)
    notes += [*_missing(judged, groups), *_telling(judged, groups, places)]
    if reference not in names:
        known = f"there are {', '.join(map(shown, names))}" if names else "no row has a group"
        raise FairnessError(f"no row is in the reference group {shown(reference)}; {known}")
    found = _Found.of(judged, decision, places, names.index(reference), least)
    if found.rows(found.standard) < least:
        size = found.rows(found.standard)
        raise FairnessError(f"the reference group {shown(reference)} has {size:,} rows; it needs {least}")
    unanswered = [groups.of.get(own or "") for own in judged.unanswered]
    made = [found.group(name, place, unanswered.count(name)) for place, name in enumerate(names)]
    if found.rows(UNKNOWN) or None in unanswered:
        made.append(found.group(None, UNKNOWN, unanswered.count(None)))
    method = METHOD.format(version=fairlearn.__version__)
    text = f"{decision.text} The ratios are to {reference}."
    digest = _fingerprint(judged, names, places)
    return Fairness(
        model.version, judged.source, groups.column, reference, text, least, tuple(made), tuple(notes), method, digest
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows of ``places`` summed up by group; ``standard`` is the place of the reference."""

    decided: pd.DataFrame
    judgements: pd.DataFrame
    standard: int
    least: int

    @classmethod
    def of(cls, judged: Judged, decision: Decision, places: Places, standard: int, least: int) -> _Found:
        refused, known = decision.refuses(judged.probabilities).astype(np.int64), judged.labels >= 0
        decided = by_group({"rows": count, "refused": selection_rate}, refused, refused, places)
        metrics = {"outcomes": count, "figures": _judged}
        judgements = by_group(metrics, judged.labels[known], judged.probabilities[known], places[known])
        return cls(decided, judgements, standard, least)

    def rows(self, place: int) -> int:
        return int(self.decided["rows"].get(place, 0))

    def refused(self, place: int) -> int:
        return round(float(self.decided["refused"][place]) * self.rows(place))

    def group(self, name: str | None, place: int, unanswered: int) -> Group:
        rows, outcomes = self.rows(place), int(self.judgements["outcomes"].get(place, 0))
        if rows < self.least:
            return Group(
                name, rows, outcomes, unanswered, notes=(f"Too small: {rows:,} rows, fewer than {self.least}.",)
            )
        alone = place in (self.standard, UNKNOWN)
        figures: dict[str, Estimate | None] = {"refusal_rate": _rate(self.refused(place), rows)}
        if not alone:
            figures |= _compared(self.refused(place), rows, self.refused(self.standard), self.rows(self.standard))
        if outcomes >= self.least:
            figures |= self.judgements["figures"][place]
        kept = {key: figure(found) for key, found in figures.items() if found is not None}
        return Group(name, rows, outcomes, unanswered, kept, tuple(_notes(outcomes, self.least, kept, alone)))


def by_group(metrics: Mapping[str, Any], observed: Any, predicted: Any, places: Places) -> pd.DataFrame:
    """fairlearn's ``MetricFrame.by_group``: a column per metric, a row per place; empty without rows."""
    if not len(places):
        return pd.DataFrame({name: pd.Series(dtype=object) for name in metrics})
    found: pd.DataFrame = MetricFrame(
        metrics=dict(metrics), y_true=observed, y_pred=predicted, sensitive_features=pd.Series(places, name="group")
    ).by_group
    return found


def _judged(labels: Any, probabilities: Any) -> dict[str, Estimate | None]:
    """The figures of rows with outcomes. Those that need both kinds are None where there are fewer than :data:`FEWEST` of one."""
    observed, predicted = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    positives, mean = int(observed.sum()), float(predicted.mean())
    found: dict[str, Estimate | None] = {
        "observed_rate": _rate(positives, len(observed)),
        "expected_rate": Estimate(mean, mean, mean),
    }
    return found | _ranked(observed, predicted) if FEWEST <= positives <= len(observed) - FEWEST else found


def _ranked(observed: Labels, predicted: Floats) -> dict[str, Estimate | None]:
    line = statistics.calibration_line(observed, predicted)
    return {
        "predicted_to_observed": statistics.predicted_to_observed(observed, predicted),
        "calibration_slope": None if line is None else line[1],
        "roc_auc": statistics.roc_auc(observed, predicted),
    }


def _rate(hits: int, rows: int) -> Estimate:
    return Estimate(hits / rows, *statistics.wilson(hits, rows))


def _compared(refused: int, rows: int, standard: int, size: int) -> dict[str, Estimate | None]:
    return {
        "adverse_impact_ratio": statistics.rate_ratio(rows - refused, rows, size - standard, size),
        "refusal_ratio": statistics.rate_ratio(refused, rows, standard, size),
    }


def _notes(outcomes: int, least: int, figures: Mapping[str, Any], alone: bool) -> list[str]:
    """Why figures are missing, and what the ratio says by the rule of four fifths."""
    notes = []
    if outcomes < least:
        notes.append(f"Too few outcomes for figures about them: {outcomes:,}, fewer than {least}.")
    elif "roc_auc" not in figures:
        notes.append(f"Fewer than {FEWEST} outcomes of one kind: no ROC-AUC and no calibration.")
    elif "calibration_slope" not in figures:
        notes.append("The calibration slope is not determined.")
    if alone:
        return notes
    for key, what in (("adverse_impact_ratio", "accepts"), ("refusal_ratio", "refuses")):
        if key not in figures:
            notes.append(
                f"No {'adverse impact' if what == 'accepts' else 'refusal'} ratio: it {what} nobody of the reference."
            )
    if "adverse_impact_ratio" in figures:
        notes.append(four_fifths(figures["adverse_impact_ratio"]))
    return notes


def four_fifths(ratio: Mapping[str, float | None]) -> str:
    """The rule of four fifths (29 CFR 1607.4 D) about a ratio, with what its interval allows to say."""
    value, low, high = ratio["value"], ratio["low"], ratio["high"]
    assert value is not None
    assert low is not None
    below = value < FOUR_FIFTHS
    clear = (high is not None and high < FOUR_FIFTHS) if below else low >= FOUR_FIFTHS
    said = f"The adverse impact ratio is {'below' if below else 'not below'} four fifths"
    return f"{said}." if clear else f"{said}, but its interval does not exclude the opposite."


def _extra(judged: Judged, groups: Groups, others: bool) -> list[str]:
    """What is to be said of ids that are not among the rows; raises :class:`FairnessError` where they are not allowed."""
    known = {own for own in (*judged.ids, *judged.unanswered) if own is not None}
    unknown = [own for own in groups.of if own not in known]
    if not unknown:
        return []
    first = unknown[0]
    if not others:
        more = f", as have {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise FairnessError(
            f"{groups.place}: row {groups.rows[first]} has the id {shown(first)}, which is not among the rows{more}; "
            "allow it with --others"
        )
    return [f"{len(unknown):,} ids with a group are not among the rows"]


def _places(judged: Judged, groups: Groups) -> tuple[list[str], Places]:
    """The names of all groups of the file that rows can be in, sorted, and the place of each row's, shape (n,)."""
    found = [groups.of.get(own) if own is not None else None for own in judged.ids]
    lost = [groups.of.get(own) for own in judged.unanswered if own is not None]
    names = sorted({name for name in (*found, *lost) if name is not None})
    index = {name: place for place, name in enumerate(names)}
    return names, np.array([UNKNOWN if name is None else index[name] for name in found], dtype=np.int64)


def _missing(judged: Judged, groups: Groups) -> list[str]:
    """How many rows have no group, and why."""
    without = sum(own is None for own in judged.ids)
    absent = sum(own is not None and own not in groups.of for own in judged.ids)
    empty = sum(own is not None and groups.of.get(own, "") is None for own in judged.ids)
    why = {"have no id": without, "are not in the file of groups": absent, "have no group there": empty}
    return [f"{rows:,} rows {said}: their group is not known" for said, rows in why.items() if rows]


def _telling(judged: Judged, groups: Groups, places: Places) -> list[str]:
    """The features whose value tells the group: the model has the group although its column is no feature.

    Raises :class:`FairnessError` where the groups are a feature's values under other names.
    """
    found = []
    for feature, given in judged.features.items():
        column = pd.Series(given, dtype=object)
        used = (places != UNKNOWN) & column.notna().to_numpy()
        values, distinct = pd.factorize(column[used])
        own = places[used]
        kinds = len(np.unique(own))
        if kinds < 2 or len(distinct) > FEW_VALUES or len(distinct) != len(np.unique(own * len(distinct) + values)):
            continue
        if kinds == len(distinct):
            raise FairnessError(
                f"{groups.place}: {shown(groups.column)} is the model's feature {feature!r} under another name: each of the "
                f"{kinds} groups is one of its values; a group is no feature"
            )
        found.append(feature)
    names = ", ".join(map(shown, found[:10]))
    return [f"each value of {names} is in one group only, so the model can tell the groups"] if found else []


def _fingerprint(judged: Judged, names: Sequence[str], places: Places) -> str:
    digest = hashlib.sha256()
    rows = zip(judged.ids, judged.probabilities.tolist(), judged.labels.tolist(), places.tolist(), strict=True)
    for own, probability, label, place in rows:
        name = None if place == UNKNOWN else names[place]
        digest.update(repr((own, probability.hex(), label, name)).encode() + b"\n")
    return digest.hexdigest()
