"""Cells of a table of text as values: what a number, a missing value and a category are, wherever a CSV is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from modelbundle.schema import Feature
from modelbundle.validation.validator import Problem, Validator, escape

TWICE = "stands in the header more than once"
TAKEN = "is a column that the answer adds"


def values(cells: Sequence[str], feature: Feature | None) -> list[Any]:
    """Cells as values of JSON: an empty one is missing; in a number's column, what is no number is ``False``."""
    if feature is None or feature.kind == "category":
        return [cell or None for cell in cells]
    return [number(cell) if cell else None for cell in cells]


def number(cell: str) -> float | bool:
    """The finite number that a cell holds, as Python reads it; ``False`` where it holds none."""
    try:
        found = float(cell)
    except ValueError:
        return False
    return found if math.isfinite(found) and "_" not in cell and cell.isascii() else False


def header_problems(
    header: Sequence[str], validator: Validator, added: Sequence[str] = (), others: bool = True
) -> list[Problem]:
    """What is wrong with a table's header, to which the columns ``added`` will be added.

    ``others``: columns that the schema lacks may stand beside its own, unless they look like a misspelt one that is absent.
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
