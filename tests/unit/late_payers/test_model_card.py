"""The champion's curves are what it computes with, and the card says what was measured and refuses to be blank."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from late_payers import evaluation, pipelines
from late_payers.features import EMP_LENGTHS, GRADES
from late_payers.model_card import curves
from late_payers.model_card.markup import Bullets, Picture, Section, Table, to_html, to_markdown
from late_payers.model_card.narrative import LATE_PAYERS, Narrative
from late_payers.model_card.render import METHOD, NAMES, Evidence, render, slices
from late_payers.rare import neutralise_rare
from modelbundle.errors import PublishError
from modelbundle.publishing.annotations import Band

pytestmark = pytest.mark.filterwarnings("ignore:Missing values detected")  # about interpret's own plots

Book = tuple[pd.DataFrame, NDArray[np.int64]]


@pytest.fixture(scope="module")
def pipeline(loans: Book) -> Any:
    """The champion with few bags."""
    return pipelines.champion(bags=2).fit(*loans)


@pytest.fixture(scope="module")
def evidence(loans: Book, pipeline: Any) -> Evidence:
    """Measurements of the champion on its own loans: the card does not care whence they come."""
    features, labels = loans
    p = pipeline.predict_proba(features)[:, 1]
    figures = evaluation.bootstrap(labels, p, rounds=5)
    bands = [Band("low", 0.1, 0.05, 0.6), Band("high", 1.0, 0.3, 0.4)]
    return Evidence(features, labels, p, figures, bands, {"fingerprint": "f" * 64}, pipeline[-1])


def test_curves_are_the_model(loans: Book, pipeline: Any) -> None:
    """Reading a loan's value off the curve gives the term that the model adds for it."""
    encoded = pipeline[:-1].transform(loans[0])
    terms = pipeline[-1].eval_terms(encoded)
    for number, curve in enumerate(curves.curves(pipeline[-1])):
        for row in range(0, 6000, 397):
            value = loans[0][curve.feature][row]
            if pd.isna(value):
                expected = curve.missing
            elif curve.edges is None:
                expected = curve.scores[curve.names.index(value)]
            else:
                step = int(np.digitize(value, curve.edges[1:-1]))
                expected = curve.scores[step]
            assert terms[row, number] == pytest.approx(expected, abs=1e-12), curve.feature


def test_curves_cover_every_loan(loans: Book, pipeline: Any) -> None:
    """There is a curve for each column, ordered categories in their order, each with all present loans in it."""
    found = {curve.feature: curve for curve in curves.curves(pipeline[-1])}
    assert set(found) == set(loans[0].columns)
    assert found["grade"].names == GRADES
    assert found["emp_length"].names == EMP_LENGTHS
    for name in set(found) - {"grade", "emp_length"}:
        curve = found[name]
        assert curve.weights.sum() == pytest.approx(loans[0][name].notna().sum())
        if curve.edges is not None:
            assert (np.diff(curve.edges) >= 0).all()
            assert len(curve.edges) == len(curve.scores) + 1


def test_surfaces_are_pairs_of_the_model(pipeline: Any) -> None:
    """Each surface has a name for both of its columns and a score for every pair of steps."""
    pairs = {" & ".join((surface.first, surface.second)): surface for surface in curves.surfaces(pipeline[-1])}
    assert pairs
    assert set(pairs) <= set(pipeline[-1].term_names_)
    for surface in pairs.values():
        assert surface.scores.shape == (len(surface.first_edges) - 1, len(surface.second_edges) - 1)


def test_importances_are_sorted(pipeline: Any) -> None:
    """The terms come with their mean size, the largest first."""
    sizes = list(curves.importances(pipeline[-1]).values())
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 15


def test_a_rare_category_is_an_average_one(loans: Book) -> None:
    """A category with fewer than 20 loans gets score 0, those with more keep theirs."""
    fitted = pipelines.champion(bags=2).fit(*loans)
    row = loans[0].iloc[[0, 100]].copy()
    assert row["home_ownership"].iloc[0] == "ANY"
    before = {curve.feature: curve for curve in curves.curves(fitted[-1])}["home_ownership"]
    assert before.scores[before.names.index("ANY")] > 0.1
    neutralise_rare(fitted[-1])
    after = {curve.feature: curve for curve in curves.curves(fitted[-1])}["home_ownership"]
    assert after.scores[after.names.index("ANY")] == 0
    for name in ("RENT", "OWN", "MORTGAGE"):
        assert after.scores[after.names.index(name)] == before.scores[before.names.index(name)]
    unseen = row.assign(home_ownership="TENT")
    assert (fitted.predict_proba(row)[0] == fitted.predict_proba(unseen)[0]).all()


def test_the_card_has_every_section_and_figure(evidence: Evidence) -> None:
    """Markdown and HTML have all sections, with intervals, bands, slices and terms."""
    markdown, html = render("Late payers", evidence, LATE_PAYERS)
    for heading in (
        "Intended use",
        "What it must not be used for",
        "Data",
        "Performance",
        "Risk bands",
        "Slices",
        "Curves",
        "Assumptions and limits",
        "Fairness",
        "Reasons",
        "Monitoring plan",
        "Ownership",
    ):
        assert f"## {heading}\n" in markdown
        assert f"<h2>{heading}</h2>" in html
    for name, figure in evidence.figures.items():
        assert f"| {NAMES[name]} | {figure.value:.4f} | {figure.low:.4f} to {figure.high:.4f} |" in markdown
    assert "| low | 10.00 % | 5.00 % | 60.0 % |" in markdown
    assert METHOD in html
    assert "f" * 64 in html


def test_the_card_is_one_page_with_pictures(evidence: Evidence) -> None:
    """The HTML has inline pictures, no script and no external reference."""
    _, html = render("Late payers", evidence, LATE_PAYERS)
    assert html.count("<svg") == html.count("</svg>") == 3
    assert "<script" not in html
    assert set(re.findall(r"(?:src|href)=\"(#|data:image/png;base64,|.{9})", html)) == {"#", "data:image/png;base64,"}
    assert "url(http" not in html


def test_the_card_is_reproducible(evidence: Evidence) -> None:
    """The same measurements give the same bytes."""
    assert render("Late payers", evidence, LATE_PAYERS) == render("Late payers", evidence, LATE_PAYERS)


@pytest.mark.parametrize("name", Narrative.__dataclass_fields__)
def test_a_blank_section_is_refused(name: str, evidence: Evidence) -> None:
    """A card with an empty written section is refused."""
    with pytest.raises(PublishError, match=name):
        render("Late payers", evidence, replace(LATE_PAYERS, **{name: " \n \n"}))


def test_slices_put_every_loan_into_one_group(loans: Book) -> None:
    """Each slicing names a group for every loan; grades E to G are one."""
    for groups in slices(loans[0]).values():
        assert len(groups) == len(loans[0])
        assert groups.notna().all()
    assert list(slices(loans[0])["Grade"].cat.categories) == ["A", "B", "C", "D", "E to G"]


class Text(HTMLParser):
    """Collects the text between tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        """Called for each text."""
        self.parts.append(data)


def test_text_is_never_markup() -> None:
    """Angle brackets, ampersands and bars in a text stay text in both forms."""
    sections = [
        Section("A & <b>", ["one <script>", Bullets(["x > y"]), Table(["a|b", "c"], [["1 | 2", "<i>"]])]),
        Section("P", [Picture("<svg></svg>", 'the "curve" <1>')]),
    ]
    html = to_html("T <x>", sections)
    assert {"T <x>", "A & <b>", "one <script>", "x > y", "1 | 2", "<i>", 'the "curve" <1>'} <= set(Text(html).parts)
    assert "<script" not in html
    assert "| 1 \\| 2 | <i> |" in to_markdown("T", sections)
