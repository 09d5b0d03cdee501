"""The models of this project take turns without an allowance: the gates refuse none of them, by chance or otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from late_payers.features import WORDS
from late_payers.pipelines import basic_forest, gradient_boosting
from late_payers.recipe import split
from late_payers.simulation import simulate
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import publish
from services.predict.gates.gate import Rules, judge

ROOT = Path(__file__).parents[5]
TURNS = [("basic", "champion"), ("champion", "boosting"), ("boosting", "basic")]


@pytest.fixture(scope="module")
def book() -> tuple[Any, Any]:
    return split(simulate(26_000, seed=5))


@pytest.fixture(scope="module")
def models(book: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """The basic forest, gradient boosting, and the champion that ships."""
    folder = tmp_path_factory.mktemp("own")
    features, labels = (part[:20_000] for part in book)
    found = {"champion": bundle.read(ROOT / "models" / "late-payers.bundle")}
    for name, make in (("basic", basic_forest), ("boosting", gradient_boosting)):
        pipeline = make().set_params(**({"model__n_estimators": 30} if name == "boosting" else {}))
        path, author = folder / f"{name}.bundle", Author(name, name, "late next quarter", WORDS)
        found[name] = bundle.read(publish(pipeline.fit(features, labels), features, labels, path, author=author).path)
    return found


@pytest.mark.parametrize(("current", "candidate"), TURNS)
def test_they_take_turns(models: dict[str, Model], book: tuple[Any, Any], current: str, candidate: str) -> None:
    """With 5,000 rows, with no rows, and with ten samples of the fewest rows that decide anything."""
    unseen = book[0][20_000:]
    rows = [{k: None if v != v else v for k, v in row.items()} for row in unseen.to_dict("records")]
    for some in (rows[:5000], [], *(rows[start : start + 100] for start in range(0, 5000, 500))):
        verdict = judge(models[current], models[candidate], some, "", Rules())
        assert (verdict.kind, verdict.reason, verdict.warnings) == ("", "", [])
        assert verdict.facts.get("scored", 0) == len(some)
