"""CSV cells as values, and the problems of a CSV header: the same rules for the API and for portfolio files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from modelbundle.schema import Feature
from modelbundle.validation.problems import Problem, escape
from modelbundle.validation.validator import Validator

TWICE = "appears in the header more than once"
TAKEN = "is a column that the answer adds"


def values(cells: Sequence[str], feature: Feature | None) -> list[Any]:
    """Cells as JSON values: an empty cell is None; text in a number's column is ``False``, which no rule accepts."""
    if feature is None or feature.kind == "category":
        return [cell or None for cell in cells]
    return [number(cell) if cell else None for cell in cells]


def number(cell: str) -> float | bool:
    """The finite number in a cell, as Python reads it; ``False`` for any other text."""
    try:
        found = float(cell)
    except ValueError:
        return False
    return found if math.isfinite(found) and "_" not in cell and cell.isascii() else False


def label(value: Any) -> str:
    """A class as a cell: booleans as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def header_problems(
    header: Sequence[str], validator: Validator, added: Sequence[str] = (), others: bool = True
) -> list[Problem]:
    """The problems of a table's header. The answer adds the columns ``added``, so the header must not have them.

    ``others`` allows columns that the schema does not have, except one that resembles a missing column of the schema.
    """
    seen = dict.fromkeys(header)
    problems = [Problem(pointer(name), TWICE) for name in seen if header.count(name) > 1]
    problems += [Problem(pointer(name), TAKEN) for name in seen if name in added]
    absent = [f"`{name}`" for name in validator.schema.names if name not in seen]
    for problem in map(validator.hinted, validator.names(seen)):
        if not others or problem.detail.startswith("missing") or any(name in problem.detail for name in absent):
            problems.append(problem)
    return problems


def pointer(name: str) -> str:
    """The JSON pointer of a column."""
    return f"/{escape(name[:256])}"
