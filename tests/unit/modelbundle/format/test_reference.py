"""``reference.json``: what describing makes can be read back, and nothing else can."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelbundle.errors import FormatError
from modelbundle.format import reference
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.schema import Schema

FRAME = pd.DataFrame(
    {
        "amount": [1.0, 2.0, 2.0, 3.0, np.nan] * 10,
        "grade": ["A", "A", "B", None, "A"] * 10,
    }
)
SCHEMA = Schema.from_frame(FRAME)


def described() -> Any:
    return reference.describe(SCHEMA, frame_columns(SCHEMA, FRAME), np.linspace(0, 1, len(FRAME)))


def test_what_describing_makes_can_be_read() -> None:
    """The same facts, and counts that account for every row; too few of a category are counted as other."""
    made = described()
    assert reference.parse(json.dumps(made).encode(), SCHEMA) == made
    grade = made["features"]["grade"]
    assert grade == {"categories": {"A": 30}, "other": 10, "missing": 10}
    assert sum(made["features"]["amount"]["counts"]) + made["features"]["amount"]["missing"] == 50


def broken(change: Any) -> bytes:
    made = described()
    change(made)
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"features": {}}',
        broken(lambda made: made.update(features=[])),
        broken(lambda made: made["features"].update(other={"missing": 0})),
        broken(lambda made: made["features"].update(amount=7)),
        broken(lambda made: made["features"]["amount"].update(counts=[1])),
        broken(lambda made: made["features"]["amount"].update(counts="x")),
        broken(lambda made: made["features"]["amount"].update(edges=[2, 1], counts=[1, 1, 1])),
        broken(lambda made: made["features"]["amount"].update(edges=["1"], counts=[1, 1])),
        broken(lambda made: made["features"]["amount"].update(edges=[True], counts=[1, 1])),
        broken(lambda made: made["features"]["amount"].update(edges=[1], counts=[-1, 1])),
        broken(lambda made: made["features"]["amount"].update(missing=None)),
        broken(lambda made: made["features"]["amount"].update(edges=list(range(2000)), counts=[1] * 2001)),
        broken(lambda made: made["features"]["grade"].update(categories={"A": "many"})),
        broken(lambda made: made["features"]["grade"].pop("other")),
        broken(lambda made: made.update(probability={"edges": []})),
        broken(lambda made: made.update(rows=-1)),
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    """Bins must ascend and have a count each; counts are whole and not negative; features are the schema's."""
    with pytest.raises(FormatError):
        reference.parse(raw, SCHEMA)
