"""Writes every switch and every refusal to the prediction log, exactly once.

The leader may be killed between the rename that switches and the line that reports it. Therefore the leader compares
``STATE_DIR`` with what it has written: after a switch, and before each pause. The link and the refusal keep the time at which
they were made, so an event that is written twice has the same id.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from services.predict.rollout.protocol import NOTHING
from services.predict.rollout.state_dir import StateDir
from services.predictionlog import event


class SwitchEvents:
    """Reports what ``store`` says. ``write`` takes one line, and returns whether the line was taken."""

    def __init__(self, store: StateDir, write: Callable[[bytes], bool]) -> None:
        self.store = store
        self.write = write
        self.host = socket.gethostname()
        self._written: dict[str, str] = {}

    def catch_up(self, **facts: Any) -> None:
        """Write what is not written yet. ``facts`` about a switch are known only to the leader that made it.

        Raises :class:`OSError`.
        """
        found: list[tuple[str, str, float, dict[str, Any]]] = []
        current = self.store.current()
        if current != NOTHING:
            made, before = self.store.switched(), self.store.previous()
            old = before.sha256 if 0 < before.number < current.number else None
            detail = {"old": old, "model_version": current.sha256, "generation": current.number, "host": self.host}
            own = event.identity(event.SWITCH, current.number, current.sha256, made)
            found.append((own, event.SWITCH, made / 1e9, {**detail, **facts}))
        if refused := self.store.refused():
            detail = {"model_version": refused["sha256"], "pin": refused["id"], "reason": refused["reason"]}
            own = event.identity(event.REFUSAL, refused["id"], refused["sha256"], refused["time"])
            more = {"why": refused.get("kind"), "evidence": refused.get("evidence"), "host": self.host}
            found.append((own, event.REFUSAL, refused["time"], {**detail, **more}))
        for own, kind, seconds, detail in found:
            if self._written.get(kind) != own and self.write(event.encode(own, kind, seconds, detail)):
                self._written[kind] = own
