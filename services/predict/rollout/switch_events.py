"""Every switch and every refusal becomes a row of the prediction log, exactly once, whoever edited the pin.

The leader may be killed between the rename that switches and the line that says so. Therefore nothing is written *when* a
switch happens: the leader compares, at each poll and at the beginning of each reign, what the store says with what it has
written down. The link and the refusal keep the time at which they were made, so an event that is written twice is the same event.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.state_machine import NOTHING
from services.predictionlog import event


class SwitchEvents:
    """Writes down what the store says. ``write`` takes one line, and says whether it was taken."""

    def __init__(self, store: StateDir, write: Callable[[bytes], bool]) -> None:
        self.store = store
        self.write = write
        self.host = socket.gethostname()
        self._written: dict[str, str] = {}

    def catch_up(self, **facts: Any) -> None:
        """Write what is not written yet; ``facts`` are known only to who has just switched. Raises :class:`OSError`."""
        current = self.store.current()
        if current != NOTHING:
            made = self.store.switched()
            before = self.store.previous()
            old = before.sha256 if 0 < before.number < current.number else None
            detail = {"old": old, "model_version": current.sha256, "generation": current.number, "host": self.host}
            own = event.identity(event.SWITCH, current.number, current.sha256, made)
            self._note(own, event.SWITCH, made / 1e9, {**detail, **facts})
        if refused := self.store.refused():
            detail = {"model_version": refused["sha256"], "pin": refused["id"], "reason": refused["reason"]}
            own = event.identity(event.REFUSAL, refused["id"], refused["sha256"], refused["time"])
            more = {"why": refused.get("kind"), "host": self.host}
            self._note(own, event.REFUSAL, refused["time"], {**detail, **more})

    def _note(self, own: str, kind: str, seconds: float, detail: dict[str, Any]) -> None:
        if self._written.get(kind) != own and self.write(event.encode(own, kind, seconds, detail)):
            self._written[kind] = own
