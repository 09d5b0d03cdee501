"""Runs a function in threads while a ``with`` block is active: the clients of benchmarks and tests."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """A context manager whose :meth:`repeat` runs in ``threads`` threads until :attr:`stopping` is set, at the block's end."""

    threads = 1

    def __enter__(self) -> Self:
        self.stopping = threading.Event()
        self._running = [threading.Thread(target=self.repeat, args=(number,)) for number in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._running:
            thread.join()

    @abstractmethod
    def repeat(self, number: int) -> None:
        """Work in thread ``number``, counted from 0, until :attr:`stopping` is set."""
