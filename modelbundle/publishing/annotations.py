"""What the author of a model says about it that no training frame can tell: words, units, bounds, bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FeatureWords:
    """The author's words and bounds for one feature.

    ``minimum`` and ``maximum`` are what is *possible* (a value beyond them is refused), in ``unit``; what was seen in
    training is measured, not declared. ``high``, ``low`` and ``missing`` are the sentences that a borrower reads when this
    feature raised the score by being above the training median, below it, or absent; ``values`` has sentences for single
    categories. A feature that is not ``disclosable`` (the lender's own judgement) never becomes a reason.
    """

    title: str = ""
    description: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    disclosable: bool = True
    high: str = ""
    low: str = ""
    missing: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Band:
    """A named range of probabilities: above the previous band's ``upper``, up to and including its own.

    ``observed_rate`` is the rate of the positive class that was observed in the band, ``share`` the part of the training
    rows that fell into it (both fractions, out of fold).
    """

    label: str
    upper: float
    observed_rate: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """All that a publisher adds to a fitted pipeline and its training frame.

    ``positive`` says what the last class means ("late next quarter"). ``card`` is the model card in Markdown and
    ``card_html`` the same as one HTML page without outside references.
    """

    name: str
    title: str
    positive: str
    features: Mapping[str, FeatureWords] = field(default_factory=dict)
    bands: Sequence[Band] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    card_html: str = ""
