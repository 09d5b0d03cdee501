"""Sets a challenger, which is scored silently or answers a share of the records, and removes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from services.deployment.deploy import WAIT, log
from services.deployment.history import History
from services.deployment.target import DeploymentError, ModelFile, Target, ask


def challenge(target: Target, pin: ModelFile, history: History, why: str, say: Callable[[str], None]) -> float:
    """Make ``pin`` the challenger, and return how many seconds it took until it was scored, and answered its share if it has one.

    If it is refused, or that takes too long, the challenger that was set before is restored, and
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
    target.set_pins(champion, before if before != pin else None)
    raise DeploymentError(f"{pin.file} {'does not answer' if pin.share else 'is not scored'}: {reason}")


def unchallenge(target: Target, history: History, why: str, say: Callable[[str], None]) -> ModelFile | None:
    """Remove the challenger, and return it; None if there was none."""
    champion, before = target.pin(), target.challenger()
    if champion is not None and before is not None:
        target.set_pins(champion, None)
        log(target, history.add(target.name, "unchallenge", before, "accepted", why=why), say)
    return before


def _wait(target: Target, pin: ModelFile, already: Any) -> str | None:
    """Return None when the challenger is scored, and answers its share if it has one; otherwise why not."""
    deadline, already = time.monotonic() + WAIT, already or {}
    facts: dict[str, Any] = {}
    while time.monotonic() < deadline:
        facts = ask(target.url, "/readyz").get("challenger") or {}
        if facts.get("state") == "off" and not pin.share:
            return str(facts["why_not"])
        if pin.share and facts.get("share_refused") not in (None, already.get("share_refused")):
            return str(facts["share_why_not"])
        shares = facts.get("share") == pin.share and bool(facts.get("answers")) == bool(pin.share)
        if facts.get("state") == "off" and shares:
            return None  # nothing is logged, so there is nothing to score
        if facts.get("model_version") == pin.sha256:
            if facts["state"] == "scoring" and shares:
                return None
            if facts["state"] == "refused" and facts != already:
                return str(facts["why_not"])
        if trouble := target.challenger_trouble():
            return trouble
        time.sleep(0.05)
    why = facts.get("share_why_not") or facts.get("why_not") or facts.get("state") or "no word of it"
    return f"it did not come to {'answer' if pin.share else 'be scored'} within {WAIT:g} s: {why}"
