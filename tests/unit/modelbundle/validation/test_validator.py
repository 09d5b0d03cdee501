"""From documents to rows and columns, or to every problem at once."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbundle.schema import Feature, Schema
from modelbundle.validation.problems import Invalid, Problem, TooManyRows
from modelbundle.validation.rules import expectation
from modelbundle.validation.validator import Many, One, Validator

SCHEMA = Schema(
    (
        Feature("amount", "number", True, minimum=0, observed=(1000.0, 40000.0), unit="USD"),
        Feature("int_rate", "number", True, minimum=0, maximum=1, observed=(0.05, 0.31), unit="as a fraction"),
        Feature("purpose", "category", True, categories=("car", "house")),
        Feature("emp_length", "category", False, categories=("1 year", "2 years")),
        Feature("revol_util", "number", False, observed=(0.0, 1.2)),
    )
)
VALIDATOR = Validator(SCHEMA)
GOOD: dict[str, Any] = {"amount": 10000, "int_rate": 0.1, "purpose": "car", "emp_length": "1 year", "revol_util": 0.5}


def problems(document: Any) -> list[Problem]:
    with pytest.raises(Invalid) as caught:
        VALIDATOR.read(document, 100)
    return caught.value.problems


def test_a_record_becomes_a_row_in_the_schemas_order() -> None:
    """A whole number is the same number; what is null or left out is missing."""
    shuffled = {"revol_util": None, "purpose": "car", "int_rate": 0.1, "amount": 10000}
    assert VALIDATOR.read(shuffled, 1) == One([10000.0, 0.1, "car", None, None], None, [])


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ([GOOD], 1),
        ({"records": [GOOD, GOOD]}, 2),
        ({k: [v, v, v] for k, v in GOOD.items()}, 3),
    ],
)
def test_lists_records_and_longer_columns_become_columns(document: Any, rows: int) -> None:
    """Numbers become float64 arrays and categories lists, in the schema's order."""
    many = VALIDATOR.read(document, 10)
    assert isinstance(many, Many)
    assert many.rows == rows
    assert isinstance(many.columns[0], np.ndarray)
    assert many.columns[0].dtype == np.float64
    assert many.columns[2] == ["car"] * rows


def test_columns_of_length_one_are_one_record() -> None:
    """The original client's payload asks for one answer."""
    assert VALIDATOR.read({k: [v] for k, v in GOOD.items()}, 1) == VALIDATOR.read(GOOD, 1)


def test_every_problem_is_named_at_once() -> None:
    """Each with a pointer into what was sent and what was expected, and never with the value."""
    bad = {"amount": "SECRET", "int_rte": 0.1, "purpose": 5, "revol_util": True, "id": 7}
    found = problems(bad)
    assert {p.pointer for p in found} == {"/amount", "/int_rte", "/int_rate", "/purpose", "/revol_util", "/id"}
    assert Problem("/int_rte", "unknown field; did you mean `int_rate`?") in found
    assert Problem("/int_rate", "missing; required") in found
    assert "SECRET" not in json.dumps([p.detail for p in found])


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"amount": "1"}, "must be a number, not text in quotes"),
        ({"amount": True}, "must be a number"),
        ({"amount": None}, "must not be null; required"),
        ({"amount": 10**400}, "must be a finite number"),
        ({"amount": math.inf}, "must be a finite number"),
        ({"amount": -1}, "must be at least 0 USD"),
        ({"int_rate": 13}, "must be at most 1 as a fraction"),
        ({"amount": [1]}, None),
        ({"amount": {}}, "must be a number"),
        ({"purpose": 1}, "must be a string"),
        ({"purpose": "x" * 300}, "must be at most 256 characters of valid Unicode"),
        ({"purpose": "\ud800"}, "must be at most 256 characters of valid Unicode"),
    ],
)
def test_what_does_not_fit_is_told_in_every_shape(change: dict[str, Any], detail: str | None) -> None:
    """A record, a list and columns give the same sentence at their own pointers."""
    (name,) = change
    if detail is None:  # a list among scalars: the document is read as columns
        assert {p.pointer for p in problems({**GOOD, **change})} == {f"/{k}" for k in GOOD if k != name}
        return
    assert problems({**GOOD, **change}) == [Problem(f"/{name}", detail)]
    assert problems([GOOD, {**GOOD, **change}]) == [Problem(f"/1/{name}", detail)]
    assert problems({"records": [{**GOOD, **change}]}) == [Problem(f"/records/0/{name}", detail)]
    columns = {k: [v, v] for k, v in GOOD.items()}
    assert problems({**columns, name: [GOOD[name], change[name]]}) == [Problem(f"/{name}/1", detail)]
    assert problems({**{k: [v] for k, v in GOOD.items()}, name: [change[name]]}) == [Problem(f"/{name}/0", detail)]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (7, ""),
        (None, ""),
        ("text", ""),
        ([], ""),
        ([1], "/0"),
        ([[GOOD]], "/0"),
        ({"records": GOOD}, "/records"),
        ({"records": []}, "/records"),
        ({"records": [GOOD], "more": 1}, "/more"),
        ({**{k: [v, v] for k, v in GOOD.items()}, "amount": [1]}, "/amount"),
        ({k: [] for k in GOOD}, ""),
    ],
)
def test_wrong_containers_are_pointed_at(document: Any, pointer: str) -> None:
    """What is no record, list or columns is named where it stands."""
    assert pointer in {p.pointer for p in problems(document)}


def test_unseen_values_are_scored_and_named() -> None:
    """Outside the training range, or a category that training did not know: a warning, not an error."""
    odd = {**GOOD, "amount": 99999, "purpose": "boat"}
    one = VALIDATOR.read(odd, 1)
    assert isinstance(one, One)
    assert [w["pointer"] for w in one.warnings] == ["/amount", "/purpose"]
    many = VALIDATOR.read([GOOD, odd], 2)
    assert isinstance(many, Many)
    assert {i: [w["pointer"] for w in ws] for i, ws in many.warnings.items()} == {1: ["/1/amount", "/1/purpose"]}
    columns = VALIDATOR.read({k: [GOOD[k], odd[k]] for k in GOOD}, 2)
    assert isinstance(columns, Many)
    assert [w["pointer"] for w in columns.warnings[1]] == ["/amount/1", "/purpose/1"]


def test_an_id_is_carried_and_is_never_a_feature() -> None:
    """Strings of at most 64 characters, in every shape; None where a row has none."""
    one = VALIDATOR.read({**GOOD, "id": "loan-1"}, 1)
    assert isinstance(one, One)
    assert one.id == "loan-1"
    many = VALIDATOR.read([{**GOOD, "id": "loan-1"}, GOOD], 2)
    assert isinstance(many, Many)
    assert many.ids == ["loan-1", None]
    assert problems({**GOOD, "id": "x" * 65})[0].pointer == "/id"
    own = Validator(Schema((Feature("id", "number", True, observed=(0.0, 9.0)),)))
    assert own.read({"id": 5}, 1) == One([5.0], None, [])


def test_too_many_rows_are_refused_before_they_are_read() -> None:
    """The limit is a fact of the error."""
    with pytest.raises(TooManyRows) as caught:
        VALIDATOR.read([GOOD] * 11, 10)
    assert (caught.value.rows, caught.value.limit) == (11, 10)


def test_many_problems_are_counted_and_bounded() -> None:
    """A hundred are listed; all are counted."""
    with pytest.raises(Invalid) as caught:
        VALIDATOR.read([{}] * 1000, 1000)
    assert len(caught.value.problems) == 100
    assert caught.value.total == 3000


def test_names_are_escaped_in_pointers() -> None:
    """RFC 6901: ~ and / in a name."""
    assert problems({**GOOD, "a/b~c": 1})[0].pointer == "/a~1b~0c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "id", "records", "x"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_read_or_told_why_not(document: Any) -> None:
    """Whatever JSON can say ends in rows, or in at least one problem; nothing else is raised."""
    try:
        asked = VALIDATOR.read(document, 5)
    except Invalid as invalid:
        assert invalid.problems
    except TooManyRows:
        pass
    else:
        assert isinstance(asked, One | Many)


@given(st.dictionaries(st.sampled_from([*GOOD]), st.none() | st.integers() | st.floats() | st.text(max_size=4)))
def test_the_short_path_and_the_explanation_agree(change: dict[str, Any]) -> None:
    """A record is accepted alone exactly where each of its values fits, and in a list exactly where it is alone."""
    record = {**GOOD, **change}
    fits = all(expectation(feature, record[feature.name]) is None for feature in SCHEMA)
    for document in (record, [record]):
        try:
            VALIDATOR.read(document, 5)
            accepted = True
        except Invalid:
            accepted = False
        assert accepted == fits


@pytest.mark.parametrize(
    "change", ["lacks one", "has another", "has another in its place", "has an id", "is no record"]
)
def test_records_that_do_not_all_have_exactly_the_features_are_read_one_by_one(change: str) -> None:
    """The way for records that do, is not taken where one does not."""
    odd: Any = dict(GOOD)
    if change in ("lacks one", "has another in its place"):
        del odd["revol_util"]
    if change.startswith("has another"):
        odd["colour"] = 1
    if change == "has an id":
        odd["id"] = "mine"
    if change == "is no record":
        odd = [odd]
    if change in ("lacks one", "has an id"):
        many = VALIDATOR.records([GOOD, odd], 2)
        assert many.ids == ([None, "mine"] if "id" in odd else None)
        assert (math.isnan(many.columns[4][1]), many.columns[4][0]) == ("revol_util" not in odd, 0.5)  # type: ignore[arg-type]
    else:
        pointer = "/1" if change == "is no record" else "/1/colour"
        assert [problem.pointer for problem in problems([GOOD, odd])] == [pointer]


@pytest.mark.parametrize(("value", "good"), [(0.5, False), (2.0, True), (3.5, False)])
def test_a_range_of_training_beyond_the_bounds_opens_none_of_them(value: float, good: bool) -> None:
    """A manifest may say so; one row and several rows are read alike."""
    own = Validator(Schema((Feature("x", "number", True, minimum=1, maximum=3, observed=(0.0, 4.0)),)))
    for document in ({"x": value}, [{"x": value}] * 2, {"x": [value] * 2}):
        if good:
            assert not own.read(document, 10).warnings
        else:
            with pytest.raises(Invalid):
                own.read(document, 10)


@pytest.mark.parametrize(
    "document",
    [
        {"k" * 100_000: [1], "amount": [1, 2]},
        {f"{i}{'k' * 5_000}": [1] for i in range(500)} | {"amount": [1, 2], "purpose": [1, 2]},
        {"records": [GOOD], **{f"{i}{'k' * 5_000}": 1 for i in range(500)}},
        {**GOOD, **{f"{i}{'k' * 5_000}": 1 for i in range(500)}},
        [{"k" * 5_000: 1}] * 100,
    ],
)
def test_problems_stay_small_however_long_the_names_are(document: Any) -> None:
    """An answer must not repeat a body of megabytes."""
    assert len(problems(document)) <= 100
    assert sum(len(problem.pointer) + len(problem.detail) for problem in problems(document)) < 50_000


def test_problems_of_a_wrapper_are_all_counted() -> None:
    """Also those that are not named."""
    with pytest.raises(Invalid) as caught:
        VALIDATOR.read({"records": [GOOD], **{str(i): 1 for i in range(500)}}, 100)
    assert (len(caught.value.problems), caught.value.total) == (100, 500)


def test_hints_are_for_so_many_names_as_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing each of a hundred unknown names with thousands of features took seconds."""
    wide = Validator(Schema(tuple(Feature(f"f{i}", "number", False) for i in range(1_000))))
    compared: list[str] = []
    monkeypatch.setattr(Validator, "closest", lambda _, name: compared.append(name))
    with pytest.raises(Invalid) as caught:
        wide.read({f"g{i}": 1 for i in range(200)}, 100)
    assert len(caught.value.problems) == 100
    assert len(compared) == 5
