"""The dataset is what was logged and what became of it: no more, no less, and the same for the same query."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from learning import dataset
from learning.__main__ import main, moment
from learning.dataset import DatasetError, Query
from modelbundle.format import bundle
from services.predictionlog import audit, database
from tests.conftest import Made, make_book
from tests.unit.services.logs import NOW, Written, iso

DAY = 86_400
UNTIL = iso(NOW + 1)


@pytest.fixture
def log(tmp_path: Path, bundles: list[Made]) -> tuple[Written, list[dict[str, Any]]]:
    """Three days of forty loans; outcomes of the first two."""
    written, model = Written(tmp_path / "log"), bundle.read(bundles[0].path)
    frame, late = make_book(120, seed=9)
    rows: list[dict[str, Any]] = []
    for day in range(3):
        rows += written.add(model, frame[40 * day : 40 * day + 40], NOW - (3 - day) * DAY, seed=day)
    written.judge(rows[:80], late[:80], NOW)
    return written, rows


def made(written: Written, path: Path, **query: Any) -> tuple[dataset.Written, pd.DataFrame]:
    found = dataset.write(written.url, path / "d.parquet", Query(**{"until": UNTIL, **query}))
    return found, pq.read_table(path / "d.parquet").to_pandas()


def test_it_has_features_answers_and_outcomes(log: Any, bundles: list[Made], tmp_path: Path) -> None:
    """As they were logged, oldest first; what has no outcome is unknown."""
    written, rows = log
    found, table = made(written, tmp_path)
    assert (found.rows, found.known) == (120, 80)
    assert table["prediction_id"].tolist() == sorted(row["prediction_id"] for row in rows)
    assert table["outcome"].isna().sum() == 40
    frame, late = make_book(120, seed=9)
    assert found.positive == late[:80].sum()
    assert table["probability"].sum() == pytest.approx(bundles[0].pipeline.predict_proba(frame)[:, 1].sum())
    assert set(found.features) == set(frame.columns)
    assert np.sort(table["amount"].to_numpy()).tolist() == np.sort(frame["amount"].to_numpy()).tolist()
    assert table["emp_length"].isna().sum() == frame["emp_length"].isna().sum()
    about = dataset.describe(tmp_path / "d.parquet")
    assert (about["rows"], about["fingerprint"], about["query"]["until"]) == (120, found.fingerprint, UNTIL)


def test_the_same_query_gives_the_same_fingerprint_and_an_outcome_more_another(log: Any, tmp_path: Path) -> None:
    written, rows = log
    first, again = made(written, tmp_path)[0], made(written, tmp_path)[0]
    assert first == again
    written.judge(rows[80:81], [True])
    assert made(written, tmp_path)[0].fingerprint != first.fingerprint


def test_times_and_the_window(log: Any, tmp_path: Path) -> None:
    """From the first day on, before the last; what is older than the window without an outcome was on time."""
    written, _ = log
    assert made(written, tmp_path, since=iso(NOW - 2 * DAY))[0].rows == 80
    assert made(written, tmp_path, until=iso(NOW - 2 * DAY))[0].rows == 40
    assert made(written, tmp_path, window=0.5)[0].known == 120
    found, table = made(written, tmp_path, window=1.5)
    assert found.known == 80
    assert not table[table["outcome_time"].isna()]["outcome"].fillna(False).any()


def test_corrections_and_erasures_reach_it(log: Any, tmp_path: Path) -> None:
    """A corrected outcome is as it was corrected; an erased loan is nowhere, and neither is what it said."""
    written, rows = log
    known = made(written, tmp_path)[1].set_index("prediction_id")["outcome"]
    own = rows[0]["prediction_id"]
    audit.correct(written.engine, own, not known[own], "a test")
    audit.erase(written.engine, database.predictions.c.prediction_id == rows[1]["prediction_id"], {})
    after = made(written, tmp_path)[1].set_index("prediction_id")["outcome"]
    assert after[own] == (not known[own])
    assert rows[1]["prediction_id"] not in after.index
    assert len(after) == 119


def test_the_last_of_each_caller_s_id(log: Any, bundles: list[Made], tmp_path: Path) -> None:
    """Without an id, each prediction is one of its own."""
    written, rows = log
    with written.engine.begin() as connection:
        for row in (rows[0], rows[50], rows[100]):
            change = sa.update(database.predictions).where(database.predictions.c.prediction_id == row["prediction_id"])
            connection.execute(change.values(record_id="loan-1"))
    found, table = made(written, tmp_path, last=True)
    assert found.rows == 118
    assert table[table["record_id"] == "loan-1"]["prediction_id"].tolist() == [rows[100]["prediction_id"]]


def test_models_with_other_features_are_in_one_table(log: Any, bundles: list[Made], tmp_path: Path) -> None:
    """What a model does not have is missing; a feature that is a text for any of them is text."""
    written, rows = log
    with written.engine.begin() as connection:
        for row, text in ((rows[0], '{"amount": "much", "band": "x", "time": 3}'), (rows[1], '{"amount": 1234567.25}')):
            change = sa.update(database.predictions).where(database.predictions.c.prediction_id == row["prediction_id"])
            connection.execute(change.values(input=text))
    table = made(written, tmp_path)[1]
    assert table["amount"].dtype == object or str(table["amount"].dtype).startswith("str")
    kept = [float(amount) for amount in table["amount"] if amount != "much"]
    assert sorted(kept) == sorted([1234567.25, *(json.loads(row["input"])["amount"] for row in rows[2:])])
    assert set(table["band"].dropna()) == {"x"}
    assert table["logged_band"].notna().any()
    assert table["time"].dropna().tolist() == [3.0]


def test_nothing_logged_is_said_and_nothing_is_written(
    log: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written, _ = log
    with pytest.raises(DatasetError, match="no prediction was logged"):
        made(written, tmp_path, since=iso(NOW + DAY))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "nowhere"))
    monkeypatch.delenv("PREDICTION_LOG_URL", raising=False)
    assert main(["dataset", str(tmp_path / "x.parquet")]) == 1
    assert capsys.readouterr().err == "dataset: nothing has been logged here yet\n"
    assert not list(tmp_path.glob("*.parquet"))
    assert not list(tmp_path.glob(".*unfinished"))
    monkeypatch.setenv("PREDICTION_LOG_URL", written.url)
    assert main(["dataset", str(tmp_path / "x.parquet"), "--until", UNTIL, "--window", "1"]) == 0
    assert "120 rows" in capsys.readouterr().out


def test_times_are_read_as_utc() -> None:
    assert moment("2026-10-01") == "2026-10-01T00:00:00.000000+00:00"
    assert moment("2026-10-01T02:00:00+02:00") == "2026-10-01T00:00:00.000000+00:00"
    assert datetime.fromisoformat(moment("2026-10-01T05:00")).hour == 5
