"""An API with keys, and what it answered in its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from services.predict.app import Application, create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import database
from services.predictionlog.shipper import Shipper
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_api_keys import line

Ship = Callable[[], sa.Engine]
AUDITOR = {"X-API-Key": "auditor"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Each caller's key is its name."""
    path = tmp_path / "keys"
    path.write_text(line("desk", "desk") + line("auditor", "auditor").strip() + " audit\n", "utf-8")
    return path


@pytest.fixture
def application(settings: Settings, store: StateDir, bundles: list[Made], keys: Path) -> Iterator[Application]:
    """With keys; its log is open."""
    make_current(store, bundles[0])
    store.settle()
    application = create_app(replace(settings, api_keys_file=str(keys)), store)
    application.prediction_log.open()
    yield application
    application.prediction_log.close()


@pytest.fixture
def ship(application: Application, settings: Settings) -> Ship:
    """What was answered and recorded so far comes into the database."""

    def ship() -> sa.Engine:
        assert application.prediction_log.writer is not None
        application.prediction_log.writer.turn()
        database.migrate(database.connect(settings.prediction_log_url))  # the shipper starts a process for that
        assert Shipper(settings.data_dir / "spool", settings.prediction_log_url).round()
        return database.connect(settings.prediction_log_url)

    return ship


@pytest.fixture
def logged(client: FlaskClient, ship: Ship) -> list[dict[str, Any]]:
    """Three predictions of one request, whose rows name themselves."""
    records = [{**LOAN, "id": f"loan-{n}", "amount": 9000 + 2000 * n} for n in range(3)]
    sent = client.post("/predict", json=records, headers={"X-API-Key": "desk", "X-Request-Id": "order-17"})
    ship()
    answers: list[dict[str, Any]] = sent.get_json()["predictions"]
    return answers
