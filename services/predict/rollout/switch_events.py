"""Writes every switch and every refusal to the prediction log, exactly once.

The leader may be killed between the rename that switches and the line that reports it. Therefore the leader compares
``STATE_DIR`` with what it has written: after a switch, and before each pause. The link and the refusal keep the time at which
they were made, so an event that is written twice has the same id.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from modelbundle.format.statement import CHALLENGER, CHAMPION
from services.predict.rollout.protocol import NOTHING
from services.predict.rollout.state_dir import StateDir
from services.predictionlog import event


class SwitchEvents:
    """Reports what ``store`` says. ``write`` takes one line, and returns whether the line was taken.

    That a challenger answers a share, that it does not any more, and that it was refused are events of the kind ``challenge``.
    """

    def __init__(self, store: StateDir, write: Callable[[bytes], bool], role: str = CHAMPION) -> None:
        self.role = role
        self.store = store
        self.write = write
        self.host = socket.gethostname()
        self._written: dict[str, str] = {}  # the id of the last switch, and of the last refusal

    def catch_up(self, **facts: Any) -> None:
        """Write what is not written yet. ``facts`` about a switch are known only to the leader that made it.

        Raises :class:`OSError`.
        """
        found: list[tuple[str, str, str, float, dict[str, Any]]] = []
        current, shares = self.store.current(), self.role == CHALLENGER
        if current != NOTHING:
            made, before = self.store.switched(), self.store.previous()
            old = before.sha256 if 0 < before.number < current.number and before.sha256 else None
            kind = event.CHALLENGE if shares else event.SWITCH
            detail: dict[str, Any] = {"old": old, "model_version": current.sha256}
            if shares:
                result = "answers" if current.sha256 else "retired"
                detail = {"model_version": current.sha256 or old, "result": result, "share": current.share}
            own = event.identity(kind, current.number, current.sha256, made)
            more = {"generation": current.number, "host": self.host, **facts}
            found.append(("switch", own, kind, made / 1e9, {**detail, **more}))
        if refused := self.store.refused():
            kind = event.CHALLENGE if shares else event.REFUSAL
            detail = {"model_version": refused["sha256"], "pin": refused["id"], "reason": refused["reason"]}
            own = event.identity(kind, refused["id"], refused["sha256"], refused["time"])
            more = {"why": refused.get("kind"), "evidence": refused.get("evidence"), "host": self.host}
            if shares:
                more |= {"result": "refused", "share": 0.0}
            found.append(("refusal", own, kind, refused["time"], {**detail, **more}))
        for slot, own, kind, seconds, detail in found:
            if self._written.get(slot) != own and self.write(event.encode(own, kind, seconds, detail)):
                self._written[slot] = own
