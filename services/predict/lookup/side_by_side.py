"""Two models side by side, by their manifests alone: nothing is scored and no other entry is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelbundle import fairness
from modelbundle.fairness import Fairness
from modelbundle.format.manifest import Manifest
from modelbundle.schema import Feature
from services.predict.pages import model_card

MOST = 200  # rows of a section
MOST_CHARACTERS = 300  # of a text
MOST_NAMED = 20  # categories
Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """What both say under a title, cut; None where one says nothing. ``differs``: uncut. ``note`` says more of the difference."""

    title: str
    first: str | None
    second: str | None
    differs: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows with a title. ``same`` counts rows that are left out because both say the same, ``more`` those beyond :data:`MOST`."""

    title: str
    rows: list[Row]
    same: int = 0
    more: int = 0


def sections(first: Manifest, second: Manifest) -> list[Section]:
    """All that there is to say of either of them."""
    found = [
        _section("The model", _model(first), _model(second)),
        _section("Where it comes from", _origin(first), _origin(second)),
        _section("Features", _features(first), _features(second), _changes(first, second), True),
        _section("Bands", _bands(first), _bands(second)),
        _section("Figures", _figures(first), _figures(second)),
        _section("By group", _groups(first.fairness), _groups(second.fairness)),
    ]
    return [section for section in found if section.rows or section.same]


def _section(title: str, first: Texts, second: Texts, notes: Texts | None = None, differing: bool = False) -> Section:
    """``differing``: only rows in which they differ. ``notes`` are by title."""
    pairs = [(name, first.get(name), second.get(name)) for name in dict.fromkeys((*first, *second))]
    notes = notes or {}
    rows = [Row(name[:MOST_CHARACTERS], _cut(a), _cut(b), a != b, notes.get(name, "")) for name, a, b in pairs]
    kept = [row for row in rows if row.differs] if differing else rows
    return Section(title, kept[:MOST], len(rows) - len(kept), max(0, len(kept) - MOST))


def _model(about: Manifest) -> dict[str, str]:
    outcome = about.outcome.to_json()
    return {
        "Name": about.name,
        "Title": about.title,
        "Positive": about.positive,
        "Classes": _json(list(about.classes)),
        "Outcome": _json(outcome),
        "Decision": _json(about.data.get("decision")) if about.data.get("decision") else "the likeliest class",
        "Features": str(len(about.schema)),
    }


def _origin(about: Manifest) -> dict[str, str]:
    lineage = about.data.get("lineage", {})
    return {
        **dict(model_card.facts(about)),
        **{f"Lineage: {name}": _json(value) for name, value in lineage.items() if value is not None},
    }


def _features(about: Manifest) -> dict[str, str]:
    return {feature.name: "; ".join(_feature(feature)) for feature in about.schema}


def _feature(feature: Feature) -> Iterator[str]:
    yield f"{'required' if feature.required else 'optional'} {feature.kind}"
    if feature.unit:
        yield f"in {feature.unit}"
    if feature.minimum is not None:
        yield f"at least {feature.minimum:g}"
    if feature.maximum is not None:
        yield f"at most {feature.maximum:g}"
    if feature.observed:
        yield f"in training {feature.observed[0]:g} to {feature.observed[1]:g}"
    if feature.categories:
        yield f"{len(feature.categories):,} categories: {', '.join(feature.categories)}"
    if feature.closed:
        yield "others are refused"
    if feature.title or feature.description:
        yield ": ".join(filter(None, (feature.title, feature.description)))


def _changes(first: Manifest, second: Manifest) -> dict[str, str]:
    """What is to be said of a feature besides the two texts: whether only one has it, and categories that only one has."""
    found = dict.fromkeys(first.schema.names, "removed") | dict.fromkeys(second.schema.names, "added")
    for name in set(first.schema.names) & set(second.schema.names):
        old, new = (about.schema.features[about.schema.index[name]] for about in (first, second))
        gone, come = (sorted({*a.categories} - {*b.categories}) for a, b in ((old, new), (new, old)))
        kinds = [f"{word}: {_listed(names)}" for word, names in (("gone", gone), ("new", come)) if names]
        found[name] = "; ".join(["changed", *kinds])
    return found


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = len(shown) - MOST_NAMED
    return ", ".join(name[:MOST_CHARACTERS] for name in shown[:MOST_NAMED]) + (
        f" and {more:,} more" if more > 0 else ""
    )


def _bands(about: Manifest) -> dict[str, str]:
    found = {}
    for band in about.bands:
        said = [f"up to {band.upper:.4g}"]
        said += [f"observed rate {band.observed_rate:.4g}"] if band.observed_rate is not None else []
        said += [f"{band.share:.1%} of the training rows"] if band.share is not None else []
        found[band.label] = ", ".join(said)
    return found


def _figures(about: Manifest) -> dict[str, str]:
    found = {}
    for group, figures, method in model_card.figures(about.data.get("metrics")):
        where = f"{group}: " if group else ""
        for figure in figures:
            found[f"{where}{figure.title}"] = f"{figure.value} ({figure.interval})" if figure.interval else figure.value
        if method:
            found[f"{where}how"] = method
    return found


def _groups(found: Fairness | None) -> dict[str, str]:
    if found is None:
        return {}
    told = {
        "Column": found.column,
        "Measured on": found.source,
        "Reference": found.reference,
        "Decision": found.decision,
    }
    for group in found.groups:
        name = "group not known" if group.name is None else group.name
        told[f"{name}: rows"] = f"{group.rows:,}, {group.outcomes:,} with an outcome"
        for key, figure in group.figures.items():
            value, interval = fairness.said(key, figure)
            told[f"{name}: {fairness.FIGURES[key][0]}"] = f"{value} ({interval})" if interval else value
    return told


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
