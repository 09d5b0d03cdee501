"""The gates: what they refuse, what they warn of, and what they let through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelbundle.schema import Feature
from services.predict.gates import contract, replay
from services.predict.gates.gate import Rules, Verdict, judge
from tests.unit.services.predict.gates.models import logged, model, risk

ROWS = logged()
NEW = Feature("city", "category", True)
OPTIONAL = Feature("city", "category", False)


def verdict(candidate: Any, rows: list[dict[str, Any]] = ROWS, *lifted: str, trouble: str = "") -> Verdict:
    return judge(model(), candidate, rows, trouble, Rules(lifted))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"city": NEW}, "`city` is a new required feature"),
        ({"emp_length": {"required": True}}, "`emp_length` becomes required"),
        ({"purpose": {"closed": True}}, "`purpose` becomes closed: categories that training has not seen are refused"),
        ({"grade": {"kind": "number"}}, "`grade` becomes a number, before a category"),
        ({"int_rate": {"maximum": 0.2}}, "`int_rate` has narrower bounds: 0 to 0.2, before 0 to 1"),
        ({"amount": {"minimum": 1000.0}}, "`amount` has narrower bounds: at least 1000, before at least 0"),
        ({"amount": {"maximum": 1e9}}, "`amount` has narrower bounds: 0 to 1e+09, before at least 0"),
        ({"purpose": None}, "`purpose` is not a feature any more"),
        ({"id": Feature("id", "category", False)}, "`id` becomes a feature; before, it was the caller's own reference"),
    ],
)
def test_a_schema_that_refuses_more_is_refused_with_the_feature(change: dict[str, Any], said: str) -> None:
    """With rows the share is said, without rows that there are none; where the change is meant, it is a warning."""
    candidate = model(lambda frame: np.full(len(frame), 0.2), **change)
    found = verdict(candidate)
    assert found.kind == "contract"
    assert found.reason.startswith(said)
    assert "of the last 400 rows" in found.reason
    bare = verdict(candidate, [], trouble="nothing is logged")
    assert bare.kind == "contract"
    assert bare.reason.endswith("; not compared with rows: nothing is logged")
    meant = verdict(candidate, ROWS, "contract")
    assert meant.kind == ""
    assert meant.warnings[0].startswith(f"contract: {said}")


@pytest.mark.parametrize(
    "change",
    [
        {"city": OPTIONAL},
        {"int_rate": {"required": False}},
        {"int_rate": {"minimum": None, "maximum": None}},
        {"amount": {"minimum": -1.0}},
        {"amount": {"observed": None}},
        {"grade": {"categories": ("A", "B", "C", "D", "E")}},
        {"grade": {"categories": ()}},
        {"amount": {"title": "Another", "unit": "EUR"}},
    ],
)
def test_a_schema_that_accepts_as_much_passes(change: dict[str, Any]) -> None:
    """Whatever else changes, and with no rows too."""
    for rows in (ROWS, []):
        assert verdict(model(**change), rows).kind == ""


def test_the_share_is_that_of_the_rows_that_would_be_refused() -> None:
    """All for a new required feature; some for a narrower bound, with the feature and the rule."""
    assert (
        "400 of the last 400 rows (100 %) would be refused: `city` missing; required (400)"
        in verdict(model(city=NEW)).reason
    )
    found = verdict(model(int_rate={"maximum": 0.2}))
    above = sum(row["int_rate"] > 0.2 for row in ROWS)
    assert 0 < above < 400
    assert f"{above} of the last 400 rows" in found.reason
    assert f"`int_rate` must be at most 0.2 ({above})" in found.reason
    assert (found.facts["refused"], found.facts["refused_by"]) == (above, {"int_rate": above})


def test_rows_that_are_refused_are_a_finding_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the schemas say: the rows are what clients send."""
    monkeypatch.setattr(contract, "differences", lambda *_: [])
    assert "of the last 400 rows" in verdict(model(int_rate={"maximum": 0.2})).reason


def test_a_null_is_no_unknown_field() -> None:
    """The log has null for what a request left out, so only values count against a model that lacks the feature."""
    found = verdict(model(emp_length=None))
    assert found.facts["refused"] == sum(row["emp_length"] is not None for row in ROWS)


def test_rows_that_the_current_model_refuses_count_against_nobody() -> None:
    """They were answered by an older model."""
    foreign = [{**row, "amount": None} for row in ROWS[:100]]
    assert verdict(model(city=NEW), ROWS + foreign).facts["rows"] == 400
    none = verdict(model(), foreign).facts
    assert (none["rows"], none["not_compared"]) == (0, "no rows are logged that the current model answers")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ((1, 0), "the classes are in another order: 1, 0, before 0, 1"),
        (("no", "yes"), "other classes: no, yes, before 0, 1"),
    ],
)
def test_other_classes_or_another_order_of_them_are_refused(classes: Any, said: str) -> None:
    """Clients read ``predict_proba`` by its position. There is nothing to compare the probabilities with."""
    found = verdict(model(classes=classes))
    assert (found.kind, found.reason.partition("; 0 of")[0]) == ("contract", said)
    assert verdict(model(classes=classes), ROWS, "contract").kind == ""


@pytest.mark.parametrize("rows", [ROWS, []])
def test_percent_for_fractions_is_refused(rows: list[dict[str, Any]]) -> None:
    """And fractions for percent. Without rows the ranges of training tell."""
    percent = model(
        lambda f: 0.05 + f["int_rate"] / 100, int_rate={"minimum": 0.0, "maximum": 100.0, "observed": (5.0, 30.0)}
    )
    found = verdict(percent, rows)
    assert found.kind == "contract"
    assert found.reason.startswith("`int_rate` was 5 to 30 in training")
    assert "is it in another unit?" in found.reason
    if rows:
        assert "400 of the last 400 rows (100 %) are not" in found.reason
        other_way = [{**row, "int_rate": row["int_rate"] * 100} for row in rows]
        assert (
            judge(
                percent, model(lambda f: f["int_rate"] / 100, int_rate={"maximum": 100.0}), other_way, "", Rules()
            ).kind
            == "contract"
        )


def test_categories_in_another_spelling_are_refused() -> None:
    """Every row becomes an unknown category: it is scored, and means something else."""
    found = verdict(model(purpose={"categories": (" boat", " car", " house")}))
    assert found.reason.startswith("`purpose` was other categories in training, and 400 of the last 400 rows")


@pytest.mark.parametrize(
    ("observed", "kind"),
    [((0.2, 0.3), "contract"), ((0.15, 0.3), ""), ((0.05, 0.3), "")],
)
def test_less_than_half_of_the_rows_outside_the_range_of_training_is_no_finding(
    observed: tuple[float, float], kind: str
) -> None:
    """Rates are spread evenly from 0.05 to 0.3."""
    assert verdict(model(int_rate={"observed": observed})).kind == kind


def test_rows_that_the_current_model_did_not_see_in_training_are_drift() -> None:
    """A year that both models did not see says nothing against the new one."""
    both = {"observed": (0.6, 0.7)}
    assert judge(model(int_rate=both), model(int_rate=both), ROWS, "", Rules()).kind == ""


def test_few_rows_decide_nothing_by_their_shares() -> None:
    """99 rows are too few for ranges and scores; 100 are enough."""
    percent = model(int_rate={"maximum": 100.0, "observed": (5.0, 30.0)})
    inverted = model(lambda frame: 1 - risk(frame))
    for candidate in (percent, inverted):
        assert verdict(candidate, ROWS[: contract.FEW - 1]).kind == ""
        assert verdict(candidate, ROWS[: contract.FEW]).kind != ""


@pytest.mark.parametrize(
    ("predict", "said"),
    [
        (lambda f: 1 - risk(f), "the mean probability of `0` goes from"),
        (lambda f: 0.45 - risk(f), "the order of the rows by `1` is reversed: the rank correlation is -1.00"),
        (lambda f: risk(f) * 2.5, "the mean probability of `1` goes from"),
        (lambda f: risk(f) / 2.5, "the mean probability of `1` goes from"),
        (lambda f: np.zeros(len(f)), "the mean probability of `1` goes from 0.23 to 0 (0 ×)"),
    ],
)
def test_probabilities_of_another_size_or_order_are_refused(predict: Any, said: str) -> None:
    """Unless the change is meant; then it is a warning, and the figures are there all the same."""
    found = verdict(model(predict))
    assert found.kind == "scores"
    assert found.reason.startswith(said)
    meant = verdict(model(predict), ROWS, "scores")
    assert (meant.kind, meant.warnings[0].partition(":")[0]) == ("", "scores")
    assert meant.facts["scored"] == 400


@pytest.mark.parametrize(
    "predict",
    [risk, lambda f: risk(f) * 1.9, lambda f: risk(f) / 1.9, lambda f: np.full(len(f), 0.2), lambda f: risk(f) ** 1.1],
)
def test_a_model_that_sees_more_or_less_risk_passes(predict: Any) -> None:
    """Within the factor of two, and one that tells no rows apart."""
    assert verdict(model(predict)).kind == ""


def test_ranks_that_are_unrelated_are_no_finding() -> None:
    """Chance makes some coefficients negative: of twenty unrelated orders, none is called reversed."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        assert verdict(model(lambda f: rng.uniform(0.1, 0.35, len(f)))).kind == ""


def test_a_mean_that_few_rows_move_by_chance_is_no_finding() -> None:
    """One row in a hundred with a high probability doubles the mean, and is not more than chance."""
    rows = ROWS[:200]
    seldom = model(lambda f: np.where(np.arange(len(f)) % 100 == 7, 0.9, 0.004))
    assert judge(model(lambda f: np.full(len(f), 0.004)), seldom, rows, "", Rules()).kind == ""
    assert judge(
        model(lambda f: np.full(len(f), 0.004)), model(lambda f: np.full(len(f), 0.013)), rows, "", Rules()
    ).kind


def test_tiny_probabilities_may_change_by_any_factor() -> None:
    """A tenth of a percent point is no finding, be it nine times as much."""
    low, high = model(lambda f: risk(f) / 2000), model(lambda f: risk(f) / 300)
    assert judge(low, high, ROWS, "", Rules()).kind == ""


def test_each_class_of_several_is_compared() -> None:
    """Two classes that change places leave the last as it was."""

    def three(frame: pd.DataFrame) -> Any:
        return np.column_stack([risk(frame) * 0.9, 0.8 - risk(frame), 0.2 + risk(frame) * 0.1])

    current = model(three, classes=("a", "b", "c"))
    other = model(lambda f: three(f)[:, [1, 0, 2]], classes=("a", "b", "c"))
    assert judge(current, current, ROWS, "", Rules()).kind == ""
    assert judge(current, other, ROWS, "", Rules()).reason.startswith("the mean probability of `a` goes from")


@pytest.mark.parametrize("bad", ["raises", "nan", "inf", "above"])
@pytest.mark.parametrize("every", [1, 150])
def test_rows_that_cannot_be_scored_are_refused_whatever_is_lifted(bad: str, every: int) -> None:
    """Exactly those rows are counted, wherever they are, also where the whole call raises."""
    marked = [{**row, "amount": 777.0 if i % every == every - 1 else row["amount"]} for i, row in enumerate(ROWS)]

    def predict(frame: pd.DataFrame) -> Any:
        hit = (frame["amount"] == 777.0).to_numpy()
        if bad == "raises" and hit.any():
            raise ZeroDivisionError("a loan")
        return np.where(hit, {"raises": 0.0, "nan": np.nan, "inf": np.inf, "above": 1.01}[bad], risk(frame))

    found = verdict(model(predict), marked, "contract", "scores", "probation")
    assert found.kind == "scores"
    if every > 1:
        assert found.reason.startswith("2 of the last 400 rows (0.5 %) get no probability: ")
        assert found.facts["scored"] == 398
    assert ("it raises ZeroDivisionError" in found.reason) is (bad == "raises")
    assert judge(model(predict), model(predict), marked, "", Rules()).kind == ""  # the current one cannot either


def test_a_model_that_always_raises_is_given_up_early() -> None:
    """Halving all rows would take as many calls as there are rows, twice."""
    calls = []

    def fails(frame: pd.DataFrame) -> Any:
        calls.append(len(frame))
        raise ValueError

    assert verdict(model(fails)).kind == "scores"
    assert len(calls) < 3 * replay.MOST_RAISED


def test_a_slow_model_is_compared_on_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is up, what was scored counts; the first rows are always scored."""
    now = [0.0]

    def slow(frame: pd.DataFrame) -> Any:
        now[0] += 0.1 * len(frame)
        return risk(frame)

    monkeypatch.setattr(replay.time, "monotonic", lambda: now[0])
    assert judge(model(), model(slow), ROWS, "", Rules(seconds=60)).facts["scored"] == 400
    assert judge(model(), model(slow), ROWS * 5, "", Rules(seconds=20)).facts["scored"] == 200
    assert judge(model(), model(slow), ROWS, "", Rules(seconds=0)).facts["scored"] == 20


def test_the_figures() -> None:
    """Checked against their definitions."""
    found = verdict(model(lambda f: risk(f) * 1.5)).facts
    old = risk(pd.DataFrame(ROWS))
    assert found["mean"] == pytest.approx([old.mean(), 1.5 * old.mean()])
    assert found["quantiles"][1] == pytest.approx(np.quantile(1.5 * old, [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert found["rank_correlation"] == 1
    assert found["stability_index"] > 0.5
    edges = [0.1, 0.3]
    assert found["other_band"] == pytest.approx(
        (np.searchsorted(edges, old) != np.searchsorted(edges, 1.5 * old)).mean()
    )
    assert verdict(model(bands=[])).facts["other_band"] is None
    assert verdict(model()).facts["stability_index"] == 0


def test_a_log_that_cannot_be_read_is_said_and_the_rows_that_came_count() -> None:
    """Trouble with the log is no finding against a model."""
    found = verdict(model(), ROWS[:10], trouble="the log cannot be read")
    assert (found.kind, found.facts["rows"], found.facts["not_compared"]) == ("", 10, "the log cannot be read")
