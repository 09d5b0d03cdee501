"""The prediction log of a worker while the disk takes nothing."""

from __future__ import annotations

from flask.testing import FlaskClient

from services.predict.app import Application
from services.predict.settings import Settings
from services.predictionlog import spool
from tests.conftest import LOAN
from tests.unit.services.predict.api.test_predict import post


def test_a_data_dir_that_cannot_be_written_stops_no_answer(
    application: Application, client: FlaskClient, settings: Settings
) -> None:
    """A worker that boots while it cannot is no reason to end: what is not logged is counted, until it can."""
    log = application.prediction_log
    lost: list[int] = []
    log.lost = lost.append
    settings.data_dir.write_text("no directory", "utf-8")
    log.open()
    assert post(client, LOAN).status_code == 200
    assert sum(lost) == 1
    assert not log.note(b"an event")
    settings.data_dir.unlink()
    assert log._begin()
    assert post(client, LOAN).status_code == 200
    log.close()
    assert sum(lost) == 1
    assert spool.size(log.root) > 0
