"""What a promotion asks for: evidence that the challenger's log loss is lower, or a person who says why not."""

from __future__ import annotations

import os
from typing import Any

from services.deployment.target import DeploymentError, ModelFile

ENOUGH = 20.0  # PROMOTE_EVIDENCE


def asked() -> float:
    """The evidence that is asked for: ``PROMOTE_EVIDENCE``, 0 for none; raises :class:`DeploymentError`."""
    text = os.environ.get("PROMOTE_EVIDENCE") or str(ENOUGH)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e300:
        raise DeploymentError(f"PROMOTE_EVIDENCE must be a number from 0, not {text!r}")
    return value


def missing(pin: ModelFile, facts: dict[str, Any] | None, wanted: float) -> str | None:
    """Why ``pin`` may not be promoted yet, by what ``/readyz`` says of the challenger; None where it may."""
    if wanted == 0:
        return None
    found = facts.get("evidence") if facts and facts.get("model_version") == pin.sha256 else None
    if not found:
        return f"no outcome of a row that both models scored is known yet, and evidence of {wanted:g} is asked for"
    if found["challenger"] >= wanted:
        return None
    words = f"the evidence that its log loss is lower is {found['challenger']:.3g} after {found['rows']:,} outcomes"
    return f"{words}, and {wanted:g} is asked for{_more(found)}"


def said(facts: dict[str, Any]) -> str:
    """The evidence in one line of ``make models``."""
    words = f"evidence {facts['challenger']:.3g} for it and {facts['champion']:.3g} against, {facts['rows']:,} outcomes"
    return words + _more(facts)


def _more(facts: dict[str, Any]) -> str:
    more = facts["more"]["challenger"]
    return f"; at this rate about {float(f'{more:.2g}'):,.0f} more outcomes until {ENOUGH:g}" if more else ""
