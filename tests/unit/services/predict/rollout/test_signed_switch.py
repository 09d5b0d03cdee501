"""A switch to a signed model says which key signed it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from modelbundle.format import statement
from services.predict.settings import Settings
from services.predictionlog import event
from tests.conftest import Made
from tests.unit.services.predict.rollout.test_leader import Replica, World


def test_a_switch_records_the_key_and_the_number(
    settings: Settings, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they were verified when the model was switched to."""
    statement.make_keys(tmp_path / "private.pem", tmp_path / "public.pem")
    key = statement.read_private(tmp_path / "private.pem")
    raw = statement.sign(bundles[0].sha256, "first.bundle", key, sequence=17)
    replica = Replica(replace(settings, model_public_key_file=str(tmp_path / "public.pem")), World())
    monkeypatch.setattr(type(replica.client), "statement", lambda *_: raw)
    replica.pin(bundles[0], "1")
    replica.reign()
    replica.close()
    found = [event.decode(line) for line in replica.lines]
    (switch,) = [one for one in found if one["kind"] == event.SWITCH]
    signer = statement.verify(raw, bundles[0].sha256, statement.read_public(tmp_path / "public.pem")).key
    assert msgspec.json.decode(switch["detail"])["statement"] == {"key": signer, "sequence": 17}
