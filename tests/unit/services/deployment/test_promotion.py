"""A promotion asks for evidence, as much as is set, and says how much there is and how long it takes."""

from __future__ import annotations

from typing import Any

import pytest

from services.deployment import listing, promotion
from services.deployment.target import DeploymentError, ModelFile

PIN = ModelFile("new.bundle", "b" * 64)


def facts(value: float, more: int | None = 5432, version: str = PIN.sha256) -> dict[str, Any]:
    evidence = {"challenger": value, "champion": 0.2, "rows": 1234, "more": {"challenger": more, "champion": None}}
    return {"model_version": version, "evidence": evidence}


@pytest.mark.parametrize(
    ("found", "wanted", "why"),
    [
        (facts(20.0), 20, None),
        (facts(3.0), 3, None),
        (facts(0.001), 0, None),
        (None, 0, None),
        (None, 20, "no outcome"),
        (facts(99, version="c" * 64), 20, "no outcome"),
        ({"model_version": PIN.sha256, "evidence": None}, 20, "no outcome"),
        (
            facts(3.21),
            20,
            "is 3.21 after 1,234 outcomes, and 20 is asked for; at this rate about 5,400 more outcomes until 20",
        ),
        (facts(0.5, None), 20, "is 0.5 after 1,234 outcomes, and 20 is asked for"),
    ],
)
def test_what_is_missing(found: dict[str, Any] | None, wanted: float, why: str | None) -> None:
    """Nothing, or a sentence; the evidence of another challenger is none of this one's."""
    said = promotion.missing(PIN, found, wanted)
    assert said is None if why is None else why in str(said)


@pytest.mark.parametrize(
    ("text", "value"), [("", 20), ("0", 0), ("7.5", 7.5), ("x", None), ("-1", None), ("nan", None), ("inf", None)]
)
def test_how_much_is_asked_for(monkeypatch: pytest.MonkeyPatch, text: str, value: float | None) -> None:
    """A number from 0; anything else is named."""
    monkeypatch.setenv("PROMOTE_EVIDENCE", text)
    if value is None:
        with pytest.raises(DeploymentError, match=f"PROMOTE_EVIDENCE must be a number from 0, not '{text}'"):
            promotion.asked()
    else:
        assert promotion.asked() == value


def test_the_models_say_it() -> None:
    """In the line of the challenger."""
    state = {"state": "scoring", "why_not": None, "scored": 9, "mean_difference": 0.1, "same_band": None}
    line = listing._challenger_line({**facts(3.0), **state})
    assert "evidence 3 for it and 0.2 against, 1,234 outcomes; at this rate about 5,400 more outcomes until 20" in line
