"""The outcome that a bundle names: its values are matched by kind, and read from CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from modelbundle.errors import FormatError, PublishError
from modelbundle.format import bundle
from modelbundle.format.outcome import UNNAMED, Outcome, encoded
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import publish

TRUTH = Outcome("repaid", (False, True))
KINDS = Outcome("end", ("paid", "1", 2))


@pytest.mark.parametrize(
    ("outcome", "value", "found"),
    [
        (TRUTH, True, True),
        (TRUTH, 1, None),
        (TRUTH, "true", None),
        (TRUTH, None, None),
        (KINDS, "paid", "paid"),
        (KINDS, 2.0, 2),
        (KINDS, 1, None),
        (KINDS, True, None),
        (KINDS, [2], None),
    ],
)
def test_a_value_is_of_its_kind(outcome: Outcome, value: Any, found: Any) -> None:
    """True is not 1, and "1" is no number."""
    assert outcome.find(value) is found or outcome.find(value) == found
    assert type(outcome.find(value)) is type(found)


@pytest.mark.parametrize(
    ("outcome", "cell", "found"),
    [(TRUTH, "TRUE", True), (TRUTH, "0.0", False), (TRUTH, "yes", None), (KINDS, "2.0", 2), (KINDS, "1", "1")],
)
def test_a_cell_of_csv_is_read(outcome: Outcome, cell: str, found: Any) -> None:
    """As frames and spreadsheets write values."""
    assert outcome.read(cell) == found


def test_the_label_is_whether_it_is_the_last_class() -> None:
    """Another name's outcome is none of this model's."""
    assert [KINDS.label("end", encoded(v)) for v in ("paid", 2, 2.0, 3)] == [0, 1, 1, None]
    assert KINDS.label("other", "2") is None
    assert TRUTH.label(None, "true") == 1


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"name": "id", "values": [0, 1]},
        {"name": "", "values": [0, 1]},
        {"name": "x" * 65, "values": [0, 1]},
        {"name": "a\nb", "values": [0, 1]},
        {"name": "x", "values": [0]},
        {"name": "x", "values": [1, True]},
        {"name": "x", "values": [None, 1]},
        {"name": "x"},
    ],
)
def test_what_is_no_outcome_is_refused(data: Any) -> None:
    """Names that the API has itself, too."""
    with pytest.raises(FormatError, match="outcome"):
        Outcome.from_json(data, (0, 1))


def test_bundles_name_it(tmp_path: Path) -> None:
    """By the author, by the name of the labels, or not at all: then it is as before there were names."""
    frame = pd.DataFrame({"x": np.linspace(0, 1, 60)})
    labels = pd.Series(["bad", "good", "fair"] * 20, name="credit")
    model = LogisticRegression().fit(frame, labels)
    two = LogisticRegression().fit(frame, labels == "good")

    def made(fitted: Any, target: Any, **author: Any) -> Outcome:
        given = Author("m", "M", "", **author) if author else None
        return bundle.load(
            publish(fitted, frame, target, tmp_path / "m.bundle", author=given).path.read_bytes()
        ).manifest.outcome

    assert made(model, labels) == Outcome("credit", ("bad", "fair", "good"))
    assert made(model, labels.to_numpy()) == Outcome("outcome", ("bad", "fair", "good"))
    assert made(two, (labels == "good").rename("id")) == UNNAMED
    assert made(two, labels == "good", outcome=Outcome("lives", (False, True))) == Outcome("lives", (False, True))
    with pytest.raises(PublishError, match="one value per class"):
        made(model, labels, outcome=Outcome("lives", (False, True)))
