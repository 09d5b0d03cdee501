"""The model that ``make run`` begins with: the one that is named, or the only one there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.deployment.local import first_model
from services.deployment.target import DeploymentError


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of models, where the command is run."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_the_only_one(models: Path) -> None:
    """Where none is named and there is no choice."""
    (models / "README.md").touch()
    (models / "own.bundle").touch()
    assert first_model("") == Path("models/own.bundle")


@pytest.mark.parametrize("count", [0, 2])
def test_a_choice_is_asked_for(models: Path, count: int) -> None:
    """With the command that makes it."""
    for number in range(count):
        (models / f"{number}.bundle").touch()
    with pytest.raises(DeploymentError, match=rf"has {count} bundles: say the first with `make run MODEL=models/"):
        first_model("")


def test_the_one_that_is_named(models: Path) -> None:
    """A file of the models' directory, of any kind; another place, or a name that is not there, is named."""
    for name in ("own.bundle", "other.joblib"):
        (models / name).touch()
    assert first_model("models/other.joblib") == Path("models/other.joblib")
    assert first_model("./models/own.bundle") == Path("models/own.bundle")
    for wrong in ("models/none.bundle", "own.bundle", "elsewhere/own.bundle"):
        with pytest.raises(DeploymentError, match=f"{wrong} is missing in models/"):
            first_model(wrong)
