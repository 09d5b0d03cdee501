"""The budget of memory that the large requests of a worker share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
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


def test_free_memory_goes_back_now_and_then_and_not_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the requests of a while, once more for those that came while that was done; then the thread ends."""
    turn, looked, trims = threading.Semaphore(0), threading.Semaphore(0), []

    def rest(_: float) -> None:
        looked.release()
        turn.acquire(timeout=30)

    monkeypatch.setattr(memory_budget, "time", SimpleNamespace(sleep=rest))
    monkeypatch.setattr(memory_budget, "trim", lambda: trims.append(1))
    budget = MemoryBudget(1 << 30)

    def requests(number: int) -> None:
        for _ in range(number):
            environ: dict[str, Any] = {}
            budget.claim(environ, memory_budget.TRIM_AFTER)
            budget.release(environ)

    requests(1)
    assert not budget._trimming, "what was given back is little"
    requests(8)
    assert looked.acquire(timeout=30)
    requests(8)
    turn.release()
    assert looked.acquire(timeout=30)
    assert len(trims) == 1, "sixteen requests, one time"
    requests(1)
    turn.release()
    assert looked.acquire(timeout=30)
    assert len(trims) == 2
    turn.release()
    _wait(lambda: not budget._trimming)
    assert len(trims) == 2


def _wait(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline, "the thread has not ended"
