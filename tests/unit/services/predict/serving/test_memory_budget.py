"""The budget of memory that the large requests of a worker share."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from services.predict.serving import memory_budget
from services.predict.serving.memory_budget import FEW_ROWS, ROW_BYTES, MemoryBudget
from services.web.problem import Refused


def test_what_does_not_fit_is_refused_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 503 and Retry-After, counted as shed; what was given back fits again."""
    monkeypatch.setattr(memory_budget, "PATIENCE", 0.01)
    budget = MemoryBudget(100)
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    budget.claim(first, 60)
    with pytest.raises(Refused) as caught:
        budget.claim(second, 60)
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
    assert second == {"request.shed": True}
    budget.release(first)
    budget.claim(second, 60)


def test_a_request_waits_for_others() -> None:
    """It goes on when memory is given back."""
    budget = MemoryBudget(100)
    first: dict[str, Any] = {}
    budget.claim(first, 100)
    waiting = threading.Thread(target=budget.claim, args=({}, 100), daemon=True)
    waiting.start()
    budget.release(first)
    waiting.join(memory_budget.PATIENCE / 2)
    assert not waiting.is_alive()


def test_a_claim_replaces_the_one_before_it() -> None:
    """A request never waits for what it has itself, and giving back twice gives back once."""
    budget = MemoryBudget(100)
    environ: dict[str, Any] = {}
    budget.claim(environ, 80)
    budget.claim(environ, 90)
    budget.release(environ)
    budget.release(environ)
    budget.claim(environ, 100)


def test_one_that_needs_more_than_there_is_gets_all() -> None:
    """So an operator's larger MAX_ROWS still works, one request at a time."""
    budget = MemoryBudget(100)
    budget.claim({}, 1000)


@pytest.mark.parametrize(("rows", "size"), [(1, 0), (FEW_ROWS, 0), (1000, 1000 * ROW_BYTES)])
def test_answers_to_many_rows_take_the_place_of_the_content(rows: int, size: int) -> None:
    """Few rows take none."""
    budget = MemoryBudget(1 << 30)
    environ: dict[str, Any] = {}
    budget.claim(environ, 5)
    budget.claim_rows(environ, rows, False)
    assert budget._free == budget.most - size
