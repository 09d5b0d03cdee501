"""The annotations of a model by its author: texts, units, bounds, bands, metrics and model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelbundle.format.outcome import Outcome


@dataclass(frozen=True, slots=True)
class FeatureWords:
    """The author's texts and bounds for one feature.

    ``minimum`` and ``maximum``, in ``unit``, limit *valid* values: a value beyond is refused. ``high``, ``low`` and ``missing``
    are the reasons that a borrower reads if the feature raises the score and is above the training median, below it, or
    missing; ``values`` has the reasons of single categories. A feature that is not ``disclosable`` (the lender's own
    judgement) never becomes a reason.
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

    ``observed_rate`` is the observed rate of the positive class in the band, ``share`` the band's share of the training rows.
    Both are fractions, from out-of-fold probabilities.
    """

    label: str
    upper: float
    observed_rate: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Everything in a bundle that does not come from the fitted pipeline and its training frame.

    ``positive`` is the meaning of the last class ("late next quarter"). ``card`` is the model card in Markdown, ``card_html``
    the same card as one self-contained HTML page. ``notice`` is a template of the letter to a borrower
    (:mod:`modelbundle.explain.notice`). ``outcome`` is how callers report the label when it is known. ``lineage`` says which
    model it comes from, and how.
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
    notice: str = ""
    outcome: Outcome | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)
