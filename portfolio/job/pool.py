"""Scores chunks in one process per core, and reads few chunks ahead."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext

import pyarrow as pa

from portfolio.errors import PortfolioError
from portfolio.job import worker
from portfolio.job.checkpoint import Checkpoint, FinishedChunk
from portfolio.job.worker import Chunk, WorkerOptions

AHEAD = 2  # chunks per process


class Pool:
    """A pool of processes. A finished chunk is recorded in the checkpoint before it is returned."""

    def __init__(self, workers: int, options: WorkerOptions, checkpoint: Checkpoint) -> None:
        self._most = AHEAD * workers
        self._checkpoint = checkpoint
        self._pending: dict[Future[FinishedChunk], float] = {}
        self._executor = ProcessPoolExecutor(workers, _processes(), initializer=worker.start, initargs=(options,))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def submit(self, chunk: Chunk) -> None:
        """Submit a chunk for scoring; raises :class:`PortfolioError` if the pool is broken."""
        try:
            self._pending[self._executor.submit(worker.score_chunk, chunk)] = chunk.read
        except BrokenProcessPool:
            raise _died() from None

    def collect(self, most: int | None = None) -> Iterator[tuple[FinishedChunk, float]]:
        """Yield finished chunks with the share of the input that was read; waits while ``most`` or more are pending."""
        most = self._most if most is None else most
        while len(self._pending) >= max(most, 1):
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                share = self._pending.pop(future)
                try:
                    done = future.result()
                except BrokenProcessPool:
                    raise _died() from None
                except pa.ArrowException as error:
                    raise PortfolioError(f"a chunk cannot be read or written: {' '.join(str(error).split())}") from None
                self._checkpoint.note(done)
                yield done, share

    def rest(self) -> Iterator[tuple[FinishedChunk, float]]:
        """Wait for all pending chunks and yield them."""
        return self.collect(1)


def _processes() -> BaseContext:
    """How processes are made: on Linux as copies of one that has the modules, and nothing else; elsewhere copies are not safe."""
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([worker.__name__, "portfolio.__main__"])
    return context


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _died() -> Exception:
    return PortfolioError("a worker process died (out of memory?); the same command goes on where it stopped")
