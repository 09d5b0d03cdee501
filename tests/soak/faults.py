"""What goes wrong during a soak, on purpose, and how long its consequences may last."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.background import Background
from tests.integration.system import System, until
from tests.soak.clients import Failure
from tests.soak.disks import fill

DYING = 0.05  # seconds in which a killed process may still take a connection
NOTICED = 5.0  # seconds within which a client that asks without pause has noticed that its server is gone


@dataclass
class Faults(Background):
    """Makes one fault after the other. ``lock`` keeps others from asking for a swap while the replica itself is down."""

    system: System
    every: float
    disks: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    count: Counter[str] = field(default_factory=Counter)
    kills: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._choose = random.Random(self.seed)
        self.kinds: list[Callable[[], None]] = [
            self.worker,
            self.leader,
            self.model_service_killed,
            self.model_service_hangs,
            self.worker,
            self.master,
        ]
        if self.disks:
            self.kinds.append(self.full_disks)

    def complete(self) -> bool:
        """Whether each kind of fault has happened."""
        return len(self.count) == len({kind.__name__ for kind in self.kinds})

    def excused(self, failure: Failure) -> bool:
        """Whether the request was sent to a process that was itself killed."""
        if any(begin <= failure.at and failure.sent <= end for begin, end in self.outages):
            return True
        return any(failure.opened <= at + DYING and at <= failure.at <= at + NOTICED for at in self.kills)

    def repeat(self, number: int) -> None:
        number = 0
        while not self.stopping.wait(self.every):
            fault = self.kinds[number % len(self.kinds)]
            number += 1
            try:
                fault()
                self.count[fault.__name__] += 1
            except (AssertionError, OSError) as error:
                self.trouble.append(f"{fault.__name__}: {error}")

    def worker(self) -> None:
        """kill -9 of the youngest worker: the others go on long enough for their memory to be judged."""
        workers = self.system.workers()
        self._kill(max(workers))
        until(lambda: len(set(self.system.workers()) - set(workers)) == 1, 20, "another worker")

    def leader(self) -> None:
        """kill -9 of the worker that leads."""
        status = json.loads((self.system.state / "status.json").read_text("utf-8"))
        if status["leader"] in self.system.workers():
            self._kill(status["leader"])

    def model_service_killed(self) -> None:
        """kill -9 of the model service; another is started a second later."""
        self.system.stop_model(signal.SIGKILL)
        time.sleep(1)
        self.system.start_model()

    def model_service_hangs(self) -> None:
        """SIGSTOP: it takes connections and answers nothing, for three seconds."""
        assert self.system.model is not None
        os.killpg(self.system.model.pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(self.system.model.pid, signal.SIGCONT)

    def master(self) -> None:
        """kill -9 of gunicorn's master: its workers end by themselves, and a new master is started."""
        assert self.system.predict is not None
        began = time.monotonic()
        workers = self.system.workers()
        self.system.predict.kill()
        self.system.predict.wait()
        until(lambda: not any(map(_alive, workers)), 60, "the workers of a dead master end")
        self.system.start_predict()
        self.outages.append((began, time.monotonic()))

    def full_disks(self) -> None:
        """No room for two seconds, in one directory after the other: it is named while it is so. No request may fail for it."""
        for name, disk in self.disks.items():
            filler = fill(disk)
            try:
                until(lambda name=name: f"{name}: No space" in self._trouble(), 20, f"{name} is named")
                time.sleep(2)
            finally:
                filler.unlink()
            until(lambda name=name: name not in self._trouble(), 30, f"{name} is well again")

    def _trouble(self) -> str:
        return self.system.readyz()[1]["trouble"] or ""

    def _kill(self, pid: int) -> None:
        self.kills.append(time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
