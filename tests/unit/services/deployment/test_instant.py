"""``make deploy … AT=…``: what is written, waited for, and gone back to."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest

from modelbundle import instant
from services.deployment import __main__ as command
from services.deployment import deploy
from services.deployment.compose import Compose
from services.deployment.history import History
from services.deployment.local import Local
from services.deployment.target import ModelFile

A, B, C = (ModelFile(f"{name}.bundle", name * 64) for name in "abc")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tomorrow", "RFC 3339"),
        ("2026-11-30T06:00:00+01:00", "RFC 3339"),
        ("1999-11-30T06:00:00Z", "far in the past"),
        ("2024-11-30T06:00:00Z", "has passed"),
        ("2126-11-30T06:00:00Z", "more than 7 days ahead"),
    ],
)
def test_a_bad_instant_is_a_wrong_use_of_the_command(text: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is pinned."""
    with pytest.raises(SystemExit) as ended:
        command.main(["deploy", "a.bundle", "--at", text])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("action", ["rollback", "promote", "challenge a.bundle"])
def test_only_a_deployment_has_an_instant(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All else happens at once."""
    with pytest.raises(SystemExit):
        command.main([*action.split(), "--at", instant.text(time.time() + 60)])
    assert "--at goes with deploy" in capsys.readouterr().err


def test_a_good_instant_is_taken_as_it_was_written() -> None:
    """Nothing is at once."""
    text = instant.text(time.time() + 60)
    assert command.at(text) == text
    assert command.at("") == ""
    with pytest.raises(argparse.ArgumentTypeError):
        command.at("now")


def test_both_kinds_of_system_keep_the_instant_and_the_next_pin_takes_it_away(tmp_path: Path) -> None:
    """The pin file has no member for it then; in .env it is empty."""
    due = ModelFile(B.file, B.sha256, not_before="2026-11-30T06:00:00Z")
    (tmp_path / "running.json").write_text(json.dumps({"url": "http://nowhere"}), "utf-8")
    local, composed = Local(tmp_path), Compose(tmp_path)
    composed.command = []
    composed._run = lambda *_, **__: ""  # type: ignore[method-assign]
    for target in (local, composed):
        target.set_pins(due, C)
        assert (target.pin(), target.challenger()) == (due, C)
        target.set_pins(A, None)
        assert target.pin() == A
    assert json.loads((tmp_path / "pin.json").read_text("utf-8")) == {"file": A.file, "sha256": A.sha256}
    assert "MODEL_NOT_BEFORE=\n" in (tmp_path / ".env").read_text("utf-8")


def test_a_deployment_ends_once_the_model_is_staged() -> None:
    """The replica's word must be about this pin."""
    facts = {"wanted": B.sha256, "scheduled": {"model_version": B.sha256, "staged": True}}
    assert deploy.due(facts, B) is not None
    for other in (
        {**facts, "wanted": A.sha256},
        {**facts, "scheduled": {"model_version": B.sha256, "staged": False}},
        {},
    ):
        assert deploy.due(other, B) is None


@pytest.mark.parametrize(("wait", "back"), [(3600.0, A), (-3600.0, B)])
def test_a_rollback_skips_a_model_that_another_replaced_before_its_instant(
    tmp_path: Path, wait: float, back: ModelFile
) -> None:
    """It never answered. One whose instant had come did."""
    history = History(tmp_path / "deployments.jsonl")
    history.add("local", "deploy", A, "accepted")
    due = ModelFile(B.file, B.sha256, not_before=instant.text(time.time() + wait))
    history.add("local", "deploy", due, "accepted")
    assert history.previous("local", due) == A, "back to what answers still"
    history.add("local", "deploy", C, "accepted")
    assert history.previous("local", C) == back
