"""One process per core, and no more chunks read ahead than they can soon use."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from portfolio.errors import PortfolioError
from portfolio.files.readers import Chunk
from portfolio.job import worker
from portfolio.job.checkpoint import Done, Work
from portfolio.job.worker import Setting

AHEAD = 2  # chunks per process


class Pool:
    """Scores chunks; what is finished is noted in the work directory before it is told of."""

    def __init__(self, workers: int, setting: Setting, work: Work) -> None:
        self._most = AHEAD * workers
        self._work = work
        self._pending: dict[Future[Done], float] = {}
        self._executor = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=worker.start, initargs=(setting,)
        )

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def submit(self, chunk: Chunk) -> None:
        """Have a chunk scored; raises :class:`PortfolioError` where no process is left to do it."""
        try:
            self._pending[self._executor.submit(worker.work, chunk)] = chunk.read
        except BrokenProcessPool:
            raise _died() from None

    def collect(self, most: int | None = None) -> Iterator[tuple[Done, float]]:
        """What is finished, with the share of the input that was read by then; waits while ``most`` or more are not."""
        most = self._most if most is None else most
        while len(self._pending) >= max(most, 1):
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                share = self._pending.pop(future)
                try:
                    done = future.result()
                except BrokenProcessPool:
                    raise _died() from None
                self._work.note(done)
                yield done, share

    def rest(self) -> Iterator[tuple[Done, float]]:
        """All that is left."""
        return self.collect(1)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _died() -> Exception:
    return PortfolioError("a worker process died (out of memory?); the same command goes on where it stopped")
