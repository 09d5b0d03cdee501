"""A recipe is fitted on original and older rows, judged on newer ones beside the parent, and published if it is better."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from late_payers import pipelines
from late_payers.champion import retrain as champions
from late_payers.model_card.markup import Section
from late_payers.recipe import split
from late_payers.simulation import simulate
from learning import dataset, recipes
from learning.__main__ import main
from learning.carrying import carried
from learning.dataset import Query
from modelbundle import golden
from modelbundle.format import bundle
from modelbundle.publishing.annotations import Author, Band, FeatureWords
from modelbundle.publishing.publish import publish
from tests.conftest import make_book, make_logistic
from tests.unit.services.logs import NOW, Written, iso

FEATURES = ["amount", "int_rate", "grade", "purpose"]
WORDS = {"amount": FeatureWords("Amount", "The amount.", "USD", 100, 90_000, high="large", low="small", missing="none")}
BANDS = [Band("low", 0.3, 0.2, 0.5), Band("high", 1.0, 0.6, 0.5)]
MODULE = "another_team"
RECIPES = """
from sklearn.dummy import DummyClassifier
from tests.conftest import make_logistic

def fit(features, labels):
    return make_logistic().fit(features, labels)

def worse(features, labels):
    return DummyClassifier(strategy="uniform", random_state=0).fit(features, labels)

def raises(features, labels):
    raise KeyError("no such column")

def nothing(features, labels):
    return None

def strings(features, labels):
    return make_logistic().fit(features, ["yes" if label else "no" for label in labels])
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module of another team, a parent that knows little, a dataset, and original rows."""
    (tmp_path / f"{MODULE}.py").write_text(RECIPES, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    frame, late = make_book(200, seed=3)
    weak = make_logistic(0.001).fit(frame[FEATURES], late)
    author = Author("small", "The small one", "late", WORDS, BANDS)
    publish(weak, frame[FEATURES], late, tmp_path / "parent.bundle", author=author)
    logged(tmp_path, tmp_path / "parent.bundle", 3000)
    frame, late = make_book(900, seed=4)
    frame[FEATURES].assign(outcome=late).to_csv(tmp_path / "original.csv", index=False)
    return tmp_path


def logged(folder: Path, parent: Path, rows: int) -> None:
    """A dataset of the book, ten batches in time, of which one in fifty has no outcome."""
    written, model = Written(folder / "log"), bundle.read(parent)
    frame, late = make_book(rows, seed=11)
    for k in range(10):
        part = slice(k * rows // 10, (k + 1) * rows // 10)
        entries = written.add(model, frame[FEATURES][part], NOW - 1000 + k, seed=k)
        known = len(entries) * 49 // 50
        order = {
            tuple(row): y for row, y in zip(frame[FEATURES][part].itertuples(index=False), late[part], strict=True)
        }
        outcomes = [order[tuple(json.loads(e["input"])[n] for n in FEATURES)] for e in entries[:known]]
        written.judge(entries[:known], outcomes)
    dataset.write(written.url, folder / "d.parquet", Query(iso(NOW + 1)))


def run(team: Path, recipe: str = "fit", *more: str) -> int:
    """The command with a recipe of the other team."""
    name = recipe if ":" in recipe else f"{MODULE}:{recipe}"
    arguments = [str(team / "d.parquet"), str(team / "new.bundle"), "--model", str(team / "parent.bundle")]
    return main(["retrain", *arguments, "--recipe", name, *more])


def test_another_teams_recipe(team: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A function is all they need; texts and bounds stay, the lineage and the card say what changed."""
    assert run(team, "fit", "--original", str(team / "original.csv")) == 0
    said = capsys.readouterr().out
    assert "another_team:fit on 900 original rows and 1,960 older outcomes" in said
    old, new = bundle.read(team / "parent.bundle"), bundle.read(team / "new.bundle")
    golden.check(new)
    lineage = new.manifest.data["lineage"]
    assert (lineage["how"], lineage["parent"]) == ("retrained", old.version)
    assert lineage["rows"] == {"original": 900, "logged": 1960, "judged": 980}
    assert lineage["dataset"] == dataset.describe(team / "d.parquet")["fingerprint"]
    assert lineage["recipe"]["version"].startswith("another_team.py sha256:")
    assert lineage["since"] < lineage["split"] < lineage["until"]
    assert lineage["after"]["log_loss"] < lineage["before"]["log_loss"]
    value, low, high = lineage["gain"]
    assert low < value < high
    assert value == pytest.approx(lineage["before"]["log_loss"] - lineage["after"]["log_loss"], abs=1e-12)
    assert new.manifest.data["training"]["rows"] == 2860
    assert (new.manifest.title, new.manifest.positive) == ("The small one", "late")
    amount = next(f for f in new.schema if f.name == "amount")
    assert (amount.minimum, amount.maximum, amount.unit) == (100, 90_000, "USD")
    assert carried(new.manifest).features == carried(old.manifest).features
    bands = new.manifest.bands
    assert [(b.label, b.upper) for b in bands] == [("low", 0.3), ("high", 1.0)]
    assert sum(b.share or 0 for b in bands) == pytest.approx(1)
    assert bands[0].observed_rate is not None
    assert bands[1].observed_rate is not None
    assert bands[0].observed_rate < bands[1].observed_rate
    card = bundle.entry(team / "new.bundle", new.manifest, bundle.CARD)
    assert card is not None
    text = card.decode()
    for words in ("## What changed", old.version, "900 original rows", "| ROC-AUC |", "moved most", "| int_rate |"):
        assert words in text


def test_the_judged_model_is_the_published_one(team: Path) -> None:
    """It is fitted on logged rows only without original ones, and not again on the newer ones."""
    assert run(team) == 0
    new = bundle.read(team / "new.bundle")
    assert new.manifest.data["training"]["rows"] == 1960
    table = pd.read_parquet(team / "d.parquet").dropna(subset=["outcome"])[[*FEATURES, "outcome"]]
    same = make_logistic().fit(table[FEATURES][:1960], table["outcome"][:1960].astype(int))
    newer = table[FEATURES][1960:]
    expected = same.predict_proba(newer)[:, 1]
    assert new.last_class(
        [newer[n].to_numpy() if n in FEATURES[:2] else newer[n].tolist() for n in new.schema.names]
    ) == (pytest.approx(expected, abs=1e-9))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("worse", "it does not help on the newer outcomes"),
        ("raises", "another_team:raises failed (KeyError): 'no such column'"),
        ("nothing", "must return a fitted classifier with predict_proba, not NoneType"),
        ("strings", "gave a model of the classes"),
        ("absent", "has no callable absent"),
        ("no_such_module:fit", "cannot be imported (ModuleNotFoundError)"),
        (":fit", "is named module:callable"),
    ],
)
def test_what_is_not_published_is_said(team: Path, capsys: pytest.CaptureFixture[str], recipe: str, says: str) -> None:
    (team / "new.bundle").write_bytes(b"as it was")
    assert run(team, recipe) == 1
    found = capsys.readouterr().err
    assert says in found
    assert "Traceback" not in found
    assert (team / "new.bundle").read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="outcome"), "has no column outcome"),
        (lambda f: f.assign(outcome=np.nan), "needs a label that is one of 0, 1"),
        (lambda f: f.assign(age=3), "have columns that the parent does not take: age"),
        (lambda f: f.assign(amount="much"), "amount has texts in the original rows and numbers in the log"),
    ],
)
def test_original_rows_that_do_not_fit(team: Path, capsys: pytest.CaptureFixture[str], change: Any, says: str) -> None:
    change(pd.read_csv(team / "original.csv")).to_csv(team / "o.csv", index=False)
    assert run(team, "fit", "--original", str(team / "o.csv")) == 1
    assert says in capsys.readouterr().err
    assert not (team / "new.bundle").exists()


def test_a_parent_of_another_schema(team: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame, late = make_book(300)
    renamed = frame[["amount"]].rename(columns={"amount": "sum"})
    publish(DummyClassifier().fit(renamed, late), renamed, late, team / "parent.bundle")
    assert run(team) == 1
    assert "the dataset has not the features sum" in capsys.readouterr().err


def test_the_champions_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its card begins with what changed, and says that the figures are out of time."""
    from learning.retrain import Retrained

    quick = {"model__smoothing_rounds": 20, "model__interaction_smoothing_rounds": 20, "model__max_rounds": 60}
    make = pipelines.champion
    monkeypatch.setattr("late_payers.champion.ROUNDS", 10)
    monkeypatch.setattr(pipelines, "champion", lambda: make(bags=2).set_params(**quick))
    features, labels = split(simulate(6000, 5))
    pipeline = champions(features[:4000], labels[:4000])
    newer, outcomes = features[4000:], labels[4000:]
    last = pipeline.predict_proba(newer)[:, 1]
    parent = Author("late-payers", "Late payers", "late", bands=[Band("all", 1.0)])
    facts = {"split": "2026-11-01"}
    changed = Section("What changed", ["everything"])
    made = Retrained(pipeline, features[:4000], labels[:4000], newer, outcomes, last, parent, facts, changed)
    author = champions.author(made)
    assert author.card.index("## What changed") < author.card.index("## Intended use")
    assert "loans logged from 2026-11-01 on" in author.card
    assert "Out of fold" not in author.card
    assert "<h2>What changed</h2>" in author.card_html
    assert set(author.features) == set(features)
    assert recipes.load("late_payers.champion:retrain").version == champions.version
