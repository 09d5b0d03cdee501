"""The figures by group are those of the rows of the group: by hand, by fairlearn, and by the functions that the monitor uses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, demographic_parity_ratio, selection_rate
from sklearn.metrics import roc_auc_score

from fairness.errors import FairnessError
from fairness.figures import Decision, four_fifths, measure
from fairness.rows import Judged
from modelbundle.fairness import FIGURES, Fairness, Group
from modelbundle.format.manifest import dump
from modelbundle.model import Model
from modelbundle.statistics import Z, calibration_line, predicted_to_observed, roc_auc

ByCounts = Callable[..., Fairness]
GROUPS = np.array(["A", "B", "C"])


def group(found: Fairness, name: str | None) -> Group:
    return next(group for group in found.groups if group.name == name)


def drawn(rows: int = 3000) -> tuple[Judged, np.ndarray]:
    """Rows in three groups; what the model says holds in A, is too high in B, and is nothing in C."""
    rng = np.random.default_rng(3)
    names = rng.choice(GROUPS, rows, p=[0.5, 0.4, 0.1])
    probabilities = rng.beta(2, 6, rows)
    true = np.where(names == "A", probabilities, np.where(names == "B", probabilities / 2, 0.3))
    labels = (rng.random(rows) < true).astype(np.int8)
    labels[: rows // 5] = -1
    return Judged("made up", [f"r{k}" for k in range(rows)], probabilities, labels, {}), names


def measured(model: Model, write: Any, judged: Judged, names: Any, reference: str = "A", **more: Any) -> Fairness:
    lines = [f"{own},{name}" for own, name in zip(judged.ids, names, strict=True)]
    decision = Decision.of(more.pop("refuse", "high"), more.pop("below", False), model)
    return measure(judged, write("id,segment", *lines), model, decision, reference, **more)


def test_ratios_by_hand(by_counts: ByCounts) -> None:
    """40 of 200 and 60 of 150 are refused: 0.6 / 0.8, and 0.4 / 0.2. Katz's interval of the logarithm is nearby."""
    found = by_counts(A=(200, 40), B=(150, 60))
    b = group(found, "B").figures
    assert b["refusal_rate"]["value"] == pytest.approx(0.4)
    assert b["adverse_impact_ratio"]["value"] == pytest.approx(0.75)
    assert b["refusal_ratio"]["value"] == pytest.approx(2.0)
    spread = Z * math.sqrt(1 / 90 - 1 / 150 + 1 / 160 - 1 / 200)
    katz = [0.75 * math.exp(-spread), 0.75 * math.exp(spread)]
    assert [b["adverse_impact_ratio"][end] for end in ("low", "high")] == pytest.approx(katz, abs=0.01)
    assert group(found, "A").figures["refusal_rate"]["value"] == pytest.approx(0.2)
    assert "adverse_impact_ratio" not in group(found, "A").figures
    assert any("below four fifths" in note for note in group(found, "B").notes)


def test_it_agrees_with_fairlearn(model: Model, write: Any) -> None:
    """Rates of refusal, their ratio, and the ROC-AUC of scikit-learn by MetricFrame."""
    judged, names = drawn()
    found = measured(model, write, judged, names)
    refused = judged.probabilities > 0.3
    own = MetricFrame(metrics=selection_rate, y_true=refused, y_pred=refused, sensitive_features=names)
    known = judged.labels >= 0
    areas = MetricFrame(
        metrics=roc_auc_score,
        y_true=judged.labels[known],
        y_pred=judged.probabilities[known],
        sensitive_features=names[known],
    )
    for name in GROUPS:
        figures = group(found, name).figures
        assert figures["refusal_rate"]["value"] == pytest.approx(own.by_group[name])
        assert figures["roc_auc"]["value"] == pytest.approx(areas.by_group[name])
    two = names != "C"
    accepted = ~refused[two]
    ratio = demographic_parity_ratio(accepted, accepted, sensitive_features=names[two])
    b = group(found, "B").figures["adverse_impact_ratio"]["value"]
    assert b is not None
    assert min(b, 1 / b) == pytest.approx(ratio)


def test_outcomes_by_group_are_the_monitor_s_figures_of_these_rows(model: Model, write: Any) -> None:
    """Observed and expected rate, ratio, slope and ROC-AUC with their intervals: of the group's rows with an outcome."""
    judged, names = drawn()
    found = measured(model, write, judged, names)
    for name in GROUPS:
        rows = (names == name) & (judged.labels >= 0)
        labels, probabilities = judged.labels[rows].astype(np.int64), judged.probabilities[rows]
        figures, line = group(found, name).figures, calibration_line(labels, probabilities)
        assert line is not None
        assert group(found, name).outcomes == rows.sum()
        assert figures["observed_rate"]["value"] == pytest.approx(labels.mean())
        assert figures["expected_rate"]["value"] == pytest.approx(probabilities.mean())
        assert dict(figures["predicted_to_observed"]) == predicted_to_observed(labels, probabilities).to_json()
        assert dict(figures["calibration_slope"]) == line[1].to_json()
        assert dict(figures["roc_auc"]) == roc_auc(labels, probabilities).to_json()
    assert group(found, "B").figures["predicted_to_observed"]["low"] > 1.5  # type: ignore[operator]
    assert group(found, "C").figures["calibration_slope"]["high"] < 1  # type: ignore[operator]


def test_a_small_group_is_said_to_be_small(by_counts: ByCounts) -> None:
    """It is there, with its rows, the minimum, and no figure; the minimum itself is enough."""
    found = by_counts(A=(200, 40), B=(99, 60), C=(100, 60), D=(1, 0))
    assert [each.name for each in found.groups] == ["A", "B", "C", "D"]
    assert [(each.rows, bool(each.figures)) for each in found.groups] == [
        (200, True),
        (99, False),
        (100, True),
        (1, False),
    ]
    assert group(found, "B").notes == ("Too small: 99 rows, fewer than 100.",)
    assert sum(each.rows for each in found.groups) == 400
    assert by_counts(A=(200, 40), B=(99, 60), least=50).groups[1].figures


def test_missing_groups_are_counted(by_counts: ByCounts, model: Model, write: Any) -> None:
    """Rows without an id, without a row in the file, and with an empty cell; enough of them have figures, without a ratio."""
    found = by_counts(A=(200, 40), _=(120, 30))
    assert group(found, None).rows == 120
    assert group(found, None).figures["refusal_rate"]["value"] == pytest.approx(0.25)
    assert "adverse_impact_ratio" not in group(found, None).figures
    ids = [None, None, None, *(f"r{k}" for k in range(117))]
    judged = Judged("made up", ids, np.full(120, 0.5), np.full(120, -1, np.int8), {})
    lines = [f"r{k},{' ' if k < 5 else 'A'}" for k in range(115)]
    named = measure(judged, write("id,segment", *lines), model, Decision.of("0.4", False, model), "A", least=100)
    assert group(named, None).rows == 3 + 2 + 5
    assert named.notes == (
        "3 rows have no id: their group is not known",
        "2 rows are not in the file of groups: their group is not known",
        "5 rows have no group there: their group is not known",
    )


@pytest.mark.parametrize(
    ("counts", "missing", "said"),
    [
        ({"A": (200, 0), "B": (200, 10)}, "refusal_ratio", "it refuses nobody of the reference"),
        ({"A": (200, 200), "B": (200, 10)}, "adverse_impact_ratio", "it accepts nobody of the reference"),
    ],
)
def test_no_ratio_to_nothing(by_counts: ByCounts, counts: Any, missing: str, said: str) -> None:
    """It is said, and the JSON has no infinity."""
    found = by_counts(**counts)
    b = group(found, "B")
    assert missing not in b.figures
    assert any(said in note for note in b.notes)
    dump(found.to_json())


def test_all_and_nobody_refused(by_counts: ByCounts) -> None:
    """Ratios of 0 with an interval that has a length; everything is finite JSON and comes back as it was."""
    found = by_counts(A=(200, 40), B=(200, 200), C=(200, 0))
    b, c = group(found, "B").figures, group(found, "C").figures
    assert b["adverse_impact_ratio"]["value"] == 0
    assert 0 < b["adverse_impact_ratio"]["high"] < 0.1  # type: ignore[operator]
    assert c["refusal_ratio"]["value"] == 0
    assert 0 < c["refusal_ratio"]["high"] < 0.2  # type: ignore[operator]
    assert Fairness.from_json(json.loads(dump(found.to_json())), ["amount"]) == found


def test_few_outcomes(model: Model, write: Any) -> None:
    """With fewer than the minimum there is no figure of outcomes; with fewer than ten of a kind no ranking; both are said."""
    labels = np.full(400, -1, dtype=np.int8)
    labels[:50], labels[200:400] = 0, 0
    labels[200:209] = 1
    judged = Judged("made up", [f"r{k}" for k in range(400)], np.linspace(0.01, 0.9, 400), labels, {})
    found = measured(model, write, judged, ["A"] * 200 + ["B"] * 200)
    a, b = group(found, "A"), group(found, "B")
    assert set(a.figures) == {"refusal_rate"}
    assert a.notes == ("Too few outcomes for figures about them: 50, fewer than 100.",)
    assert {"observed_rate", "expected_rate"} < set(b.figures)
    assert not {"roc_auc", "calibration_slope", "predicted_to_observed"} & set(b.figures)
    assert "Fewer than 10 outcomes of one kind: no ROC-AUC and no calibration." in b.notes


@pytest.mark.parametrize(
    ("refuse", "below", "threshold"),
    [("high", False, 0.3), ("moderate", False, 0.1), ("low", True, 0.1), ("0.25", True, 0.25)],
)
def test_the_decision_is_a_band_or_a_probability(model: Model, refuse: str, below: bool, threshold: float) -> None:
    """A band's upper end belongs to it, so the model's own bands decide the same rows."""
    decision = Decision.of(refuse, below, model)
    probabilities = np.array([0.0, 0.1, 0.1000001, 0.25, 0.3, 0.3000001, 1.0])
    refused = decision.refuses(probabilities)
    assert refused.tolist() == [(p <= threshold) if below else (p > threshold) for p in probabilities]
    if refuse in ("high", "low"):
        assert [model.band(p) == refuse for p in probabilities] == refused.tolist()
    assert str(threshold) in decision.text


@pytest.mark.parametrize(
    ("refuse", "below", "said"),
    [
        ("low", False, "are all bands"),
        ("high", True, "are all bands"),
        ("highest", False, "the bands are 'low', 'moderate', 'high'"),
        ("0", False, "neither a band nor a probability"),
        ("1.5", False, "neither a band nor a probability"),
        ("nan", False, "neither a band nor a probability"),
        ("-inf", False, "neither a band nor a probability"),
        ("", False, "neither a band nor a probability"),
    ],
)
def test_no_decision(model: Model, refuse: str, below: bool, said: str) -> None:
    with pytest.raises(FairnessError, match=said):
        Decision.of(refuse, below, model)


def test_a_group_that_is_a_feature_is_refused_whatever_it_is_called(model: Model, write: Any) -> None:
    """A copy of a feature, also with other words for its values, and where some rows lack either; not a group that is similar."""
    judged, names = drawn()
    words = {"A": "north", "B": "south", "C": "east"}
    feature: list[Any] = [words[name] for name in names]
    feature[7] = None
    copied = Judged(judged.source, judged.ids, judged.probabilities, judged.labels, {"purpose": feature})
    with pytest.raises(FairnessError, match="is the model's feature 'purpose' under another name"):
        measured(model, write, copied, ["" if k == 9 else name for k, name in enumerate(names)])
    numbers = [{"A": 1.0, "B": 2.0, "C": 3.0}[name] for name in names]
    with pytest.raises(FairnessError, match="'amount' under another name"):
        measured(model, write, Judged("", judged.ids, judged.probabilities, judged.labels, {"amount": numbers}), names)
    feature[8] = "south" if feature[8] == "north" else "north"
    similar = Judged(judged.source, judged.ids, judged.probabilities, judged.labels, {"purpose": feature})
    assert measured(model, write, similar, names).notes == ()


def test_features_that_tell_the_group_are_named(model: Model, write: Any) -> None:
    """Each of six towns is in one region: the model has the region although it is no feature."""
    judged, names = drawn()
    rng = np.random.default_rng(1)
    towns = [f"{name}{digit}" for name, digit in zip(names, rng.integers(1, 3, len(names)), strict=True)]
    found = measured(
        model, write, Judged("made up", judged.ids, judged.probabilities, judged.labels, {"town": towns}), names
    )
    assert found.notes == ("each value of 'town' is in one group only, so the model can tell the groups",)


def test_the_reference_must_be_there_and_large_enough(by_counts: ByCounts) -> None:
    with pytest.raises(FairnessError, match="no row is in the reference group 'Z'; there are 'A', 'B'"):
        by_counts("Z", A=(200, 10), B=(200, 10))
    with pytest.raises(FairnessError, match="'B' has 99 rows; it needs 100"):
        by_counts("B", A=(200, 10), B=(99, 10))
    with pytest.raises(FairnessError, match="no row has a group"):
        by_counts("A", _=(200, 10))


def test_unknown_ids_name_the_row_unless_they_are_allowed(model: Model, write: Any) -> None:
    judged, names = drawn(1000)
    lines = [f"{own},{name}" for own, name in zip(judged.ids, names, strict=True)]
    file = write("id,segment", *lines[:10], "stranger,A", *lines[10:], "other,B")
    decision = Decision.of("high", False, model)
    with pytest.raises(
        FairnessError, match=r"row 11 has the id 'stranger', which is not among the rows, as have 1 more"
    ):
        measure(judged, file, model, decision, "A")
    assert measure(judged, file, model, decision, "A", others=True, least=50).notes == (
        "2 ids with a group are not among the rows",
    )


def test_rows_that_the_model_refused_to_answer_count_by_group(model: Model, write: Any) -> None:
    """Their ids are known ids, and a group of these alone is there."""
    judged, names = drawn(1000)
    lines = [f"{own},{name}" for own, name in zip(judged.ids, names, strict=True)]
    file = write("id,segment", *lines, "x,B", "y,B", "z,D")
    more = Judged("made up", judged.ids, judged.probabilities, judged.labels, {}, ["x", "y", "z", None, "w"])
    found = measure(more, file, model, Decision.of("high", False, model), "A", least=50)
    assert [(each.name, each.unanswered) for each in found.groups] == [
        ("A", 0),
        ("B", 2),
        ("C", 0),
        ("D", 1),
        (None, 2),
    ]
    assert group(found, "D").rows == 0


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ((0.7, 0.6, 0.79), "below four fifths."),
        ((0.7, 0.6, 0.85), "below four fifths, but its interval does not exclude the opposite."),
        ((0.9, 0.8, 1.0), "not below four fifths."),
        ((0.85, 0.75, 1.0), "not below four fifths, but its interval does not exclude the opposite."),
        ((0.8, 0.8, 0.8), "not below four fifths."),
    ],
)
def test_four_fifths(ratio: tuple[float, float, float], said: str) -> None:
    text = four_fifths(dict(zip(("value", "low", "high"), ratio, strict=True)))
    assert text == f"The adverse impact ratio is {said}"


def test_the_order_of_rows_does_not_matter_and_their_content_does(model: Model, write: Any) -> None:
    """Figures are the same in another order of the file; the fingerprint changes with a label."""
    judged, names = drawn(1000)
    first = measured(model, write, judged, names, least=50)
    lines = [f"{own},{name}" for own, name in zip(judged.ids, names, strict=True)]
    decision = Decision.of("high", False, model)
    assert measure(judged, write("id,segment", *lines[::-1]), model, decision, "A", least=50) == first
    labels = judged.labels.copy()
    labels[-1] = 1 - labels[-1]
    other = measured(model, write, Judged("made up", judged.ids, judged.probabilities, labels, {}), names, least=50)
    assert other.fingerprint != first.fingerprint


def test_names_of_groups_are_only_names(model: Model, write: Any, tmp_path: Path) -> None:
    """Formulas, markup, numbers, and what pandas reads as missing are groups like others."""
    strange = ["=1+1", "<b>", "NA", "nan", "None", "1", "1.0", "ä 😀"]
    names = np.repeat(strange, 120)
    judged = Judged(
        "made up",
        [f"r{k}" for k in range(len(names))],
        np.tile([0.2, 0.5], len(names) // 2),
        np.full(len(names), -1, np.int8),
        {},
    )
    found = measured(model, write, judged, names, reference="NA")
    assert {each.name for each in found.groups} == set(strange)
    assert all(each.rows == 120 for each in found.groups)


def test_every_figure_has_a_title() -> None:
    assert all(title and meaning for title, meaning in FIGURES.values())
