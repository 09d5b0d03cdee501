"""Values of a category that training never saw, as they may be shown.

One may be a name that was typed into the wrong field, also where many rows share it. So sentences give the length and the number
of rows of such a value. The value itself is for who may see what callers sent. Imports no large library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MANY = 3  # values that a sentence lists

Summary = Mapping[str, Any]


def listed(values: Sequence[Mapping[str, Any]], names: bool = False) -> str:
    """The first of the values, for a sentence."""
    if names:
        return ", ".join(f"“{value['value']}”" for value in values[:MANY])
    return ", ".join(f"a text of {value['length']} characters in {value['rows']} rows" for value in values[:MANY])


def with_values(summary: Summary) -> dict[str, Any]:
    """A summary whose sentences name the values."""

    def part(feature: Summary) -> dict[str, Any]:
        values = feature["unseen_values"]
        if not all(
            "length" in value for value in values
        ):  # an earlier version wrote it, with the values in the sentence
            return dict(feature)
        return {**feature, "text": feature["text"].replace(listed(values), listed(values, names=True), 1)}

    return _changed(summary, part)


def without_values(summary: Summary) -> dict[str, Any]:
    """A summary with no such value in it."""

    def part(feature: Summary) -> dict[str, Any]:
        text = feature["text"]
        for value in feature["unseen_values"]:
            text = text.replace(f"“{value['value']}”", "a text")
        counted = [{name: fact for name, fact in v.items() if name != "value"} for v in feature["unseen_values"]]
        return {**feature, "text": text, "unseen_values": counted}

    return _changed(summary, part)


def _changed(summary: Summary, part: Any) -> dict[str, Any]:
    models = [
        {**model, "features": [part(feature) for feature in model["features"]]} if "features" in model else model
        for model in summary["models"]
    ]
    return {**summary, "models": models}
