"""What somebody wrote into the log's tables by hand, and no version writes, holds up no command."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.predictionlog.__main__ import main
from tests.unit.services.predictionlog import test_chain
from tests.unit.services.predictionlog.test_chain import execute, fill, found, named
from tests.unit.services.predictionlog.test_chained_events import correct, report
from tests.unit.services.predictionlog.test_erasure import Place

place = test_chain.place
DAMAGED = ["no JSON", "{}", "[[]]", "[" * 100_000, '"\\ud800"']


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_batch_holds_up_no_correction_and_no_erasure(place: Place, capsys: Any, text: str) -> None:
    """Both are done, and the batch is named."""
    fill(place)
    report(place, named())
    execute(place, "UPDATE chain SET ids = :text WHERE kind IN ('rows', 'outcomes')", text=text)
    correct(place, named(), False)
    assert place.erase("--record-id", "own-2-3") == 0
    assert any("batch" in finding for finding in found(capsys))


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_value_is_corrected_and_a_damaged_event_is_listed(place: Place, capsys: Any, text: str) -> None:
    """As the text that is there."""
    fill(place)
    report(place, named())
    execute(place, "UPDATE outcomes SET value = :text", text=text)
    correct(place, named(), False)
    execute(place, "UPDATE events SET detail = :text WHERE kind = 'correction'", text=text)
    capsys.readouterr()
    assert main(["events", "--kind", "correction"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["kind"] == "correction"
