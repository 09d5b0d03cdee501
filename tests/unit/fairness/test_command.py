"""``make fairness`` and ``make fairness-card``: from files and the log to a page, JSON, and a model's card."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from fairness import example
from fairness.__main__ import main
from modelbundle.fairness import Fairness
from modelbundle.format import archive, bundle, manifest
from modelbundle.format.statement import SUFFIX, make_keys
from modelbundle.statistics import roc_auc
from services.monitoring.analysis.performance import figures
from services.monitoring.log_reader.queries import LabelledRows
from services.predictionlog import database
from tests.conftest import Made, make_book
from tests.unit.services.logs import Written

ROWS = 600
Run = Callable[..., int]


def named(rows: int = ROWS, seed: int = 5) -> list[str]:
    """Who is in which group: much the same for all features."""
    return list(np.random.default_rng(seed).choice(["north", "south", "tiny"], rows, p=[0.5, 0.49, 0.01]))


@pytest.fixture
def frame() -> pd.DataFrame:
    """A labelled book with ids."""
    frame, late = make_book(ROWS, seed=9)
    return frame.assign(id=[f"loan-{k}" for k in range(ROWS)], is_late=late)


@pytest.fixture
def run(tmp_path: Path, bundles: list[Made]) -> Run:
    """Run ``measure`` with a file of groups."""

    def measured(groups: pd.DataFrame, *more: str, reference: str = "north", refuse: str = "high") -> int:
        groups.to_csv(tmp_path / "groups.csv", index=False)
        asked = ["--reference", reference, "--refuse", refuse, "--model", str(bundles[0].path), *more]
        return main(["measure", str(tmp_path / "groups.csv"), *asked, "--out", str(tmp_path / "out.html")])

    return measured


def groups_of(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"id": frame["id"], "region": named(len(frame))})


def result(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("kind", ["csv", "parquet", "directory"])
def test_a_book(kind: str, frame: pd.DataFrame, run: Run, tmp_path: Path, bundles: list[Made], capsys: Any) -> None:
    """Its rows are scored with the answers' bits; the groups' figures are of their rows."""
    path = tmp_path / ("book" if kind == "directory" else f"book.{kind}")
    if kind == "directory":
        path.mkdir()
        frame[:200].to_csv(path / "a.csv", index=False)
        frame[200:].to_csv(path / "b.csv", index=False)
    else:
        frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    assert run(groups_of(frame), "--in", str(path)) == 0
    found = Fairness.from_json(result(tmp_path), ["amount"])
    probabilities = bundles[0].pipeline.predict_proba(frame[bundles[0].frame.columns])[:, 1]
    north = np.array(named()) == "north"
    own = {group.name: group for group in found.groups}
    assert own["north"].rows == north.sum() == own["north"].outcomes
    assert own["north"].figures["refusal_rate"]["value"] == pytest.approx((probabilities[north] > 0.3).mean())
    area = roc_auc(frame["is_late"].to_numpy()[north], probabilities[north]).value
    assert own["north"].figures["roc_auc"]["value"] == pytest.approx(area)
    assert own["tiny"].notes == (f"Too small: {own['tiny'].rows} rows, fewer than 100.",)
    assert (found.model, found.source, found.column) == (bundles[0].sha256, path.name, "region")
    said, page = capsys.readouterr().out, (tmp_path / "out.html").read_text("utf-8")
    for text in ("'tiny'", "Too small", "Adverse impact ratio", "'south'"):
        assert text in said
    assert "<script" not in page
    assert "tiny" in page


def test_a_book_without_outcomes_or_with_another_column_of_them(frame: pd.DataFrame, run: Run, tmp_path: Path) -> None:
    """Refusals can be told without outcomes; a column of outcomes that is asked for must be there."""
    path, groups = tmp_path / "book.csv", groups_of(frame)
    frame.rename(columns={"is_late": "bad"}).to_csv(path, index=False)
    assert run(groups, "--in", str(path)) == 0
    assert result(tmp_path)["notes"] == ["the book has no column is_late, so nothing is known of outcomes"]
    assert result(tmp_path)["groups"][0]["outcomes"] == 0
    assert run(groups, "--in", str(path), "--label", "bad") == 0
    assert result(tmp_path)["groups"][0]["outcomes"] > 200


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"id": "loan-0"}, [], "row 8 has the id 'loan-0' of row 1 again"),
        ({"is_late": 2}, [], "row 8 has '2' in 'is_late', which must be true or false"),
        ({}, ["--label", "late"], "has no column 'late'"),
        ({}, ["--id", "key"], "has no column 'key' of ids"),
        ({"id": "other"}, [], "groups.csv: row 8 has the id 'loan-7', which is not among the rows"),
    ],
)
def test_what_is_wrong_with_a_book_is_one_line(
    change: dict[str, Any], more: list[str], said: str, frame: pd.DataFrame, run: Run, tmp_path: Path, capsys: Any
) -> None:
    """With the row; nothing is written."""
    groups = groups_of(frame)
    for name, value in change.items():
        frame.loc[7, name] = value
    frame.to_csv(tmp_path / "book.csv", index=False)
    assert run(groups, "--in", str(tmp_path / "book.csv"), *more) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.html").exists()
    assert not (tmp_path / "out.json").exists()


def test_rejected_rows_count_and_do_not_move_the_numbers_of_rows(
    frame: pd.DataFrame, run: Run, tmp_path: Path, capsys: Any
) -> None:
    """A row that the model does not accept counts with its group; the row after it keeps its number."""
    frame["int_rate"] = frame["int_rate"].astype(object)
    frame.loc[3, "int_rate"] = "many"
    groups = groups_of(frame)
    frame.to_csv(tmp_path / "book.csv", index=False)
    assert run(groups, "--in", str(tmp_path / "book.csv")) == 0
    counts = {group["name"]: group["unanswered"] for group in result(tmp_path)["groups"]}
    assert counts == {**dict.fromkeys(counts, 0), named()[3]: 1}
    frame.loc[9, "id"] = frame.loc[3, "id"]
    frame.to_csv(tmp_path / "book.csv", index=False)
    assert run(groups, "--in", str(tmp_path / "book.csv")) == 1
    assert "row 10 has the id 'loan-3' of row 4 again" in capsys.readouterr().err


def test_a_group_that_is_a_feature(frame: pd.DataFrame, run: Run, tmp_path: Path, capsys: Any) -> None:
    """By its name or by its values: refused, and nothing is written."""
    frame.to_csv(tmp_path / "book.csv", index=False)
    for column, said in (("purpose", "is the name of the model's feature"), ("vehicle", "under another name")):
        groups = pd.DataFrame({"id": frame["id"], column: frame["purpose"].str.upper()})
        assert run(groups, "--in", str(tmp_path / "book.csv"), reference="CAR") == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.fixture
def logged(tmp_path: Path, bundles: list[Made], frame: pd.DataFrame, monkeypatch: Any) -> tuple[Written, list[Any]]:
    """The book as it was asked about lately, with the ids of the callers, and outcomes of five sixths."""
    written = Written(tmp_path / "log")
    rows = written.add(bundle.read(bundles[0].path), frame, time.time() - 600)
    with written.engine.begin() as connection:
        for row, own in zip(rows, frame["id"], strict=True):
            change = sa.update(database.predictions).where(database.predictions.c.prediction_id == row["prediction_id"])
            connection.execute(change.values(record_id=own))
    written.judge(rows[:500], frame["is_late"][:500])
    monkeypatch.setenv("PREDICTION_LOG_URL", written.url)
    return written, rows


@pytest.mark.parametrize("by", ["id", "prediction_id"])
def test_the_log(by: str, logged: Any, frame: pd.DataFrame, run: Run, tmp_path: Path) -> None:
    """A group that all rows are in has the figures of the monitor; ids are the callers' or those of predictions."""
    _, rows = logged
    groups = pd.DataFrame(
        {by: frame["id"] if by == "id" else [row["prediction_id"] for row in rows], "all": "everybody"}
    )
    assert run(groups, "--id", by, "--days", "1", reference="everybody") == 0
    (own,) = result(tmp_path)["groups"]
    pairs = zip(rows[:500], frame["is_late"], strict=False)
    known = [(late, row["prediction_id"], row["time"], row["probability"]) for row, late in pairs]
    labelled = LabelledRows.of(known)
    monitored = figures(labelled, labelled.probabilities, None)
    assert (own["rows"], own["outcomes"]) == (600, 500)
    for key in ("roc_auc", "predicted_to_observed", "calibration_slope"):
        assert own["figures"][key] == pytest.approx(monitored[key])
    for key in ("observed_rate", "expected_rate"):
        assert own["figures"][key]["value"] == pytest.approx(monitored[key])


def test_of_one_id_the_answer_with_an_outcome_counts(
    logged: Any, frame: pd.DataFrame, run: Run, tmp_path: Path, bundles: list[Made]
) -> None:
    """And of another model none; both are said. A later answer without an outcome does not lose the outcome."""
    written, rows = logged
    change = sa.update(database.predictions)
    mine = database.predictions.c.prediction_id
    with written.engine.begin() as connection:
        connection.execute(change.where(mine == rows[599]["prediction_id"]).values(record_id="loan-0"))
        connection.execute(change.where(mine == rows[598]["prediction_id"]).values(model_version="f" * 64))
        connection.execute(change.where(mine == rows[597]["prediction_id"]).values(record_id=None))
    assert run(groups_of(frame), "--others") == 0
    found = result(tmp_path)
    assert sum(group["outcomes"] for group in found["groups"]) == 500
    assert sum(group["rows"] for group in found["groups"]) == 598
    assert set(found["notes"]) == {
        "1 further answers about the same id are left out",
        "1 answers of other models are left out",
        "3 ids with a group are not among the rows",
        "1 rows have no id: their group is not known",
    }


def test_an_id_is_its_caller_s_own(logged: Any, frame: pd.DataFrame, run: Run, tmp_path: Path, capsys: Any) -> None:
    """Two callers may use the same id for other persons: it must be said whose ids they are; ids of predictions are nobody's."""
    written, rows = logged
    with written.engine.begin() as connection:
        mine = database.predictions.c.prediction_id.in_([row["prediction_id"] for row in rows[:200]])
        connection.execute(sa.update(database.predictions).where(mine).values(key_name="branch"))
    assert run(groups_of(frame)) == 1
    assert "several callers asked: say whose ids these are (--caller): '', 'branch'" in capsys.readouterr().err
    for caller, count in (("branch", 200), ("", 400)):
        assert run(groups_of(frame), "--others", "--caller", caller, "--least", "50") == 0
        assert sum(group["rows"] for group in result(tmp_path)["groups"]) == count
        assert f"{600 - count:,} answers to other callers are left out" in result(tmp_path)["notes"]
    assert run(groups_of(frame), "--caller", "nobody") == 1
    assert "there are 600 answers to other callers" in capsys.readouterr().err
    groups = groups_of(frame).assign(id=[row["prediction_id"] for row in rows])
    assert run(groups.rename(columns={"id": "prediction_id"}), "--id", "prediction_id") == 0


def test_a_log_that_has_nothing(run: Run, frame: pd.DataFrame, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """No log, an empty one, none of this model, one that cannot be read: one line each, without the address."""
    groups = groups_of(frame)
    monkeypatch.setenv("PREDICTION_LOG_URL", "none")
    assert run(groups) == 1
    assert "nothing has been logged here yet" in capsys.readouterr().err
    monkeypatch.setenv("PREDICTION_LOG_URL", Written(tmp_path / "log").url)
    assert run(groups) == 1
    assert "answered nothing in the last 30 days" in capsys.readouterr().err
    (tmp_path / "broken.sqlite").write_bytes(b"this is no database, and it is long enough to be told from one" * 20)
    monkeypatch.setenv("PREDICTION_LOG_URL", f"sqlite:///{tmp_path / 'broken.sqlite'}")
    assert run(groups) == 1
    error = capsys.readouterr().err
    assert "the log cannot be read (DatabaseError)" in error
    assert "broken" not in error


@pytest.mark.parametrize("wrong", [["--least", "19"], ["--least", "x"], ["--out", "page.json"], ["--days", "0"]])
def test_wrong_usage(wrong: list[str], run: Run, frame: pd.DataFrame) -> None:
    with pytest.raises(SystemExit) as left:
        run(groups_of(frame), *wrong)
    assert left.value.code == 2


@pytest.fixture
def measured(frame: pd.DataFrame, run: Run, tmp_path: Path) -> Path:
    """A result with a group of few rows."""
    frame.to_csv(tmp_path / "book.csv", index=False)
    assert run(groups_of(frame), "--in", str(tmp_path / "book.csv")) == 0
    return tmp_path / "out.json"


def carded(measured: Path, model: Path, *more: str) -> int:
    return main(["card", str(measured), str(measured.with_name("new.bundle")), "--model", str(model), *more])


def test_the_card(measured: Path, bundles: list[Made], tmp_path: Path) -> None:
    """The same model with another hash, signed; groups that could identify a person have lost their names."""
    make_keys(tmp_path / "key.pem", tmp_path / "public.pem")
    assert carded(measured, bundles[0].path, "--key", str(tmp_path / "key.pem")) == 0
    path = measured.with_name("new.bundle")
    assert path.with_name(path.name + SUFFIX).exists()
    old, new = bundle.read(bundles[0].path), bundle.read(path)
    found = new.manifest.fairness
    assert found is not None
    assert found.model == old.version != new.version
    tiny = named().count("tiny")
    assert tiny < 20
    assert [group.name for group in found.groups] == ["north", "south"]
    assert found.unnamed == (1, tiny)
    assert b"tiny" not in path.read_bytes()
    entries = [archive.unpack(each.read_bytes()) for each in (bundles[0].path, path)]
    assert {**entries[0], manifest.NAME: b""} == {**entries[1], manifest.NAME: b""}
    assert {key: value for key, value in new.manifest.data.items() if key != "fairness"} == dict(old.manifest.data)


def test_the_card_takes_no_other_result(measured: Path, bundles: list[Made], capsys: Any, tmp_path: Path) -> None:
    """Of another model, malformed, or no JSON; nor a file that is no bundle. Nothing is written."""
    assert carded(measured, bundles[1].path) == 1
    assert "is about the model" in capsys.readouterr().err
    content = json.loads(measured.read_text("utf-8"))
    for broken in (
        "{",
        "[]",
        "{}",
        json.dumps({**content, "groups": []}),
        json.dumps({**content, "column": "purpose"}),
    ):
        measured.write_text(broken, "utf-8")
        assert carded(measured, bundles[0].path) == 1
        assert "is no result of `make fairness`" in capsys.readouterr().err
    (tmp_path / "plain.joblib").write_bytes(b"\x80\x04N.")
    assert carded(measured, tmp_path / "plain.joblib") == 1
    assert "is not a bundle" in capsys.readouterr().err
    assert carded(tmp_path / "nowhere.json", bundles[0].path) == 1
    assert "nowhere.json: No such file" in capsys.readouterr().err
    assert not measured.with_name("new.bundle").exists()


def test_the_example_runs(tmp_path: Path, bundles: list[Made], capsys: Any) -> None:
    """On the model that ships: groups of which one is too small, and rows without a group."""
    assert example.run(["--out", str(tmp_path), "--rows", "3000"]) == 0
    said = capsys.readouterr().out
    assert "'north'" in said
    assert "Too small" in said
    assert "their group is not known" in said
    assert (tmp_path / "fairness.html").exists()
