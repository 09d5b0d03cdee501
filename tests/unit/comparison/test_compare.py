"""Two models on the same rows: what is counted, what is computed, and the page."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparison.__main__ import main
from comparison.compare import Comparison, judged
from comparison.rows import book, logged
from modelbundle.format import bundle
from modelbundle.statistics import roc_auc, roc_auc_difference
from tests.conftest import Made
from tests.integration import unfit
from tests.unit.services.logs import Written


def result(first: Any, second: Any, batches: Any) -> dict[str, Any]:
    comparison = Comparison(first, second)
    for batch in batches:
        comparison.add(batch)
    return comparison.result()


@pytest.fixture(params=["csv", "parquet"])
def file(request: pytest.FixtureRequest, bundles: list[Made], tmp_path: Path) -> Path:
    """A book of 600 loans."""
    path = tmp_path / f"book.{request.param}"
    frame = bundles[0].frame.head(600)
    frame.to_csv(path, index=False) if request.param == "csv" else frame.to_parquet(path)
    return path


def test_a_book_is_compared_with_the_bits_of_answers(bundles: list[Made], file: Path) -> None:
    """Means, bands, the rows that move most with their terms, and groups add up to the rows."""
    first, second = (bundle.read(made.path) for made in bundles)
    facts = result(first, second, book(str(file), first.schema))
    frame = bundles[0].frame.head(600)
    rows = [{k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]
    pair = [
        [model.answer(model.validator.record(row).row).predict_proba[1] for row in rows] for model in (first, second)
    ]
    assert facts["mean"] == pytest.approx([np.mean(p) for p in pair], abs=1e-15)
    assert (facts["rows"], facts["accepted"], facts["refused"], facts["scored"]) == (600, 600, 0, 600)
    bands = [[model.band(p) for p in ps] for model, ps in zip((first, second), pair, strict=True)]
    assert facts["other_band"] == pytest.approx(np.mean([a != b for a, b in zip(*bands, strict=True)]))
    assert sum(map(sum, facts["bands"]["rows"])) == 600
    moves = np.abs(np.subtract(*pair))
    assert [abs(np.subtract(*m["probability"])) for m in facts["movers"]] == pytest.approx(sorted(moves)[::-1][:10])
    mover = facts["movers"][0]
    change = {t["feature"]: t["terms"] for t in mover["terms"]}
    assert mover["row"] == rows[int(np.argmax(moves))]
    own = [
        dict(zip(m.schema.names, m.scorer.explain_row([mover["row"][n] for n in m.schema.names])[1], strict=True))
        for m in (first, second)
    ]
    assert change == {name: [o[name] for o in own] for name in change}
    for feature in first.schema.names:
        assert sum(part["rows"] for part in facts["slices"] if part["feature"] == feature) == 600
    assert [curve["feature"] for curve in facts["curves"]] == list(first.schema.names)


def test_rows_are_refused_by_feature(bundles: list[Made], file: Path, tmp_path: Path) -> None:
    """A narrower bound and a required feature; a row that the current model refuses is not counted."""
    first = bundle.read(bundles[0].path)
    narrow = bundle.read(unfit.make("bounds", tmp_path).path)
    facts = result(first, narrow, book(str(file), first.schema))
    above = int((bundles[0].frame.head(600)["int_rate"] > 0.2).sum())
    assert (facts["refused"], facts["refused_by"]) == (above, {"int_rate": above})
    assert facts["schema"][0].startswith("`int_rate` has narrower bounds")
    back = result(narrow, first, book(str(file), first.schema))
    assert (back["refused"], back["accepted_anew"], back["accepted"]) == (0, above, 600 - above)
    more = bundle.read(unfit.make("required", tmp_path).path)
    assert result(first, more, book(str(file), first.schema))["refused_by"] == {"city": 600}


def test_logged_rows_are_compared_with_their_outcomes(bundles: list[Made], tmp_path: Path) -> None:
    """Within the days that are asked for; the paired figures are those of the shared statistics."""
    log, first, second = Written(tmp_path), bundle.read(bundles[0].path), bundle.read(bundles[1].path)
    now = time.time()
    rows = log.add(first, bundles[0].frame.head(300), now - 60)
    log.add(first, bundles[0].frame.tail(50), now - 9 * 86400)
    late = np.random.default_rng(1).random(200) < 0.3
    log.judge(rows[:200], late, now)
    features = list(first.schema)
    assert result(first, second, logged(log.url, 30, features))["rows"] == 350
    facts = result(first, second, logged(log.url, 7, features))
    assert (facts["rows"], facts["scored"]) == (300, 300)
    assert (facts["outcomes"]["rows"], facts["outcomes"]["positives"]) == (200, int(late.sum()))
    auc = facts["outcomes"]["figures"][0]
    p = np.array([row["probability"] for row in rows[:200]])
    assert auc["before"] == roc_auc(late.astype(np.int64), p).to_json()


def test_paired_figures() -> None:
    """Differences are after minus before; without both outcomes there are none."""
    labels = np.array([0, 1, 0, 1, -1], dtype=np.int8)
    first, second = np.array([0.2, 0.6, 0.4, 0.3, 0.9]), np.array([0.1, 0.8, 0.3, 0.7, 0.1])
    found = judged(first, second, labels)
    assert found is not None
    by_name = {figure["name"]: figure for figure in found["figures"]}
    known = labels[:4].astype(np.int64)
    assert by_name["ROC-AUC"]["difference"] == roc_auc_difference(known, first[:4], second[:4]).to_json()
    loss = [-np.log([0.8, 0.6, 0.6, 0.3]), -np.log([0.9, 0.8, 0.7, 0.7])]
    assert by_name["Log loss"]["difference"]["value"] == pytest.approx(np.mean(loss[1] - loss[0]))
    assert by_name["Brier score"]["after"]["value"] == pytest.approx(np.mean((second[:4] - known) ** 2))
    assert judged(first, second, np.array([0, 0, -1, -1, 0], dtype=np.int8)) is None


@pytest.mark.parametrize("what", ["raises", "nan"])
def test_rows_without_a_probability_are_counted(bundles: list[Made], tmp_path: Path, what: str) -> None:
    """A model that raises or gives NaN is compared on the other rows; the page is written all the same."""
    frame = bundles[0].frame.head(600).copy()
    frame.loc[[7, 300], "amount"] = unfit.ODD
    frame.to_csv(tmp_path / "book.csv", index=False)
    bad, out = unfit.make(what, tmp_path), tmp_path / "page.html"
    arguments = [str(bad.path), "--with", str(bundles[0].path), "--in", str(tmp_path / "book.csv"), "--out", str(out)]
    assert main([*arguments, "--json", str(tmp_path / "facts.json")]) == 0
    facts = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    assert (facts["unanswered"], facts["scored"], facts["refused"]) == ([0, 2], 598, 0)
    assert "No probability after" in out.read_text("utf-8")


def test_the_command_writes_a_page_without_scripts(
    bundles: list[Made], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And prints the three lines, or all of it as JSON."""
    out = tmp_path / "page.html"
    arguments = [str(bundles[1].path), "--with", str(bundles[0].path), "--in", str(file), "--out", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "0 of 600 rows would be refused"
    assert len(said) == 4
    text = out.read_text("utf-8")
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=\"?https?:", text)
    assert text.count("<figure>") == 5
    assert main([*arguments, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["scored"] == 600


def test_what_cannot_be_compared_is_said_in_one_line(
    bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, no bundle, no rows, no log, a log that cannot be read; nothing is written."""
    monkeypatch.chdir(tmp_path)
    good, empty = str(bundles[0].path), tmp_path / "empty.csv"
    empty.write_text("amount,int_rate\n", "utf-8")
    (tmp_path / "bad.bundle").write_bytes(b"no")
    for arguments, says in (
        (["none.bundle", "--with", good], "none.bundle: No such file"),
        (["bad.bundle", "--with", good], "bad.bundle: "),
        ([good, "--with", good, "--in", "none.csv"], "none.csv: does not exist"),
        ([good, "--with", good, "--in", str(empty)], "there are no rows"),
        ([good, "--with", good], "nothing has been logged here yet"),
    ):
        assert main(arguments) == 1, arguments
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    monkeypatch.setenv("PREDICTION_LOG_URL", "postgresql://user:secret@127.0.0.1:1/none")
    assert main([good, "--with", good]) == 1
    error = capsys.readouterr().err
    assert "the log cannot be read" in error
    assert "secret" not in error
    assert not (tmp_path / "run").exists()
