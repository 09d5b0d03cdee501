"""What ships fits together: the bundle, the pin in the compose file, and the code that made it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from late_payers import simulation
from late_payers.code_version import code_version
from late_payers.features import COLUMNS
from modelbundle import golden
from modelbundle.format import archive, bundle
from modelbundle.format.unpickling import unpickle
from modelbundle.model import Model
from modelbundle.publishing.compiling.proof import frame_columns

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "models" / "late-payers.bundle"


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped model, as a replica loads it."""
    return bundle.load(BUNDLE.read_bytes())


def test_compose_pins_the_shipped_bundle() -> None:
    """``docker-compose up`` without any ``.env`` serves the file that is in the repository."""
    pins = re.findall(r"MODEL_SHA256:-([0-9a-f]{64})", (ROOT / "docker-compose.yml").read_text("utf-8"))
    assert pins == [hashlib.sha256(BUNDLE.read_bytes()).hexdigest()]


def test_the_shipped_bundle_is_what_the_code_makes(model: Model) -> None:
    """The sources that decide the model are those it was fitted with; it loads and reproduces its golden rows."""
    golden.check(model)
    assert model.manifest.data["training"]["code_version"] == code_version()
    assert model.manifest.scorer["kind"] == "additive"
    assert model.manifest.scorer["proof"]["max_difference"] <= 1e-12
    assert model.manifest.scorer["proof"]["rows"] > 111_068
    assert BUNDLE.stat().st_size < 1_000_000


def test_the_shipped_tables_are_the_shipped_pipeline(model: Model) -> None:
    """What was proven when it was published holds of the pickle beside the tables, with this machine's scikit-learn: on a
    whole training quarter the probabilities are the pipeline's, and the contributions add up on every row."""
    frame = simulation.simulate(111_068, seed=1)[list(COLUMNS)]
    pipeline = unpickle(archive.unpack(BUNDLE.read_bytes())[bundle.PIPELINE])
    columns = frame_columns(model.manifest.schema, frame)
    scorer = model.scorer
    scores = scorer.score_columns(columns)
    assert np.abs(scorer.probabilities(scores) - pipeline.predict_proba(frame)[:, 1]).max() <= 1e-12
    total = scorer.baseline + scorer.contributions_columns(columns).sum(axis=1)
    assert np.abs(total - scores).max() <= 1e-9


def test_the_shipped_metrics_hold_what_was_promised(model: Model) -> None:
    """The figures are the manifest's own, made by cross-validation when it was fitted: see the model card."""
    figures = model.manifest.data["metrics"]["cross_validation"]
    assert figures["roc_auc"]["value"] >= 0.7205
    assert 0.9 <= figures["calibration_slope"]["value"] <= 1.1
    rates = [band.observed_rate for band in model.manifest.bands]
    assert rates == sorted(rates)
    assert len(set(rates)) == len(rates)


def test_the_shipped_bundle_names_no_machine(model: Model) -> None:
    """No path of the machine that made it, and no loan: reference shares only of categories seen 20 times or more."""
    text = json.dumps(model.manifest.data)
    assert not re.search(r"/(home|work|tmp|root|Users)/", text)
