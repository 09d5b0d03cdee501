"""An answer as a person reads it: the probability in its context, the terms that lead to it, one after the other.

Places are percentages of a chart's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelbundle.format.manifest import Manifest
from modelbundle.model import Answer, Model
from modelbundle.scorers.base import Row
from services.predict.pages import form, formatting
from services.predict.pages.formatting import logit

SHADES = 7  # of the colours for bands, from the lowest to the highest
OPEN = 2.0  # log-odds that the first and the last band are drawn wide: they have one edge only
MOST_TERMS = 12  # that are drawn by themselves; beyond it the smallest are drawn together
PAD = 0.06  # of the width, left free on both sides of the terms


@dataclass(frozen=True, slots=True)
class BandSegment:
    """A band on the scale; ``upper`` is the label of its right end, empty for the last."""

    label: str
    left: float
    width: float
    shade: int
    upper: str
    current: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The probability and its context. ``average`` and ``ratio`` are empty where the model has no baseline."""

    percent: str
    one_in: str
    band: str | None
    shade: int
    observed: str
    share: str
    average: str
    ratio: str
    segments: tuple[BandSegment, ...]
    place: float
    average_place: float | None
    classes: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class Term:
    """One step from the average case to this one: what it adds in log-odds, and where it is drawn."""

    feature: str
    title: str
    value: str
    disclosable: bool
    amount: str
    raises: bool
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Story:
    """All terms, the largest first, from the baseline to the score; ``start`` and ``end`` are their places."""

    baseline: str
    baseline_percent: str
    start: float
    terms: tuple[Term, ...]
    score: str
    score_percent: str
    end: float
    sentence: str


def verdict(model: Model, answer: Answer) -> Verdict:
    """The probability of the last class, as ``answer`` (of :meth:`Model.answer`) has it."""
    about, probability = model.manifest, answer.predict_proba[-1]
    baseline = answer.baseline
    average = None if baseline is None else model.scorer.probability(baseline)
    band = next((b for b in about.bands if b.label == answer.band), None)
    at = about.bands.index(band) if band else 0
    return Verdict(
        percent=formatting.percent(probability),
        one_in=formatting.one_in(probability),
        band=answer.band,
        shade=_shade(at, len(about.bands)),
        observed="" if band is None or band.observed_rate is None else formatting.percent(band.observed_rate),
        share="" if band is None or band.share is None else formatting.short_percent(float(f"{band.share:.2g}")),
        average="" if average is None else formatting.percent(average),
        ratio="" if average is None else _ratio(probability, average),
        segments=_segments(about, at),
        place=place(about, probability),
        average_place=None if average is None else place(about, average),
        classes=_classes(model, answer),
    )


def place(about: Manifest, probability: float) -> float:
    """Where on the scale a probability is: bands are equally wide, and within one log-odds are even. Without bands, the scale
    is the probability itself."""
    if not about.bands:
        return 100 * probability
    width = 100 / len(about.bands)
    for k, band in enumerate(about.bands):
        if probability <= band.upper or k == len(about.bands) - 1:
            break
    low = logit(about.bands[k - 1].upper) if k else logit(band.upper) - OPEN
    high = logit(band.upper) if k < len(about.bands) - 1 else low + OPEN
    within = (logit(probability) - low) / (high - low)
    return width * (k + min(max(within, 0.02), 0.98))


def story(model: Model, row: Row, answer: Answer) -> Story | None:
    """The terms of a row; None where the scorer has no exact ones."""
    terms, baseline = answer.contributions, answer.baseline
    if not terms or baseline is None:  # UNSET is false, too
        return None
    steps = _steps(model, row, terms)
    sums = [baseline]
    for *_, amount in steps:
        sums.append(sums[-1] + amount)
    low, high = min(sums), max(sums)
    pad = PAD * max(high - low, 0.2)
    low, high = low - pad, high + pad

    def at(score: float) -> float:
        return float(round(100 * (score - low) / (high - low), 2))

    drawn = tuple(
        Term(
            name, title, value, disclosable, formatting.signed(amount), amount > 0,
            min(at(a), at(b)), max(abs(at(b) - at(a)), 0.3),
        )
        for (name, title, value, disclosable, amount), a, b in zip(steps, sums, sums[1:], strict=False)
    )  # fmt: skip
    chance = answer.predict_proba[-1]
    return Story(
        baseline=formatting.signed(baseline),
        baseline_percent=formatting.percent(model.scorer.probability(baseline)),
        start=at(baseline),
        terms=drawn,
        score=formatting.signed(sums[-1]),
        score_percent=formatting.percent(chance),
        end=at(sums[-1]),
        sentence=_sentence(steps),
    )


Step = tuple[str, str, str, bool, float]  # feature, title, value, disclosable, amount


def _steps(model: Model, row: Row, terms: Mapping[str, float]) -> list[Step]:
    found: list[Step] = [
        (feature.name, feature.title or feature.name, form.shown(value), wording.disclosable, terms[feature.name])
        for feature, value, wording in zip(model.schema, row, model.reasons.wordings, strict=True)
    ]
    found.sort(key=lambda step: -abs(step[4]))
    if len(found) > MOST_TERMS:
        rest = found[MOST_TERMS - 1 :]
        found[MOST_TERMS - 1 :] = [("", f"{len(rest)} others", "", True, sum(step[4] for step in rest))]
    return found


def _sentence(steps: Sequence[Step]) -> str:
    """Which terms speak loudest, on either side."""
    up = [title for name, title, *_, amount in steps if name and amount >= 0.05][:2]
    down = [title for name, title, *_, amount in steps if name and amount <= -0.05][:2]
    parts = [f"{' and '.join(titles)} {verb}{'' if len(titles) > 1 else 's'} it most"
             for titles, verb in ((up, "raise"), (down, "lower")) if titles]  # fmt: skip
    return "; ".join(parts) + "." if parts else "No feature moves it far from the average."


def _ratio(probability: float, average: float) -> str:
    ratio = probability / average if average > 0 else 0.0
    if 0.95 < ratio < 1.05:
        return "about the average case's"
    return f"{ratio:.1f} × the average case's" if ratio >= 0.1 else "less than a tenth of the average case's"


def _segments(about: Manifest, current: int) -> tuple[BandSegment, ...]:
    count = len(about.bands)
    width = 100 / max(count, 1)
    last = count - 1
    return tuple(
        BandSegment(
            band.label, round(k * width, 3), round(width, 3), _shade(k, count),
            formatting.short_percent(band.upper) if k < last else "", k == current,
        )
        for k, band in enumerate(about.bands)
    )  # fmt: skip


def _shade(position: int, count: int) -> int:
    return round(position * (SHADES - 1) / (count - 1)) if count > 1 else 0


def _classes(model: Model, answer: Answer) -> tuple[tuple[str, str, bool], ...]:
    """Label, probability, and whether it is predicted, for each of more than two classes."""
    if len(model.classes) == 2:
        return ()
    return tuple(
        (str(label), formatting.percent(p), label == answer.prediction)
        for label, p in zip(model.classes, answer.predict_proba, strict=True)
    )
