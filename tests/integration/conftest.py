"""A running system for each test that asks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Made
from tests.integration.place import Place
from tests.integration.system import System, running


@pytest.fixture
def system(tmp_path: Path, bundles: list[Made]) -> Iterator[System]:
    """Nothing started yet; both bundles lie in the models' directory and the first is pinned."""
    with running(tmp_path, ALLOW_PICKLE="1") as made:  # some tests serve plain pipelines
        for bundle in bundles:
            shutil.copy(bundle.path, made.models)
        made.pin(bundles[0].path.name, bundles[0].sha256)
        yield made


@pytest.fixture
def serving(system: System) -> System:
    """Both services run and the first bundle answers."""
    system.start_model()
    system.start_predict()
    return system


@pytest.fixture
def place(tmp_path: Path, bundles: list[Made]) -> Iterator[Place]:
    """The first bundle is the one that ships; nothing runs yet."""
    (tmp_path / "models").mkdir()
    shutil.copyfile(bundles[0].path, tmp_path / "models" / "late-payers.bundle")
    place = Place(tmp_path)
    yield place
    if place.started is not None:
        if place.started.poll() is None:
            place.stop()
        assert place.started.stdout is not None
        place.started.stdout.close()
