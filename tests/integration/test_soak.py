"""A short soak: every kind of fault once or twice, swaps of good and bad models all the while. ``make soak`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Made
from tests.soak.run import soak


@pytest.mark.slow
def test_a_short_soak_keeps_every_promise(tmp_path: Path, bundles: list[Made]) -> None:
    """No failed request but those sent to a killed process, no stale answer, no mixed one; and it did have to work for it."""
    facts = soak(tmp_path, bundles, seconds=24, swap_every=1.0, fault_every=1.8)
    assert [promise for promise, kept in facts["promises"].items() if not kept] == [], facts
    assert facts["requests"] > 2000, facts
    assert sum(facts["swaps"].values()) >= 6, facts
    kinds = {"worker", "leader", "model_service_killed", "model_service_hangs", "master"}
    assert set(facts["faults"]) == kinds | ({"full_disks"} if facts["disks_can_be_full"] else set()), facts
