"""What ``make deploy`` does with a file before it is pinned."""

from __future__ import annotations

import os
from pathlib import Path

import joblib
import pytest

from modelbundle.format import statement
from modelbundle.publishing import provenance
from services.deployment import deploy
from services.deployment.target import DeploymentError
from tests.conftest import Made, make_book, make_logistic


def test_what_lies_next_to_a_bundle_goes_with_it(bundles: list[Made], tmp_path: Path) -> None:
    """Statement and provenance."""
    source, models = tmp_path / "own.bundle", tmp_path / "models"
    models.mkdir()
    source.write_bytes(bundles[0].path.read_bytes())
    statement.make_keys(tmp_path / "key.pem", tmp_path / "public.pem")
    statement.sign_file(source, tmp_path / "key.pem")
    provenance.sign_file(source, tmp_path / "key.pem", provenance.Build("urn:test", {}, []))
    deploy.prepare(source, models)
    assert {path.name for path in models.iterdir()} == {"own.bundle", "own.bundle.sig", "own.bundle.provenance.sig"}


class Touches:
    """Leaves a file behind when it is unpickled, or a secret's value in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> object:
        code = f"import os; open({str(self.folder)!r} + '/' + os.environ.get('SECRET', 'none'), 'w').close()"
        return (exec, (code,))


@pytest.mark.attack("pickles")
def test_a_file_is_unpickled_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in this process, and it is not copied."""
    monkeypatch.setenv("SECRET", "open-sesame")
    joblib.dump(Touches(tmp_path), tmp_path / "own.joblib")
    (tmp_path / "models").mkdir()
    with pytest.raises(DeploymentError, match="is not a model that can be served") as failed:
        deploy.prepare(tmp_path / "own.joblib", tmp_path / "models")
    assert "PermissionError" in str(failed.value) or (tmp_path / "none").exists()
    assert "open-sesame" not in {path.name for path in tmp_path.iterdir()}
    assert not list((tmp_path / "models").iterdir())
    assert os.environ["SECRET"] == "open-sesame"


def test_a_good_pickle_is_taken(tmp_path: Path) -> None:
    """After it was loaded in a process of its own."""
    frame, labels = make_book()
    joblib.dump(make_logistic().fit(frame, labels), tmp_path / "own.joblib")
    (tmp_path / "models").mkdir()
    assert deploy.prepare(tmp_path / "own.joblib", tmp_path / "models").file == "own.joblib"
    with pytest.raises(DeploymentError, match="unpickling is not allowed here"):
        deploy.prepare(tmp_path / "own.joblib", tmp_path / "models", allow_pickle=False)
