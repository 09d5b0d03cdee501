"""A recalibrated model expects as many as come, on outcomes that it was not fitted on, with exact reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from learning import dataset
from learning.__main__ import main
from learning.dataset import Query
from learning.outcomes import OutcomesError
from learning.recalibrate import Line, RecalibrationError, fit, recalibrate
from modelbundle import golden
from modelbundle.format import archive, bundle, manifest, reference, values
from modelbundle.publishing.publish import publish
from modelbundle.scorers.probability import expit_array
from modelbundle.statistics import log_odds
from tests.conftest import GRADES, Made, make_book
from tests.unit.modelbundle.test_fairness import GIVEN
from tests.unit.services.logs import NOW, Written, iso

ROWS = 12_000
UNTIL = iso(NOW + 1)


def loans(rows: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """The small book with its grades as numbers too."""
    frame, late = make_book(rows, seed)
    return frame.assign(number=frame["grade"].map(GRADES.index).astype(float)), late


def logged(folder: Path, path: Path, line: Line, rows: int = ROWS) -> Path:
    """A dataset of loans whose outcomes are as likely as the model's log-odds on a line."""
    written, model = Written(folder / "log"), bundle.read(path)
    frame, _ = loans(rows, seed=11)
    frame = frame[list(model.schema.names)]
    entries: list[dict[str, Any]] = []
    for k in range(10):
        entries += written.add(model, frame[k * rows // 10 : (k + 1) * rows // 10], NOW - 1000 + k, seed=k)
    odds = log_odds(np.array([row["probability"] for row in entries]))
    late = np.random.default_rng(5).random(len(entries)) < expit_array(line.factor * odds + line.shift)
    written.judge(entries, late)
    dataset.write(written.url, folder / "d.parquet", Query(UNTIL))
    return folder / "d.parquet"


def test_an_additive_model_keeps_exact_reasons(bundles: list[Made], tmp_path: Path) -> None:
    """Baseline and contributions add up to the log-odds; the manifest says where it comes from."""
    data = logged(tmp_path, bundles[0].path, Line(1.0, -0.9))
    made = recalibrate(bundles[0].path, data, tmp_path / "new.bundle")
    assert made.before.predicted_to_observed > 1.4
    assert 0.9 < made.after.predicted_to_observed < 1.1
    assert made.after.log_loss < made.before.log_loss
    old, new = bundle.read(bundles[0].path), bundle.read(made.path)
    golden.check(new)
    rows = [list(row) for row in old.manifest.golden.rows]
    for row in rows:
        before, after = old.answer(row, True), new.answer(row, True)
        assert after.contributions == {k: made.line.factor * v for k, v in before.contributions.items()}  # type: ignore[union-attr]
        total = after.baseline + sum(after.contributions.values())  # type: ignore[operator,union-attr]
        assert log_odds(np.array([after.predict_proba[1]]))[0] == pytest.approx(total, abs=1e-12)
        assert [r["feature"] for r in after.reasons or ()] == [r["feature"] for r in before.reasons or ()]
    lineage = new.manifest.data["lineage"]
    assert (lineage["parent"], lineage["how"]) == (bundles[0].sha256, "recalibrated")
    assert lineage["rows"] == {"fitted": 8000, "judged": 4000}
    assert lineage["dataset"] == dataset.describe(data)["fingerprint"]
    entry = bundle.entry(made.path, new.manifest, bundle.REFERENCE)
    assert entry is not None
    described = reference.parse(entry, new.schema)["probability"]
    frame = bundles[0].frame
    last = new.last_class([frame[c].to_numpy() if frame[c].dtype == float else frame[c].tolist() for c in frame])
    counts = np.bincount(np.searchsorted(described["edges"], last, side="left"), minlength=10)
    assert counts.tolist() == described["counts"]  # every row is in the bin that it was in


def test_the_slope_is_fitted_where_the_outcomes_bear_it(bundles: list[Made], tmp_path: Path) -> None:
    """Contributions become as much smaller."""
    data = logged(tmp_path, bundles[0].path, Line(0.5, -0.4))
    made = recalibrate(bundles[0].path, data, tmp_path / "new.bundle")
    assert made.line.factor == pytest.approx(0.5, abs=0.2)
    assert made.after.slope is not None
    assert made.after.slope[1] < 1 < made.after.slope[2]
    old, new = bundle.read(bundles[0].path), bundle.read(made.path)
    row = list(old.manifest.golden.rows[0])
    before, after = old.answer(row, True).contributions, new.answer(row, True).contributions
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    for name, term in before.items():
        assert after[name] == pytest.approx(made.line.factor * term, abs=1e-12)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (LogisticRegression(), "additive"),
        (GradientBoostingClassifier(max_depth=4, n_estimators=20, random_state=0), "trees"),
        (RandomForestClassifier(20, max_depth=5, random_state=0), "combined"),
    ],
)
def test_any_compiled_model(model: Any, kind: str, tmp_path: Path) -> None:
    """Trees keep their link; of a forest, the odds are multiplied."""
    frame, late = loans(1500, 0)
    numbers = frame[["amount", "int_rate", "number"]]
    made = publish(model.fit(numbers, late), numbers, late, tmp_path / "m.bundle")
    data = logged(tmp_path, made.path, Line(1.0, 0.8))
    new = recalibrate(made.path, data, tmp_path / "new.bundle")
    assert 0.9 < new.after.predicted_to_observed < 1.1 < 1 / new.before.predicted_to_observed
    served = bundle.read(new.path)
    golden.check(served)
    assert served.manifest.scorer["kind"] == kind
    columns: list[Any] = [numbers[c].to_numpy() for c in numbers]
    before = log_odds(bundle.read(made.path).last_class(columns))
    assert log_odds(served.last_class(columns)) == pytest.approx(new.line.factor * before + new.line.shift, abs=1e-9)


def test_a_model_that_is_right_is_left_alone(bundles: list[Made], tmp_path: Path) -> None:
    """A line that does not help on the newer outcomes is not published."""
    refused = 0
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        data = logged(folder, bundles[0].path, Line(1.0, 0.0), rows=3000)
        try:
            made = recalibrate(bundles[0].path, data, folder / "new.bundle")
        except RecalibrationError as error:
            assert "does not help on the newer outcomes" in str(error)
            assert not (folder / "new.bundle").exists()
            refused += 1
        else:
            assert abs(made.line.shift) < 0.3
    assert refused <= 3


def test_what_cannot_be_recalibrated_is_said(
    bundles: list[Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = logged(tmp_path, bundles[0].path, Line(1.0, -0.5), rows=60)
    with pytest.raises(OutcomesError, match="fewer than 20 of one kind"):
        recalibrate(bundles[0].path, data, tmp_path / "new.bundle")
    frame, late = make_book(300)
    numbers = frame[["amount"]]
    bayes = publish(GaussianNB().fit(numbers, late), numbers, late, tmp_path / "b.bundle")
    with pytest.raises(RecalibrationError, match="only compiled models of two classes"):
        recalibrate(bayes.path, data, tmp_path / "new.bundle")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for wrong, says in (("other.parquet", "is not a dataset"), ("none.parquet", "cannot be read")):
        arguments = ["recalibrate", str(tmp_path / wrong), str(tmp_path / "n"), "--model", str(bundles[0].path)]
        assert main(arguments) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "new.bundle").exists()


def test_the_intercept_makes_as_many_expected_as_came() -> None:
    """Exactly, on the rows that it was fitted on; and the slope only where chance does not explain it."""
    rng = np.random.default_rng(5)
    odds = rng.normal(-2, 1, 5000)
    labels = (rng.random(5000) < expit_array(odds + 0.7)).astype(np.int64)
    line = fit(labels, odds, slope=False)
    assert expit_array(odds + line.shift).sum() == pytest.approx(labels.sum(), rel=1e-9)
    slopes = 0
    for _ in range(200):
        labels = (rng.random(1500) < expit_array(odds[:1500])).astype(np.int64)
        slopes += fit(labels, odds[:1500], slope=True).factor != 1.0
    assert slopes <= 25  # about one in twenty


def test_figures_by_group_are_not_taken_over(bundles: list[Made], tmp_path: Path) -> None:
    """They are of the parent's probabilities: a recalibrated model refuses others."""
    entries = archive.unpack(bundles[0].path.read_bytes())
    about = values.loads(manifest.NAME, entries.pop(manifest.NAME))
    entries[manifest.NAME] = manifest.dump({**about, "fairness": GIVEN})
    parent = tmp_path / "parent.bundle"
    parent.write_bytes(archive.pack(entries))
    assert bundle.read(parent).manifest.fairness is not None
    data = logged(tmp_path, parent, Line(1.0, -0.9))
    made = recalibrate(parent, data, tmp_path / "new.bundle")
    assert bundle.read(made.path).manifest.fairness is None
