"""The prediction log of a worker while the disk takes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from services.predict.app import Application
from services.predict.settings import Settings
from services.predictionlog import spool
from services.predictionlog.chain.head import FILE
from services.predictionlog.database import chain, connect
from services.predictionlog.shipper import Shipper
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


class Facts:
    """What :func:`os.statvfs` says of a file system with room."""

    f_flag, f_blocks, f_bavail, f_files, f_favail = 0, 100, 50, 100, 50


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("f_bavail", 0, "No space left on device"),
        ("f_favail", 0, "No inodes left on device"),
        ("f_flag", os.ST_RDONLY, "Read-only file system"),
    ],
)
@pytest.mark.parametrize("name", ["STATE_DIR", "DATA_DIR"])
def test_readyz_names_the_disk_that_takes_nothing(
    client: FlaskClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fact: str,
    value: int,
    words: str,
) -> None:
    """As long as it takes nothing, and no longer. A file system without a bound on files is fine."""
    settings.data_dir.mkdir(exist_ok=True)
    harmed = settings.state_dir if name == "STATE_DIR" else settings.data_dir

    def told() -> str:
        return str(client.get("/readyz").get_json()["trouble"])

    def facts(path: Path) -> Facts:
        found = Facts()
        if harm and Path(path) == harmed:
            setattr(found, fact, value)
        else:
            found.f_files = found.f_favail = 0
        return found

    harm = True
    monkeypatch.setattr(os, "statvfs", facts)
    ready = client.get("/readyz").status_code
    assert f"{name}: {words}" in told()
    harm = False
    assert name not in told()
    assert client.get("/readyz").status_code == ready


def test_readyz_says_why_rows_are_not_logged_while_they_are_not(
    application: Application, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota, a broken disk, a full spool: the file system says nothing of them."""
    log = application.prediction_log
    log.open()
    assert log.writer is not None
    assert log.trouble() == ""
    log.writer.full = True
    assert post(client, LOAN).status_code == 200
    assert "DATA_DIR: the spool is full" in client.get("/readyz").get_json()["trouble"]
    log.writer.full = False
    monkeypatch.setattr("services.predict.serving.prediction_log.RECENT", -1.0)
    assert post(client, LOAN).status_code == 200
    assert log.trouble() == ""
    log.writer.trouble = "Input/output error"
    assert log.trouble() == "DATA_DIR: Input/output error"
    log.close()


def test_readyz_publishes_the_head_of_the_chain(
    application: Application, client: FlaskClient, settings: Settings
) -> None:
    """As the shipper of this DATA_DIR wrote it last. The probe asks no database, and lives with a file that is torn."""
    assert client.get("/readyz").get_json()["chain"] is None
    application.prediction_log.open()
    assert post(client, LOAN).status_code == 200
    application.prediction_log.close()
    url = f"sqlite:///{settings.data_dir / 'predictions.sqlite'}"
    assert Shipper(application.prediction_log.root, url).round()
    head = client.get("/readyz").get_json()["chain"]
    with connect(url).connect() as connection:
        wanted = connection.execute(sa.select(chain.c.hash).where(chain.c.spool == head["spool"])).scalar_one()
    assert (head["number"], head["hash"]) == (1, wanted)
    (application.prediction_log.root / FILE).write_bytes(b'{"spo')
    assert client.get("/readyz").get_json()["chain"] is None
