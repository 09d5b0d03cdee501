"""The command: ``python -m services.predictionlog``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.predictionlog import event
from services.predictionlog.__main__ import main
from services.predictionlog.shipper import Shipper


def test_events_of_each_kind_can_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each alone, and all of them without a kind."""
    url = f"sqlite:///{tmp_path}/log.sqlite"
    monkeypatch.setenv("PREDICTION_LOG_URL", url)
    for kind in event.KINDS:
        event.append(tmp_path / "spool", kind, {"of": kind})
    assert Shipper(tmp_path / "spool", url).round()
    assert main(["events"]) == 0
    assert {json.loads(line)["of"] for line in capsys.readouterr().out.splitlines()} == set(event.KINDS)
    for kind in event.KINDS:
        assert main(["events", "--kind", kind]) == 0
        assert json.loads(capsys.readouterr().out)["of"] == kind
