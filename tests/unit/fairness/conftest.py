"""Rows whose figures can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairness import groups
from fairness.figures import Decision, measure
from fairness.groups import Groups
from fairness.rows import Judged
from modelbundle.fairness import Fairness
from modelbundle.format import bundle
from modelbundle.model import Model
from tests.conftest import Made

Write = Callable[..., Groups]


@pytest.fixture
def model(bundles: list[Made]) -> Model:
    """With the bands low to 0.1, moderate to 0.3 and high."""
    return bundle.read(bundles[0].path)


@pytest.fixture
def write(tmp_path: Path, model: Model) -> Write:
    """Write lines as the file of groups and read it."""

    def written(*lines: str, column: str | None = None, id_column: str = "id") -> Groups:
        path = tmp_path / "groups.csv"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return groups.read(str(path), column, id_column, model.schema, "is_late")

    return written


@pytest.fixture
def by_counts(model: Model, write: Write) -> Callable[..., Fairness]:
    """The figures of groups of so many rows, of which so many are refused: ``by_counts(A=(200, 20))``; ``_`` has no group.

    Every third row was late; probabilities of refused rows are 0.5 and of others 0.2.
    """

    def figured(reference: str = "A", *, least: int = 100, **counts: tuple[int, int]) -> Fairness:
        names = [name for name, (rows, _) in counts.items() for _ in range(rows)]
        probabilities = [p for rows, refused in counts.values() for p in [0.5] * refused + [0.2] * (rows - refused)]
        ids = [f"r{number}" for number in range(len(names))]
        lines = [f"{own},{'' if name == '_' else name}" for own, name in zip(ids, names, strict=True)]
        labels = np.array([number % 3 == 0 for number in range(len(ids))], dtype=np.int8)
        values: dict[str, Any] = {}
        judged = Judged("made up", ids, np.array(probabilities), labels, values)
        return measure(
            judged, write("id,segment", *lines), model, Decision.of("high", False, model), reference, least=least
        )

    return figured
