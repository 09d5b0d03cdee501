"""Figures by group in a manifest: what is malformed is refused, with what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from modelbundle.errors import FormatError
from modelbundle.fairness import FIGURES, Fairness, Group, said, same_name
from modelbundle.format import archive, bundle, manifest
from tests.conftest import Made

FEATURES = ("amount", "int_rate")
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}
GIVEN: dict[str, Any] = {
    "model": "a" * 64,
    "source": "book.csv",
    "column": "region",
    "reference": "north",
    "decision": "Refused: a probability above 0.3.",
    "least": 100,
    "groups": [
        {"name": "north", "rows": 500, "outcomes": 400, "unanswered": 0, "figures": {"roc_auc": FIGURE}, "notes": []},
        {"name": None, "rows": 3, "outcomes": 0, "unanswered": 1, "figures": {}, "notes": ["Too small"]},
    ],
    "notes": ["said"],
    "method": "Wilson",
    "fingerprint": "b" * 64,
    "unnamed": [0, 0],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """With another value at a path like ``groups.0.rows``; without it where the value is Ellipsis."""
    data: Any = copy.deepcopy(GIVEN)
    *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = data
    for part in above:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return dict(data)


def test_what_is_well_formed_comes_back() -> None:
    found = Fairness.from_json(json.loads(json.dumps(GIVEN)), FEATURES)
    assert json.loads(json.dumps(found.to_json())) == GIVEN
    assert Fairness.from_json(found.to_json(), FEATURES) == found
    open_end = changed("groups.0.figures", {"refusal_ratio": {"value": 2.0, "low": 1.5, "high": None}})
    assert Fairness.from_json(open_end, FEATURES).groups[0].figures["refusal_ratio"]["high"] is None


@pytest.mark.parametrize(
    ("path", "value", "about"),
    [
        *((key, ..., "exactly") for key in GIVEN),
        *((f"groups.0.{key}", ..., "exactly") for key in GIVEN["groups"][0]),
        ("more", 1, "exactly"),
        ("groups.0.more", 1, "exactly"),
        ("column", "amount", "is the model's feature 'amount'"),
        ("column", "Int Rate", "is the model's feature 'int_rate'"),
        ("column", 3, "must be a string"),
        ("column", " ", "must not be empty"),
        ("source", "x" * 257, "at most 256 characters"),
        ("groups.0.name", "a\x00b", "no control characters"),
        ("model", "A" * 64, "must be a SHA-256"),
        ("fingerprint", "b", "must be a SHA-256"),
        ("reference", "south", "one of them is the reference"),
        ("groups", [], "must be a list"),
        ("groups", "north", "must be a list"),
        ("groups", GIVEN["groups"] * 30, "must be a list"),
        ("groups.1", GIVEN["groups"][0], "names of their own"),
        ("groups.0", 3, "must be an object"),
        ("groups.0.name", 3, "must be a string"),
        ("groups.0.rows", -1, "whole number"),
        ("groups.0.rows", True, "whole number"),
        ("groups.0.rows", 5.0, "whole number"),
        ("groups.0.rows", 1 << 60, "whole number"),
        ("groups.0.outcomes", 501, "more outcomes than rows"),
        ("groups.0.figures", [], "must be some of"),
        ("groups.0.figures.gini", FIGURE, "must be some of"),
        ("groups.0.figures.roc_auc", 0.7, "needs value, low and high"),
        ("groups.0.figures.roc_auc", {"value": 0.7}, "needs value, low and high"),
        ("groups.0.figures.roc_auc.value", "0.5", "finite numbers"),
        ("groups.0.figures.roc_auc.value", True, "finite numbers"),
        ("groups.0.figures.roc_auc.value", 10**400, "finite numbers"),
        ("groups.0.figures.roc_auc.high", None, "finite numbers"),
        ("groups.0.figures.roc_auc.high", float("nan"), "finite numbers"),
        ("groups.0.figures.roc_auc.value", 0.7, "not in its interval"),
        ("groups.0.figures.roc_auc.high", 1.1, "must be from 0 to 1"),
        ("groups.0.figures.refusal_ratio", {"value": 1, "low": -1, "high": 2}, "must be from 0"),
        ("groups.0.notes", "text", "must be a list"),
        ("groups.0.notes", ["x"] * 21, "must be a list"),
        ("notes", [3], "must be a string"),
        ("notes", None, "must be a list"),
        ("unnamed", [1], "number of groups"),
        ("unnamed", [1, -1], "whole number"),
        ("least", "100", "whole number"),
    ],
)
def test_what_is_malformed_is_refused(path: str, value: Any, about: str) -> None:
    with pytest.raises(FormatError, match=about):
        Fairness.from_json(changed(path, value), FEATURES)


@pytest.mark.parametrize("data", [None, 3, [], "text", {}])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(FormatError, match="exactly"):
        Fairness.from_json(data, FEATURES)


def test_rare_groups_lose_their_names() -> None:
    """Fewer than twenty rows, answered or not, could identify a person; the rows whose group is not known name nobody."""
    found = Fairness.from_json(GIVEN, FEATURES)
    more = (*found.groups, Group("x", 19), Group("y", 10, unanswered=10), Group("z", 1, unanswered=2))
    shown = Fairness(**{**{key: getattr(found, key) for key in GIVEN}, "groups": more}).published()
    assert [group.name for group in shown.groups] == ["north", None, "y"]
    assert shown.unnamed == (2, 22)
    assert shown.published() == shown


def rebuilt(made: Made, change: Callable[[dict[str, Any]], None]) -> bytes:
    entries = archive.unpack(made.path.read_bytes())
    data = json.loads(entries.pop(manifest.NAME))
    change(data)
    return archive.pack({**entries, manifest.NAME: manifest.dump(data)})


def test_a_bundle_is_checked_when_it_is_loaded(bundles: list[Made]) -> None:
    """Its figures must be well-formed, of no feature, and name no rare group."""
    good = bundle.load(rebuilt(bundles[0], lambda data: data.update(fairness=GIVEN)))
    assert good.manifest.fairness == Fairness.from_json(GIVEN, FEATURES)
    assert good.manifest.public()["fairness"] == GIVEN
    assert bundle.read(bundles[0].path).manifest.fairness is None
    rare = changed("groups.1", {**GIVEN["groups"][1], "name": "islands"})
    for wrong, about in (
        ({}, "exactly"),
        (changed("column", "emp length"), "the model's feature 'emp_length'"),
        (rare, "so rare that it could identify a person"),
    ):
        with pytest.raises(FormatError, match=about):
            bundle.load(rebuilt(bundles[0], lambda data, wrong=wrong: data.update(fairness=wrong)))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("amount", True),
        ("Amount", True),
        ("INT-RATE", True),
        ("int.rate ", True),
        ("rate", False),
        ("__", False),
        ("Ärger", False),
    ],
)
def test_names_that_differ_in_case_and_punctuation_are_the_same(name: str, same: bool) -> None:
    assert (same_name(name, FEATURES) is not None) == same


def test_figures_in_words() -> None:
    assert said("refusal_rate", {"value": 0.1234, "low": 0.1, "high": 0.15}) == ("12.34 %", "10.00 % to 15.00 %")
    assert said("expected_rate", {"value": 0.02, "low": 0.02, "high": 0.02}) == ("2.00 %", "")
    assert said("refusal_ratio", {"value": 2.0, "low": 1.5, "high": None}) == ("2.000", "from 1.500")
    assert set(FIGURES) >= {"roc_auc", "adverse_impact_ratio"}
