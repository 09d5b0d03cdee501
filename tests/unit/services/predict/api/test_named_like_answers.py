"""Features with the names of the answer's columns: scored as CSV, in the browser's terms, and as a book."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from portfolio.__main__ import main
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.unit.services.predict.api.test_unscorable import asked

NAMES = ["band", "error", "probability", "prediction", "model_version"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_answers_columns_are_called_otherwise(
    ending: str, store: StateDir, settings: Settings, tmp_path: Path
) -> None:
    """``model_band`` beside a feature ``band``, the same over HTTP and from a file."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 5)), columns=NAMES)
    client = asked(LogisticRegression(), store, settings, frame, frame["band"] > 0)
    text = frame[:5].to_csv(index=False)
    rows = list(
        csv.DictReader(io.StringIO(client.post("/predict", data=text, content_type="text/csv").get_data(as_text=True)))
    )
    assert [*rows[0]][:5] == NAMES
    assert {f"model_{name}" for name in NAMES} <= set(rows[0])
    assert not any(row["model_error"] for row in rows)
    rules = client.get("/batch/model.json").get_json()
    assert [*rows[0]][5:] == rules["added"]
    assert rules["keys"][:3] == ["prediction", "probability", "band"]
    (tmp_path / "in.csv").write_text(text, "utf-8")
    bundle = Path(settings.state_dir).parent / "m.bundle"
    assert main([str(tmp_path / "in.csv"), str(tmp_path / f"out.{ending}"), "--model", str(bundle), "--quiet"]) == 0
    found = pd.read_csv(tmp_path / "out.csv") if ending == "csv" else pd.read_parquet(tmp_path / "out.parquet")
    assert found["model_probability"].tolist() == [float(row["model_probability"]) for row in rows]
