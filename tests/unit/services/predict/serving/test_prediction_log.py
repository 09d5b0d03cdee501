"""The recorder: what it does while the disk takes nothing."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from services.predict.settings import Settings
from services.predictionlog import spool
from tests.conftest import LOAN
from tests.unit.services.predict.api.test_predict import post


def test_a_data_dir_that_cannot_be_written_stops_no_answer(app: Flask, client: FlaskClient, settings: Settings) -> None:
    """A worker that boots while it cannot is no reason to end: what is not logged is counted, until it can."""
    recorder = app.extensions["recorder"]
    lost: list[int] = []
    recorder.lost = lost.append
    settings.data_dir.write_text("no directory", "utf-8")
    recorder.open()
    assert post(client, LOAN).status_code == 200
    assert sum(lost) == 1
    assert not recorder.note(b"an event")
    settings.data_dir.unlink()
    assert recorder._begin()
    assert post(client, LOAN).status_code == 200
    recorder.close()
    assert sum(lost) == 1
    assert spool.size(recorder.root) > 0
