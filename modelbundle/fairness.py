"""``fairness`` in a manifest: a model's figures by group, as ``make fairness`` measures them. A group is never a feature."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modelbundle.errors import FormatError
from modelbundle.format import values
from modelbundle.schema import MAX_TEXT, RARE
from modelbundle.statistics import Estimate

KEY = "fairness"
MOST_GROUPS = 50
MOST_NOTES = 20
FIGURES = {  # title, and what it says
    "refusal_rate": ("Refused", "the share of the rows that this decision refuses"),
    "adverse_impact_ratio": ("Adverse impact ratio", "the share that is not refused, as a multiple of the reference's"),
    "refusal_ratio": ("Refusal ratio", "the share that is refused, as a multiple of the reference's"),
    "observed_rate": ("Observed rate", "what happened, of the rows with an outcome"),
    "expected_rate": ("Expected rate", "the mean probability of the rows with an outcome"),
    "predicted_to_observed": ("Predicted to observed", "1: as many as the probabilities add up to"),
    "calibration_slope": ("Calibration slope", "1: as spread as they should be; below 1 too extreme"),
    "roc_auc": ("ROC-AUC", "how well it ranks within the group; 0.5 is a coin"),
}
DECIDED, JUDGED = list(FIGURES)[:3], list(FIGURES)[3:]  # of all rows, and of those with an outcome
PERCENT = frozenset({"refusal_rate", "observed_rate", "expected_rate"})
SHARES = PERCENT | {"roc_auc"}  # from 0 to 1
SIGNED = frozenset({"calibration_slope"})
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of a group; ``name`` is None for the rows whose group is not known.

    ``unanswered`` counts rows that the model did not accept. A figure is missing where the notes say why. ``high`` of a ratio is
    None where the interval has no end; ``low`` and ``high`` of a figure without an interval are its value.
    """

    name: str | None
    rows: int
    outcomes: int = 0
    unanswered: int = 0
    figures: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fairness:
    """Figures by group of the model ``model`` (SHA-256) on ``source``, at 95 %.

    ``decision`` says in words which rows it refuses. ``least`` is the number of rows below which a group has no figures.
    ``unnamed`` is how many groups and rows are not named because the groups are rare.
    """

    model: str
    source: str
    column: str
    reference: str
    decision: str
    least: int
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    method: str
    fingerprint: str
    unnamed: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def published(self) -> Fairness:
        """The same without the names and single counts of groups that are so rare that they could identify a person."""
        rare = [group for group in self.groups if group.name is not None and group.rows + group.unanswered < RARE]
        counted = sum(group.rows + group.unanswered for group in rare)
        kept = tuple(group for group in self.groups if group not in rare)
        return replace(self, groups=kept, unnamed=(self.unnamed[0] + len(rare), self.unnamed[1] + counted))

    @classmethod
    def from_json(cls, data: object, features: Iterable[str]) -> Fairness:
        """Parse and check; raises :class:`FormatError`, also where the column of groups is one of the ``features``."""
        entry = _object(data, cls, "it")
        column = _text(entry, "column")
        if (feature := same_name(column, features)) is not None:
            raise FormatError(KEY, f"the column of groups, {column!r}, is the model's feature {feature!r}")
        for key in ("model", "fingerprint"):
            if not _HASH.fullmatch(_text(entry, key)):
                raise FormatError(KEY, f"{key} must be a SHA-256")
        given = entry["groups"]
        if not isinstance(given, (list, tuple)) or not 1 <= len(given) <= MOST_GROUPS + 1:
            raise FormatError(KEY, f"groups must be a list of 1 to {MOST_GROUPS}, and one without a name")
        groups = tuple(_group(each) for each in given)
        names = [group.name for group in groups]
        if len(set(names)) != len(names) or _text(entry, "reference") not in names:
            raise FormatError(KEY, "groups must have names of their own, and one of them is the reference")
        unnamed = entry["unnamed"]
        if not isinstance(unnamed, (list, tuple)) or len(unnamed) != 2:
            raise FormatError(KEY, "unnamed must be a number of groups and a number of rows")
        texts = {key: _text(entry, key) for key in ("model", "source", "column", "reference", "fingerprint")}
        return cls(
            **texts,
            least=_count(entry["least"], "least"),
            groups=groups,
            notes=_notes(entry["notes"]),
            decision=_text(entry, "decision", values.WORDS),
            method=_text(entry, "method", values.WORDS),
            unnamed=(_count(unnamed[0], "unnamed"), _count(unnamed[1], "unnamed")),
        )


def same_name(name: str, others: Iterable[str]) -> str | None:
    """The one of ``others`` that ``name`` is, apart from case, spaces and punctuation."""

    def bare(text: str) -> str:
        return "".join(c for c in text.casefold() if c.isalnum()) or text

    return next((other for other in others if bare(other) == bare(name)), None)


def _group(data: object) -> Group:
    entry = _object(data, Group, "a group")
    name = entry["name"] if entry["name"] is None else _text(entry, "name")
    figures = entry["figures"]
    if not isinstance(figures, Mapping) or not set(figures) <= set(FIGURES):
        raise FormatError(KEY, f"a group's figures must be some of {', '.join(FIGURES)}")
    counts = {key: _count(entry[key], key) for key in ("rows", "outcomes", "unanswered")}
    if counts["outcomes"] > counts["rows"]:
        raise FormatError(KEY, "a group has more outcomes than rows")
    checked = {key: _figure(key, value) for key, value in figures.items()}
    return Group(name, figures=checked, notes=_notes(entry["notes"]), **counts)


def _figure(key: str, data: object) -> dict[str, float | None]:
    if not isinstance(data, Mapping) or set(data) != {"value", "low", "high"}:
        raise FormatError(KEY, f"{key} needs value, low and high")
    value, low, high = (data[part] for part in ("value", "low", "high"))
    numbers = [value, low, *([] if high is None and key.endswith("ratio") else [high])]
    if not all(map(values.is_number, numbers)):
        raise FormatError(KEY, f"{key} must be finite numbers")
    if not low <= value <= (math.inf if high is None else high):
        raise FormatError(KEY, f"{key} is not in its interval")
    least, most = (-math.inf if key in SIGNED else 0, 1 if key in SHARES else math.inf)
    if low < least or (high or 0) > most:
        raise FormatError(KEY, f"{key} must be from {least} to {most}")
    return {"value": float(value), "low": float(low), "high": None if high is None else float(high)}


def figure(found: Estimate) -> dict[str, float | None]:
    """An estimate as a figure of a group."""
    return {**found.to_json(), "high": found.high if math.isfinite(found.high) else None}


def said(key: str, found: Mapping[str, float | None]) -> tuple[str, str]:
    """The value of a figure and its interval in words; no interval where it has none."""

    def number(value: float) -> str:
        return f"{100 * value:.2f} %" if key in PERCENT else f"{value:.3f}"

    value, low, high = found["value"], found["low"], found["high"]
    assert value is not None
    assert low is not None
    if high is None:
        return number(value), f"from {number(low)}"
    return number(value), "" if low == high else f"{number(low)} to {number(high)}"


def _object(data: object, kind: type, what: str) -> Mapping[str, Any]:
    names = set(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    if not isinstance(data, Mapping) or set(data) != names:
        raise FormatError(KEY, f"{what} must be an object with exactly {', '.join(sorted(names))}")
    return data


def _text(entry: Mapping[str, Any], key: str, most: int = MAX_TEXT) -> str:
    found = values.text(KEY, key, entry[key], most)
    if not found.strip():
        raise FormatError(KEY, f"{key} must not be empty")
    return found


def _count(value: object, key: str) -> int:
    if not values.is_count(value):
        raise FormatError(KEY, f"{key} must be a whole number that is not negative")
    assert isinstance(value, int)
    return value


def _notes(value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > MOST_NOTES:
        raise FormatError(KEY, f"notes must be a list of at most {MOST_NOTES} texts")
    return tuple(_text({"note": note}, "note", values.WORDS) for note in value)
