"""Sets a challenger, which is scored silently, and removes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from services.deployment.deploy import WAIT, log
from services.deployment.history import History
from services.deployment.target import DeploymentError, ModelFile, Target, ask


def challenge(target: Target, pin: ModelFile, history: History, why: str, say: Callable[[str], None]) -> float:
    """Make ``pin`` the challenger, and return how many seconds it took until it was scored.

    If it is refused, or is not scored in time, the challenger that was set before is restored, and
    :class:`DeploymentError` says why.
    """
    champion, before = target.pin(), target.challenger()
    if champion is None:
        raise DeploymentError("no model is pinned that could be challenged")
    if champion.sha256 == pin.sha256:
        raise DeploymentError(f"{pin.file} is the model that answers: it cannot challenge itself")
    began = time.monotonic()
    already = ask(target.url, "/readyz").get("challenger")
    try:
        target.set_pins(champion, pin)
        reason = _wait(target, pin, already)
    except DeploymentError as error:
        reason = str(error)
    took = time.monotonic() - began
    if reason is None:
        log(target, history.add(target.name, "challenge", pin, "accepted", seconds=round(took, 3), why=why), say)
        return took
    log(target, history.add(target.name, "challenge", pin, "refused", reason=reason, why=why), say)
    target.set_pins(champion, before if before and not before.same_model(pin) else None)
    raise DeploymentError(f"{pin.file} is not scored: {reason}")


def unchallenge(target: Target, history: History, why: str, say: Callable[[str], None]) -> ModelFile | None:
    """Remove the challenger, and return it; None if there was none."""
    champion, before = target.pin(), target.challenger()
    if champion is not None and before is not None:
        target.set_pins(champion, None)
        log(target, history.add(target.name, "unchallenge", before, "accepted", why=why), say)
    return before


def _wait(target: Target, pin: ModelFile, already: Any) -> str | None:
    """Return None when the challenger is scored, otherwise why it is not."""
    deadline = time.monotonic() + WAIT
    facts: dict[str, Any] = {}
    while time.monotonic() < deadline:
        facts = ask(target.url, "/readyz").get("challenger") or {}
        if facts.get("state") == "off":
            return str(facts["why_not"])
        if facts.get("model_version") == pin.sha256:
            if facts["state"] == "scoring":
                return None
            if facts["state"] == "refused" and facts != already:
                return str(facts["why_not"])
        if trouble := target.challenger_trouble():
            return trouble
        time.sleep(0.05)
    return f"it did not come to be scored within {WAIT:g} s: {facts.get('why_not') or facts.get('state') or 'no word of it'}"
