"""The proof finds what is not equal: one leaf, one threshold by one bit, one label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from modelbundle.publishing.compiling import adversaries, proof
from modelbundle.publishing.compiling.proof import ProofFailed, frame_columns, prove
from modelbundle.schema import Schema
from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import Column, FloatArray, Row, Scorer
from modelbundle.scorers.bins import CategoryBins, NumberBins
from modelbundle.scorers.inputs import Inputs
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.scorers.trees import Questions, TreesScorer
from tests.unit.modelbundle.books import CATEGORIES, NUMBERS, book, compiled


def fitted(model: Any) -> tuple[Pipeline, pd.DataFrame, NDArray[np.int64]]:
    """A pipeline of medians, one-hot columns and the model, and the book it was fitted on."""
    frame, labels = book()
    encode = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
            ("text", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        ],
        sparse_threshold=0.0,
    )
    return Pipeline([("encode", encode), ("model", model)]).fit(frame, labels), frame, labels


def trees() -> tuple[Pipeline, pd.DataFrame, TreesScorer]:
    """A boosted pipeline and its scorer."""
    pipeline, frame, _ = fitted(GradientBoostingClassifier(n_estimators=8, random_state=0))
    scorer, _ = compiled(pipeline, frame)
    assert isinstance(scorer, TreesScorer)
    return pipeline, frame, scorer


def test_a_proof_counts_what_it_did() -> None:
    """The proof has the number of rows, of adversarial rows and of thresholds, and the largest difference."""
    pipeline, frame, scorer = trees()
    found = prove(pipeline, scorer, frame, Inputs(Schema.from_frame(frame)))
    assert found.rows == len(frame) + found.adversarial
    assert found.adversarial > 2000 + 3 * found.thresholds_tried
    assert found.thresholds == found.thresholds_tried == sum(len(scorer.cuts(i)) for i in range(len(frame.columns)))
    assert 0 <= found.max_difference <= 1e-12


def test_a_threshold_moved_by_one_bit_is_found() -> None:
    """The proof fails if any numeric cut is moved to the next float, up or down."""
    pipeline, frame, scorer = trees()
    schema = Schema.from_frame(frame)
    inner = np.flatnonzero((scorer.trees.columns < 2 * len(schema)) & (scorer.trees.cuts != 0))
    for direction, node in zip((-np.inf, np.inf, np.inf), inner[[0, 3, -1]], strict=True):
        cuts = scorer.trees.cuts.copy()
        cuts[node] = np.nextafter(cuts[node], direction)
        moved = TreesScorer(scorer.start, scorer.link, scorer.questions, replace(scorer.trees, cuts=cuts))
        with pytest.raises(ProofFailed):
            prove(pipeline, moved, frame, Inputs(schema))


def test_a_missing_value_sent_the_other_way_is_found() -> None:
    """The proof fails if one node sends missing values to the wrong side."""
    pipeline, frame, scorer = trees()
    schema = Schema.from_frame(frame)
    columns = scorer.trees.columns.copy()
    income = 2 * schema.index["income"]
    node = np.flatnonzero((columns // 2 * 2 == income) & (scorer.trees.cuts != 0))[0]
    columns[node] ^= 1
    with pytest.raises(ProofFailed):
        prove(
            pipeline,
            TreesScorer(scorer.start, scorer.link, scorer.questions, replace(scorer.trees, columns=columns)),
            frame,
            Inputs(schema),
        )


@pytest.mark.parametrize("bin_from_the_end", [1, 2])
def test_a_wrong_answer_about_unknown_or_missing_categories_is_found(bin_from_the_end: int) -> None:
    """The proof tries the bins of missing and unknown categories, even if no training row has them."""
    pipeline, frame, scorer = trees()
    schema = Schema.from_frame(frame)
    changed: list[Questions] = []
    for feature, question in zip(schema, scorer.questions, strict=True):
        answers = question.answers.copy()
        if feature.name == "tenure" and isinstance(question.bins, CategoryBins):
            answers[-bin_from_the_end] ^= 1
        changed.append(Questions(question.bins, answers))
    assert any((a.answers != b.answers).any() for a, b in zip(changed, scorer.questions, strict=True))
    with pytest.raises(ProofFailed):
        prove(pipeline, TreesScorer(scorer.start, scorer.link, changed, scorer.trees), frame, Inputs(schema))


def test_one_changed_leaf_is_found() -> None:
    """A difference of more than 1e-12 of any probability fails the proof; 1e-15 is rounding."""
    pipeline, frame, scorer = trees()
    schema = Schema.from_frame(frame)
    leaf = int(np.flatnonzero(scorer.trees.values)[5])
    for change, refused in ((1e-9, True), (1e-15, False)):
        values = scorer.trees.values.copy()
        values[leaf] += change
        changed = TreesScorer(scorer.start, scorer.link, scorer.questions, replace(scorer.trees, values=values))
        if refused:
            with pytest.raises(ProofFailed, match="differ by"):
                prove(pipeline, changed, frame, Inputs(schema))
        else:
            prove(pipeline, changed, frame, Inputs(schema))


def test_an_additive_scorer_with_a_lost_cut_is_found() -> None:
    """The proof fails if two bins are merged."""
    frame, labels = book()
    frame = frame[NUMBERS]
    model = HistGradientBoostingClassifier(interaction_cst="no_interactions", max_iter=20).fit(frame, labels)
    schema = Schema.from_frame(frame)
    scorer, _ = compiled(model, frame)
    assert isinstance(scorer, AdditiveScorer)
    bins, tables = list(scorer.bins), list(scorer.tables)
    i = max(range(len(bins)), key=lambda k: len(scorer.cuts(k)))
    bins[i], tables[i] = NumberBins(np.delete(scorer.cuts(i), 2)), np.delete(tables[i], 3)
    with pytest.raises(ProofFailed):
        prove(model, AdditiveScorer(scorer.intercept, bins, tables), frame, Inputs(schema))


class Sloppy(AdditiveScorer):
    """Rows and columns by different arithmetic, or reasons by another."""

    row_error = column_error = 0.0

    def score_row(self, row: Row) -> float:
        """One rounding off."""
        return super().score_row(row) + self.row_error

    def contributions_columns(self, columns: list[Column]) -> FloatArray:  # type: ignore[override]
        """One rounding off."""
        return super().contributions_columns(columns) + self.column_error


@pytest.mark.parametrize(("attribute", "word"), [("row_error", "a row by itself"), ("column_error", "contributions")])
def test_rows_must_give_the_bits_of_columns(attribute: str, word: str) -> None:
    """A row must give the same bits as a column, even if both equal the pipeline within the tolerance."""
    pipeline, frame, _ = fitted(LogisticRegression(max_iter=5000))
    schema = Schema.from_frame(frame)
    scorer, _ = compiled(pipeline, frame)
    assert isinstance(scorer, AdditiveScorer)
    sloppy = Sloppy(scorer.intercept, scorer.bins, scorer.tables, scorer.pairs, scorer.averages, scorer.lines)
    prove(pipeline, sloppy, frame, Inputs(schema))
    setattr(sloppy, attribute, 1e-14)
    with pytest.raises(ProofFailed, match=word):
        prove(pipeline, sloppy, frame, Inputs(schema))


def test_thresholds_are_drawn_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof says how many thresholds there are and how many it tried, and draws the same sample every time."""
    monkeypatch.setattr(adversaries, "MOST_THRESHOLDS", 10)
    pipeline, frame, _ = fitted(RandomForestClassifier(5, random_state=0))
    _, found = compiled(pipeline, frame)
    assert 10 <= found.thresholds_tried <= 40 < found.thresholds
    assert found == compiled(pipeline, frame)[1]


def test_extremes_that_the_pipeline_refuses_are_left_out() -> None:
    """A forest refuses values beyond float32, so they are not compared; histogram boosting accepts any finite value."""
    pipeline, frame, _ = fitted(RandomForestClassifier(3, random_state=0))
    schema = Schema.from_frame(frame)
    scorer, _ = compiled(pipeline, frame)
    amount = adversarial(pipeline, scorer, frame, schema)["amount"]
    assert np.abs(amount).max() < 3.5e38
    assert amount.max() == 3.4e38
    numbers = frame[NUMBERS]
    model = HistGradientBoostingClassifier(max_iter=3).fit(numbers, book()[1])
    made = adversarial(model, compiled(model, numbers)[0], numbers, Schema.from_frame(numbers))
    assert made["amount"].max() > 1.79e308
    assert (made["amount"] == 5e-324).any()
    assert np.isnan(made["income"]).any()
    assert not np.isnan(made["amount"]).any()


def adversarial(pipeline: Any, scorer: Scorer, frame: pd.DataFrame, schema: Schema) -> dict[str, Any]:
    """The adversarial rows, by feature."""
    inputs = Inputs(schema)
    made = adversaries.adversaries(
        scorer, frame_columns(schema, frame), schema, lambda columns: proof._accepts(pipeline, inputs.frame(columns))
    )
    return dict(zip(schema.names, made.columns, strict=True))


def test_a_wide_schema_has_bounded_adversaries_and_every_threshold_is_still_tried() -> None:
    """In a wide schema several features of a row are odd: fewer rows, and the same values of each feature."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(400, 60)), columns=[f"f{k}" for k in range(60)])
    model = HistGradientBoostingClassifier(max_iter=20).fit(frame, rng.random(400) < 0.5)
    scorer, schema = compiled(model, frame)[0], Schema.from_frame(frame)
    every = adversarial(model, scorer, frame, schema)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adversaries, "MOST_CELLS", 60 * 300)
        fewer = adversarial(model, scorer, frame, schema)
    assert len(fewer["f0"]) < len(every["f0"])
    for name in schema.names:
        odd = {float(np.nextafter(cut, side)) for cut in scorer.cuts(schema.index[name]) for side in (-9e9, 9e9)}
        assert odd <= set(fewer[name].tolist())


def test_a_pipeline_scorer_is_compared_on_the_frame() -> None:
    """Its frame is built anew from plain values: where that changes an answer (None, that the encoder knows, is no NaN)."""
    frame, labels = book()
    frame = frame.assign(tenure=frame["tenure"].astype(object).where(frame["tenure"].notna(), None))
    encode = ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), ["tenure"])], remainder="drop")
    pipeline = Pipeline([("encode", encode), ("model", LogisticRegression())]).fit(frame, labels)
    schema = Schema.from_frame(frame)
    with pytest.raises(ProofFailed):
        prove(pipeline, PipelineScorer(pipeline, schema), frame, Inputs(schema))


def test_a_frame_becomes_columns() -> None:
    """Numbers become float64 with NaN, categories a list of str and None."""
    frame, _ = book(20)
    schema = Schema.from_frame(frame)
    for feature, column in zip(schema, frame_columns(schema, frame), strict=True):
        if feature.kind == "number":
            assert isinstance(column, np.ndarray)
            assert column.dtype == np.float64
        else:
            assert isinstance(column, list)
            assert all(v is None or isinstance(v, str) for v in column)
