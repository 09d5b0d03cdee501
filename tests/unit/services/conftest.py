"""A prediction API in this process, on a store in which the first bundle is current."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.predict.app import Application, create_app
from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import Made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment(
        {
            "STATE_DIR": str(tmp_path / "state"),
            "DATA_DIR": str(tmp_path / "data"),
            "ALLOW_PICKLE": "1",  # some tests serve a plain pipeline
            "MAX_ROWS": "50",
            "MAX_BODY_BYTES": "100000",
        }
    )


@pytest.fixture
def store(settings: Settings) -> StateDir:
    return StateDir(settings.state_dir)


@pytest.fixture
def application(settings: Settings, store: StateDir, bundles: list[Made]) -> Application:
    make_current(store, bundles[0])
    store.settle()
    return create_app(settings, store)


@pytest.fixture
def app(application: Application) -> Flask:
    return application.flask


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def make_current(store: StateDir, made: Made) -> None:
    """What a leader does in the end."""
    shutil.copy(made.path, store.bundle(made.sha256))
    store.commit(Candidate("test", made.sha256, store.current().number))
