"""Rehearsals in the process of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.predict.app import loader
from services.predict.gates.gate import Verdict
from services.predict.rollout import leader as leading
from services.predict.rollout import staging
from services.predict.rollout.rehearsal import RehearsalFailed
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings


@pytest.fixture
def rehearsals(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[str]:
    """Rehearsals happen in this process; the list says of which models."""
    seen: list[str] = []

    def here(file: tuple[str, Path], own: Settings, *_: Any) -> Verdict:
        seen.append(file[0])
        try:
            loader(StateDir(own.state_dir), own)(file[0])
        except Exception as error:
            raise RehearsalFailed(str(error)) from None
        return Verdict()

    monkeypatch.setattr(staging, "rehearse", here)
    monkeypatch.setattr(leading, "COUNT", 0.0)
    return seen
