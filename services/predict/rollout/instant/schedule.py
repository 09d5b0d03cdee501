"""What all workers of a replica know of a model that is due: from its instant on, they do not answer with the one before."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from services.predict.rollout.instant.clock import BOUND
from services.predict.rollout.protocol import Generation
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.state_machine import Leader, Phase
from services.web.timestamps import iso


@dataclass(frozen=True, slots=True)
class Schedule:
    """The model ``sha256``, pinned as ``id``, takes over at ``instant`` (Unix time).

    ``ahead`` are the seconds that this host's clock is ahead of the one that counts, ``least`` and ``most`` bound how far the
    model service's is ahead of this host's. ``binding``: from the instant on, no other model must answer.
    """

    sha256: str
    id: str
    instant: float
    binding: bool
    staged: bool = False
    prepared: bool = False
    own_clock: bool = False
    ahead: float = 0.0
    least: float | None = None
    most: float | None = None

    def overdue(self, current: Generation, now: float) -> bool:
        """Whether ``current`` must not answer any more; ``now`` is this host's Unix time.

        A model that every worker has prepared has :data:`BOUND` seconds for its switch.
        """
        grace = BOUND if self.prepared else 0.0
        return self.binding and current.sha256 != self.sha256 and now - self.ahead >= self.instant + grace

    @property
    def trouble(self) -> str | None:
        """What the operator should know of this host's clock."""
        if self.own_clock:
            return None
        if self.least is None or self.most is None:
            return "the model service has not told its time, so this host switches when the model service confirms it"
        bounds = f"{self.least:+.2f} to {self.most:+.2f} s"
        found = f"differs from the model service's by {bounds}"
        if self.least <= BOUND and self.most >= -BOUND:
            found = f"is not known well enough yet (the model service's is ahead by {bounds})"
        return f"the clock of this host {found}, so it switches when the model service confirms the instant"

    def facts(self) -> dict[str, Any]:
        """What ``/readyz`` says of it."""
        return {
            "model_version": self.sha256,
            "not_before": iso(self.instant, "milliseconds"),
            "staged": self.staged,
            "prepared": self.prepared,
            "clock": {"own": self.own_clock, "least": self.least, "most": self.most, "trouble": self.trouble},
        }


def scheduled(leader: Leader) -> Schedule | None:
    """What a leader publishes of the pin that it knows; None where that is not due later, or answers already."""
    pin, clock = leader.pin, leader.clock
    if pin is None or not leader.instant or not leader.awaits:
        return None
    bounds = (round(clock.least - clock.time, 2), round(clock.most - clock.time, 2)) if clock.known else (None, None)
    holds = leader.phase is Phase.HOLDING
    staged = leader.staged == pin
    binding, ahead = leader.bound == pin.id, round(clock.ahead, 2)
    known = Schedule(pin.sha256, pin.id, leader.instant, binding, staged, holds)
    return replace(known, own_clock=clock.trusted, ahead=ahead, least=bounds[0], most=bounds[1])


class ScheduleFile:
    """``scheduled.json`` in ``STATE_DIR``. Methods raise :class:`OSError` where the disk does."""

    def __init__(self, store: StateDir) -> None:
        self.store = store
        self.path = store.root / "scheduled.json"

    def read(self) -> Schedule | None:
        """What is due; None where nothing is, or the file is damaged."""
        try:
            return Schedule(**json.loads(self.path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, schedule: Schedule | None) -> None:
        """Publish what is due, durably where it is another model or another instant."""
        known = self.read()
        if schedule is None:
            if self.path.exists():
                self.store.disk.unlink(self.path)
        elif schedule != known:
            new = known is None or (known.id, known.instant) != (schedule.id, schedule.instant)
            self.store.disk.write_file(self.path, json.dumps(asdict(schedule)).encode(), durable=new)
