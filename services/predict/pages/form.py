"""A model's schema as a form: one field per feature, what is typed into it, and the record that this is.

Names of inputs are prefixed, so that no feature can be taken for a part of the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from modelbundle.explain.curves import in_order
from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.base import Row, Value
from modelbundle.validation.problems import Invalid, Problem, unescape
from services.predict.pages import formatting
from services.predict.pages.charts import axis
from services.web.problem import Refused

PREFIX = "f."
MAX_BYTES = 1 << 18
MAX_TYPED = 1 << 12  # characters of one input that are looked at
MOST_CHOICES = 200  # beyond it a category is typed, not chosen
_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?")
NOT_A_NUMBER = "must be a number, such as 12000 or 0.5"


@dataclass(frozen=True, slots=True)
class Field:
    """One input. ``typed`` is what stands in it; ``choices`` are (value, label), none where it is typed; ``step`` is what an
    arrow key adds."""

    feature: Feature
    typed: str
    choices: tuple[tuple[str, str], ...]
    step: str
    hint: str
    problem: str = ""
    warning: str = ""

    @property
    def name(self) -> str:
        """Of the input."""
        return PREFIX + self.feature.name


def read(body: bytes) -> dict[str, str]:
    """The inputs of a form that was sent; of equal names the last counts. Raises :class:`Refused` with 400 or 413."""
    if len(body) > MAX_BYTES:
        raise Refused(413, f"A form may have {MAX_BYTES} bytes.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20_000)
    except ValueError:
        raise Refused(400, "The body is not a form.") from None
    return {name: text[:MAX_TYPED] for name, text in pairs}


def typed(model: Model, row: Row) -> dict[str, str]:
    """What stands in the inputs for a row."""
    return {
        PREFIX + feature.name: ""
        if value is None
        else formatting.plain(value)
        if isinstance(value, float)
        else str(value)
        for feature, value in zip(model.schema, row, strict=True)
    }


def record(model: Model, given: Mapping[str, str]) -> dict[str, Any]:
    """The record that was typed, as it would be sent as JSON; what is empty is left out.

    What should be a number and is none stays a text, which does not fit the schema.
    """
    found: dict[str, Any] = {}
    for feature in model.schema:
        text = given.get(PREFIX + feature.name, "")
        if feature.kind == "number":
            text = text.strip()
        if text:
            found[feature.name] = _number(text) if feature.kind == "number" else text
    return found


def _number(text: str) -> float | int | str:
    if not _NUMBER.fullmatch(text):
        return text
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def problems(invalid: Invalid, given: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong, by the name of the feature; empty for the whole row."""
    return {
        name: NOT_A_NUMBER if "in quotes" in problem.detail and isinstance(given.get(name), str) else problem.detail
        for problem in reversed(invalid.problems)
        for name in [_name(problem)]
    }


def warnings(found: list[dict[str, str]]) -> dict[str, str]:
    """What training had not seen, by the name of the feature."""
    return {unescape(warning["pointer"].removeprefix("/")): warning["detail"] for warning in found}


def fields(
    model: Model,
    reference: Mapping[str, Any],
    given: Mapping[str, str],
    wrong: Mapping[str, str],
    strange: Mapping[str, str],
) -> list[Field]:
    """The fields in the schema's order, with what was typed and what is to be said about it."""
    described = reference.get("features", {})
    found = []
    for feature in model.schema:
        text = given.get(PREFIX + feature.name, "")
        usual = _usual(feature, described.get(feature.name, {}))
        problem, warning = wrong.get(feature.name, ""), strange.get(feature.name, "")
        found.append(
            Field(
                feature, text, _choices(feature, text), _step(feature, usual), _hint(feature, usual), problem, warning
            )
        )
    return found


def _name(problem: Problem) -> str:
    return unescape(problem.pointer.removeprefix("/"))


def _choices(feature: Feature, text: str) -> tuple[tuple[str, str], ...]:
    known = feature.categories
    if feature.kind != "category" or not 0 < len(known) <= MOST_CHOICES:
        return ()
    names = in_order(known)
    if text and text not in known:
        names.append(text)
    nothing = [] if feature.required and text else [("", "choose" if feature.required else "not stated")]
    return (*nothing, *((name, formatting.label(name)) for name in names))


def _usual(feature: Feature, described: Mapping[str, Any]) -> tuple[float, float] | None:
    """Where most values of a number were in training: between the first and the last tenth, or all of them."""
    edges = described.get("edges", [])
    return (edges[0], edges[-1]) if len(edges) > 1 else feature.observed


def _step(feature: Feature, usual: tuple[float, float] | None) -> str:
    if usual is None or usual[0] == usual[1]:
        return "any"
    step = axis.nice((usual[1] - usual[0]) / 50)
    return f"{max(1.0, step) if feature.integer else step:.10g}"


def _hint(feature: Feature, usual: tuple[float, float] | None) -> str:
    said = [] if feature.required else ["optional"]
    if feature.unit:
        said.append(feature.unit)
    if usual is not None:
        said.append(f"usually {formatting.number(usual[0])} to {formatting.number(usual[1])}")
    return ", ".join(said)


def shown(value: Value) -> str:
    """A value to read."""
    if value is None:
        return "not stated"
    return formatting.number(value) if isinstance(value, float) else formatting.label(value)
