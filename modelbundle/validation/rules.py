"""The rules for one value: what a feature accepts, which values training has not seen, and what an ``id`` may be."""

from __future__ import annotations

from modelbundle.schema import LARGEST, Feature

MAX_ID = 64  # characters
UNKNOWN = "unknown field"
MISSING = "missing; required"
UNSEEN = "not seen in training, or too rarely to name; scored as an unknown category"
CLOSED = "must be a category that training has seen; the model cannot score others"
UNSCORABLE = "the model gives no probability for this row ({})"
ID_RULE = f"must be a string of 1 to {MAX_ID} characters other than NUL"


def expectation(feature: Feature, value: object) -> str | None:
    """What ``feature`` expects instead of ``value``; None where the value fits."""
    if value is None:
        return "must not be null; required" if feature.required else None
    if feature.kind == "category":
        if not isinstance(value, str):
            return "must be a string"
        if not is_category(value, feature.most_characters):
            return f"must be at most {feature.most_characters} characters of valid Unicode"
        return CLOSED if feature.accepted is not None and value not in feature.accepted else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "must be a number, not text in quotes" if isinstance(value, str) else "must be a number"
    if not -LARGEST <= value <= LARGEST:
        return "must be a finite number"
    unit = f" {feature.unit}" if feature.unit else ""
    if feature.minimum is not None and value < feature.minimum:
        return f"must be at least {feature.minimum:g}{unit}"
    if feature.maximum is not None and value > feature.maximum:
        return f"must be at most {feature.maximum:g}{unit}"
    return None


def unseen_warning(feature: Feature) -> str:
    """The warning for a value of ``feature`` that training has not seen."""
    return UNSEEN if feature.kind == "category" else outside_warning(*(feature.observed or (-LARGEST, LARGEST)))


def outside_warning(low: float, high: float) -> str:
    """The warning for a number outside the range from ``low`` to ``high``."""
    return f"outside the range seen in training, {low:g} to {high:g}; scored all the same"


def is_category(text: str, most: int) -> bool:
    """Whether a category may be ``text``: at most ``most`` characters, and valid Unicode."""
    return len(text) <= most and (text.isascii() or not _has_surrogate(text))


def is_reference(own: object) -> bool:
    """Whether ``own`` may be a caller's ``id``. PostgreSQL cannot store a NUL."""
    return type(own) is str and 0 < len(own) <= MAX_ID and "\0" not in own and not _has_surrogate(own)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
