"""An export has every row of its period in both forms, says what each column means, and never has what was erased."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from logexport import write as writing
from logexport.__main__ import main
from services.predictionlog import audit, database, erasure, event, outcomes
from services.predictionlog.outcome import Claim

ODD = '=1+1,"<script>alert(1)</script>"\n\u2028é'
LATER = "9999"


def prediction(number: int, **more: Any) -> dict[str, Any]:
    return {
        "prediction_id": f"p{number:04}",
        "time": f"2026-01-{1 + number % 28:02}T00:00:00.000000+00:00",
        "model_version": "a" * 64,
        "generation": 1,
        "request_id": "r",
        "key_name": None,
        "record_id": f"own-{number}",
        "probability": number / 1000,
        "band": None,
        "probabilities": f"[{1 - number / 1000},{number / 1000}]",
        "input": json.dumps({"amount": float(number), "purpose": ODD if number == 3 else None}),
        "reasons": "[]",
        "warnings": "[]",
        **more,
    }


@pytest.fixture
def engine(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> sa.Engine:
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    monkeypatch.setattr(writing, "PAGE", 7)
    found = database.connect(url)
    database.migrate(found)
    database.insert(found, [prediction(i) for i in range(100)])
    outcomes.record(found, [Claim("p0003", None, None, True, "is_late")], "teller")
    said = {"model_version": "b" * 64, "probability": 0.5, "time": "2026-01-05"}
    database.challenge(found, [{"prediction_id": f"p{i:04}", **said} for i in range(20)])
    return found


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def export(tmp_path: Path, *options: str) -> Path:
    out = tmp_path / "made" / "out"
    assert main([str(out), *options]) == 0
    return out


def test_everything_is_there_in_both_forms(engine: sa.Engine, tmp_path: Path) -> None:
    """Pages smaller than the rows of one time lose and repeat none."""
    out = export(tmp_path)
    table = pq.read_table(out / "predictions.parquet").to_pylist()
    rows = lines(out / "predictions.csv")
    assert sorted(row["prediction_id"] for row in table) == [f"p{i:04}" for i in range(100)]
    assert [row["prediction_id"] for row in rows] == [row["prediction_id"] for row in table]
    found = {row["prediction_id"]: row for row in table}
    assert found["p0042"]["probability"] == 0.042
    assert found["p0042"]["input_amount"] == 42.0
    assert found["p0042"]["time"].isoformat() == "2026-01-15T00:00:00+00:00"
    assert (found["p0003"]["outcome_name"], found["p0003"]["outcome_value"]) == ("is_late", "true")
    assert found["p0003"]["outcome_key_name"] == "teller"
    assert found["p0004"]["outcome_value"] is None
    odd = next(row for row in rows if row["prediction_id"] == "p0003")
    assert odd["input_purpose"] == found["p0003"]["input_purpose"] == ODD
    assert json.loads(odd["input"]) == {"amount": 3.0, "purpose": ODD}
    challenged = pq.read_table(out / "challenges.parquet").to_pylist()
    assert [row["prediction_id"] for row in challenged] == [f"p{i:04}" for i in range(20)]
    about = json.loads((out / "export.json").read_text("utf-8"))
    assert about["rows"] == {"predictions": 100, "challenges": 20, "events": 0}
    assert {p.name for p in out.iterdir()} == {*about["sha256"], "export.json"}
    assert all(hashlib.sha256((out / n).read_bytes()).hexdigest() == s for n, s in about["sha256"].items())


def test_every_column_is_in_the_dictionary(engine: sa.Engine, tmp_path: Path) -> None:
    """With a type and a meaning, in the order of the files; the columns of the log are all there."""
    out = export(tmp_path)
    words = lines(out / "dictionary.csv")
    for name in ("predictions", "challenges", "events"):
        own = [word["column"] for word in words if word["table"] == name]
        assert own == pq.read_schema(out / f"{name}.parquet").names == list(lines_head(out / f"{name}.csv"))
    assert all(word["type"] and word["meaning"] and word["if empty"] for word in words)
    logged = {column.name for column in database.predictions.columns}
    assert logged <= {word["column"] for word in words if word["table"] == "predictions"}


def lines_head(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def test_features_are_described_as_their_bundle_does(engine: sa.Engine, tmp_path: Path) -> None:
    """Found by the version's hash."""
    bundle = Path(__file__).parents[3] / "models" / "late-payers.bundle"
    version = hashlib.sha256(bundle.read_bytes()).hexdigest()
    database.insert(engine, [prediction(200, model_version=version, input='{"annual_inc": 1.5}')])
    out = export(tmp_path, "--models", str(bundle.parent))
    word = next(word for word in lines(out / "dictionary.csv") if word["column"] == "input_annual_inc")
    assert word["meaning"].startswith("feature: ")
    unknown = next(word for word in lines(out / "dictionary.csv") if word["column"] == "input_amount")
    assert "no bundle" in unknown["meaning"]


def test_a_period(engine: sa.Engine, tmp_path: Path) -> None:
    """From the first day on, before the last."""
    out = export(tmp_path, "--since", "2026-01-02", "--until", "2026-01-04")
    days = {str(row["time"])[:10] for row in pq.read_table(out / "predictions.parquet").to_pylist()}
    assert days == {"2026-01-02", "2026-01-03"}
    assert {row["prediction_id"] for row in lines(out / "challenges.csv")} == {"p0001", "p0002"}


def test_what_was_erased_is_nowhere(engine: sa.Engine, tmp_path: Path) -> None:
    """Not its row, nor its events, nor its id in the event of its erasure; the corrections of others are there."""
    audit.correct(engine, "p0003", False, "me")
    outcomes.record(engine, [Claim("p0004", None, None, True, "is_late")], None)
    audit.correct(engine, "p0004", False, "me")
    seen = {"by": "teller", "what": "search", "searched": {"record_id": "own-3"}, "predictions": ["p0003"]}
    with engine.begin() as connection:
        audit.note(connection, event.LOOKUP, seen)
    erasure.erase(engine, erasure.Erasure("record_id", "own-3", LATER), "me")
    out = export(tmp_path)
    for path in out.iterdir():
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = repr(pq.read_table(path).to_pylist()).encode()
        assert b"p0003" not in content
        assert b"own-3'" not in content
        assert b'own-3"' not in content
        assert b"<script>" not in content
    kinds = [row["kind"] for row in lines(out / "events.csv")]
    assert kinds == [event.CORRECTION, event.LOOKUP, event.ERASURE]
    detail = json.loads(lines(out / "events.csv")[1]["detail"])
    assert detail == {"by": "teller", "what": "search", "searched": ["record_id"], "predictions": 1}


def test_an_erasure_meanwhile_begins_it_again(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows were written already when it came."""
    fill, calls = writing._fill, []

    def once(*arguments: Any) -> Any:
        made = fill(*arguments)
        if not calls:
            erasure.erase(engine, erasure.Erasure("record_id", "own-3", LATER), "me")
        calls.append(made)
        return made

    monkeypatch.setattr(writing, "_fill", once)
    out = export(tmp_path)
    assert [made["predictions"] for made in calls] == [100, 99]
    assert "p0003" not in {row["prediction_id"] for row in lines(out / "predictions.csv")}


def test_whole_or_nothing(engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A full disk leaves nothing, and no event; neither does the next run find a killed one's remains."""
    out = tmp_path / "made" / "out"

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_durable", full)
        assert main([str(out)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []
    (out.parent / ".out.unfinished").mkdir()
    (out.parent / ".out.unfinished" / "predictions.csv").write_text("old", "utf-8")
    export(tmp_path)
    assert list(out.parent.iterdir()) == [out]
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert main([str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    with engine.connect() as connection:
        kinds = connection.execute(sa.select(database.events.c.kind)).scalars().all()
    assert kinds == [event.EXPORT]


def test_an_empty_log_is_exported_and_none_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables without rows have their columns; without a database there is a sentence."""
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    assert main([str(tmp_path / "out")]) == 1
    assert "there is no prediction log yet" in capsys.readouterr().err
    database.migrate(database.connect(url))
    assert main([str(tmp_path / "out")]) == 0
    assert lines(tmp_path / "out" / "predictions.csv") == []
    assert "probability" in pq.read_schema(tmp_path / "out" / "predictions.parquet").names
