"""What is published is the champion: measured out of fold, slim, described, and the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from late_payers import champion, pipelines, recipe
from late_payers.code_version import code_version
from late_payers.features import TARGET
from modelbundle.format.bundle import load
from modelbundle.golden import check
from modelbundle.publishing.publish import Published

Book = tuple[pd.DataFrame, NDArray[np.int64]]


@pytest.fixture(scope="module")
def quarter(loans: Book) -> Any:
    """A training quarter and, of other loans, the quarter that follows."""
    frame = loans[0].assign(**{TARGET: loans[1]})
    return SimpleNamespace(training=frame[:4500], test=frame[4500:], description="a seeded book", fingerprint="ab" * 32)


@pytest.fixture(scope="module")
def few_bags() -> Iterator[None]:
    """The champion with two bags, sixty rounds and ten bootstrap samples; bands as the seeded book has them."""
    quick = {"model__smoothing_rounds": 20, "model__interaction_smoothing_rounds": 20, "model__max_rounds": 60}
    make = pipelines.champion
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(champion, "ROUNDS", 10)
        patch.setattr(pipelines, "champion", lambda: make(bags=2).set_params(**quick))
        patch.setattr("late_payers.features.BAND_EDGES", (0.15, 0.22, 0.32, 0.45))
        yield


@pytest.fixture(scope="module")
def published(quarter: Any, few_bags: None, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The quarter's champion."""
    return champion.train(quarter, tmp_path_factory.mktemp("published") / "late-payers.bundle")


def test_the_slim_champion_predicts_the_same(loans: Book, few_bags: None) -> None:
    """Without the single bags, each prediction has the same bits, and no warning appears."""
    pipeline = recipe.fit(*loans)
    before = pipeline.predict_proba(loans[0])
    assert hasattr(pipeline[-1], "bagged_scores_")
    slim = recipe.slim(pipeline)
    assert not hasattr(slim[-1], "bagged_scores_")
    assert (slim.predict_proba(loans[0]) == before).all()


def test_the_published_champion(published: Published) -> None:
    """The bundle answers as the pipeline does, from tables, with metrics, bands, fingerprint, code version and card."""
    content = published.path.read_bytes()
    check(load(content))
    manifest = published.manifest
    assert manifest["scorer"]["kind"] == "additive"
    assert [band["label"] for band in manifest["bands"]] == ["very low", "low", "moderate", "elevated", "high"]
    assert manifest["training"]["fingerprint"] == "ab" * 32
    assert manifest["training"]["code_version"] == code_version()
    measured = manifest["metrics"]["cross_validation"]["roc_auc"]
    assert 0.6 < measured["low"] < measured["value"] < measured["high"] < 0.9
    assert manifest["metrics"]["following_quarter"]["rows"] == 1500
    assert b"## What it must not be used for" in content


def test_the_same_loans_give_the_same_bundle(
    published: Published, quarter: Any, few_bags: None, tmp_path: Path
) -> None:
    """Publishing the same quarter again, under another name, gives the same bytes."""
    again = champion.train(quarter, tmp_path / "again.bundle")
    assert again.sha256 == published.sha256


def test_the_code_version_is_a_hash_of_the_sources() -> None:
    """The version names the package and has a SHA-256."""
    name, digest = code_version().split(" sha256:")
    assert name == "late_payers"
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")
