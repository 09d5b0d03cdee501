"""``deployments.jsonl``: who deployed which model, when, why and with which result. Lines are only appended."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

from modelbundle import instant
from services.deployment.target import ModelFile
from services.web import timestamps

TAKEN_BACK = "taken back"  # by the replicas, while it was on probation
ANSWERING = ("found", "deploy", "promote", "rollback")  # actions after which another model answers


class History:
    """The record of one project's deployments."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, target: str, action: str, pin: ModelFile, result: str, **more: Any) -> dict[str, Any]:
        """Append one line durably, and return its content."""
        entry = {
            "time": timestamps.now("milliseconds"),
            "user": _user(),
            "target": target,
            "action": action,
            **pin.entry(),
            "result": result,
            **more,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, (json.dumps(entry) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return entry

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first, without a line that a crash cut short."""
        found = []
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def accepted(self, target: str) -> list[dict[str, Any]]:
        """Return the entries after which another model answered on this target, oldest first."""
        return self._about(target, "accepted")

    def _about(self, target: str, *results: str) -> list[dict[str, Any]]:
        about = [e for e in self.entries() if e.get("target") == target and e.get("result") in results]
        return [e for e in about if e.get("action") in (*ANSWERING, TAKEN_BACK)]

    def previous(self, target: str, current: ModelFile | None) -> ModelFile | None:
        """Return the model that a rollback of this target goes back to: the one accepted before ``current``.

        A model that was taken back is none of those, until it is accepted again.
        """
        stack: list[ModelFile] = []
        awaited = ""  # the instant of the last one
        for entry in self._about(target, "accepted", TAKEN_BACK):
            pin = ModelFile(entry["file"], entry["sha256"], tuple(entry.get("allow", ())))
            if awaited and entry["time"] < awaited:
                stack.pop()  # another model was wanted before its instant: it never answered
            awaited = ""
            if entry["action"] == TAKEN_BACK:
                stack = [other for other in stack if not other.same_model(pin)]
                continue
            if entry["action"] == "rollback":
                while stack and not stack[-1].same_model(pin):
                    stack.pop()
            if not stack or not stack[-1].same_model(pin):
                stack.append(pin)
                awaited = _awaited(entry)
        if stack and stack[-1].same_model(current):
            stack.pop()
        return stack[-1] if stack else None


def _awaited(entry: dict[str, Any]) -> str:
    """The instant of a deployment, in the form of an entry's time; empty where it has none."""
    try:
        return timestamps.iso(instant.parse(entry.get("notBefore")) or None, "milliseconds") or ""
    except instant.InstantError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
