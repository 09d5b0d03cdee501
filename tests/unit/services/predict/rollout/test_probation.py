"""What counts against a model on probation, and what makes it unfit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelbundle.errors import CannotScore
from modelbundle.model import Answer, Model
from modelbundle.validation.problems import Invalid, Problem
from services.predict.rollout import probation
from services.predict.rollout.probation import Evidence, Trial, merged, verdict
from tests.unit.services.predict.gates.models import logged, model

ROW = logged(5)[0]
PROBLEMS = [Problem("/3/int_rate", "must be at most 0.2")]


def trial(before: Model | None) -> Trial:
    return Trial(7, "sha", lambda sha256: before if sha256 == "sha" else None)


def fails(_: pd.DataFrame) -> Any:
    raise ZeroDivisionError


def answers(own: Model, probability: float, rows: int = 1) -> list[Answer]:
    good = own.answer(own.validator.record(ROW).row)
    return [
        Answer(0, [1 - probability, probability], None, None, None, None, good.model_version, "", None, ())
        for _ in range(rows)
    ]


def test_a_request_that_raises_counts_where_the_model_before_answers_it() -> None:
    """For one row and for many."""
    own, kept = model(), trial(model())
    kept.failed(own, own.validator.record(ROW), {0: "it raises ZeroDivisionError"})
    kept.failed(own, own.validator.records([ROW] * 3, 3), {1: "it raises ZeroDivisionError"})
    assert kept.evidence() == Evidence(7, 2, {"it raises ZeroDivisionError": 2})


@pytest.mark.parametrize(
    "before",
    [
        None,
        model(fails),
        model(lambda f: np.full(len(f), np.nan)),
        model(int_rate={"maximum": 0.01, "observed": (0.0, 0.01)}),
    ],
)
def test_what_the_model_before_does_not_answer_either_counts_against_nobody(before: Model | None) -> None:
    """It is not loaded, it raises, it gives NaN, or the row does not fit it."""
    own, kept = model(), trial(before)
    asked = own.validator.record(ROW)
    kept.failed(own, asked, {0: "it raises ZeroDivisionError"})
    kept.answered(own, asked, answers(own, 0.5), 10.0)
    assert kept.evidence() == Evidence(7, 2)


@pytest.mark.parametrize("probability", [math.nan, math.inf, 1.1, -0.1])
def test_a_number_that_is_no_probability_is_never_answered(probability: float) -> None:
    """NaN, infinity, and numbers outside 0 to 1: of one row, of several, and of a book."""
    own = model(lambda f: np.where(f["amount"] == 13.0, probability, 0.5))
    asked = own.validator.records([ROW, {**ROW, "amount": 13.0}], 2)
    for ask in (own.answers, own.score, own.scorer.probability_matrix):
        with pytest.raises(CannotScore) as raised:
            ask(asked.columns)
        assert raised.value.rows == {1: "a probability is not from 0 to 1"}
    with pytest.raises(CannotScore):
        own.answer(asked.row(1))


def test_a_request_that_does_not_fit_counts_where_the_model_before_accepts_it() -> None:
    """With the feature and the rule, never the value; what the client did wrong counts against nobody."""

    def refuses(_: Model) -> None:
        raise Invalid(PROBLEMS)

    kept = trial(model())
    kept.refused(PROBLEMS, lambda _: None)
    kept.refused(PROBLEMS, refuses)
    kept.refused([Problem("/records/0/a~1b", "unknown field")], lambda _: None)
    kept.refused([Problem("", "must be an object")], lambda _: None)
    trial(None).refused(PROBLEMS, lambda _: None)
    found = kept.evidence()
    assert found.requests == 4
    assert found.misfits == {
        "`int_rate` must be at most 0.2": 1,
        "`a/b` unknown field": 1,
        "must be an object": 1,
    }


def test_slow_is_slow_for_a_row_and_beside_the_model_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 10 ms a row, and 20 times as long as the model before takes for the same rows, timed on the spot."""
    own, now = model(), [0.0]

    def before(frame: pd.DataFrame) -> Any:
        now[0] += 0.001 * len(frame)
        return np.full(len(frame), 0.2)

    monkeypatch.setattr(probation.time, "perf_counter", lambda: now[0])
    for rows, seconds, counts in ((1, 0.0099, 0), (1, 0.0199, 0), (1, 0.021, 1), (10, 0.1999, 0), (10, 0.21, 1)):
        kept = trial(model(before))
        asked = own.validator.records([ROW] * rows, rows) if rows > 1 else own.validator.record(ROW)
        kept.answered(own, asked, answers(own, 0.2, rows), seconds)
        assert kept.evidence().slow_requests == counts, (rows, seconds)


def test_a_pipeline_that_follows_one_as_slow_is_not_timed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each timing scores the rows once more. After a hundred that are not slow in comparison, no further request pays for it."""
    own, calls = model(), []

    def before(frame: pd.DataFrame) -> Any:
        calls.append(len(frame))
        return np.full(len(frame), 0.2)

    kept = trial(model(before))
    clock = iter(float(tick) for tick in range(10_000))
    monkeypatch.setattr(probation.time, "perf_counter", lambda: next(clock))  # the model before takes a second
    for _ in range(150):
        kept.answered(own, own.validator.record(ROW), answers(own, 0.2), 1.5)
    assert len(calls) == probation.ENOUGH
    assert kept.evidence().slow_requests == 0


def test_what_was_seen_stays_small() -> None:
    """A contract that was meant to change is not taken back for its misfits: there may be any number of them."""
    kept = trial(model())
    for _ in range(1000):
        kept.refused(PROBLEMS, lambda _: None)
    assert kept._misfits == {"`int_rate` must be at most 0.2": 1000}


def test_workers_are_added_up_and_other_generations_left_out() -> None:
    """Evidence about an earlier switch says nothing about this one."""
    found = merged(
        7,
        [
            Evidence(7, 10, {"a": 1}, {"x": 2}, 1, [(0.1, 0.001)]),
            Evidence(7, hangs={"h": 1}, crashes={"c": 1}),
            Evidence(7, crashes={"c": 1}),
            Evidence(6, 99, {"a": 99}, {"x": 99}, 99, [(9.0, 9.0)]),
            Evidence(7, 20, {"a": 1, "b": 1}, {}, 2, [(0.2, 0.002)]),
        ],
    )
    assert found == Evidence(7, 30, {"a": 2, "b": 1}, {"x": 2}, 3, [(0.1, 0.001), (0.2, 0.002)], {"h": 1}, {"c": 2})


@pytest.mark.parametrize(
    ("seen", "allow", "said"),
    [
        (Evidence(1, 1000), (), ""),
        (
            Evidence(1, 50, {"it raises X": 1}),
            ("contract", "scores"),
            "1 of 50 requests got no probability (it raises X)",
        ),
        (Evidence(1, 50, {}, {"`x` missing": 3, "`y` missing": 1}), (), "4 of 50 requests were refused (`x` missing)"),
        (Evidence(1, 50, {}, {"`x` missing": 3}), ("contract",), ""),
        (Evidence(1, 40, {}, {}, 20, [(0.5, 0.001)]), (), "20 of 40 requests took 500 ms a row, 500 × as long"),
        (Evidence(1, 41, {}, {}, 20, [(0.5, 0.001)]), (), ""),
        (Evidence(1, 19, {}, {}, 19, [(0.5, 0.001)]), (), ""),
        (Evidence(1, 2, {"a": 5}), (), "5 of 5 requests"),
        (
            Evidence(1, hangs={"scoring took longer than 30 s": 1}),
            (),
            "a worker was ended: scoring took longer than 30 s",
        ),
        (Evidence(1, crashes={"Aborted": 1}), (), ""),
        (Evidence(1, crashes={"Aborted": 1, "Bus error": 2}), (), "3 workers crashed (Bus error)"),
    ],
)
def test_the_verdict(seen: Evidence, allow: tuple[str, ...], said: str) -> None:
    """One failure, misfit or hang is enough, and two crashes; slowness takes twenty requests, and half of all."""
    found = verdict(seen, allow)
    assert found.startswith(said)
    assert bool(found) == bool(said)
