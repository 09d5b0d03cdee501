"""Events of deployments as their page tells them: what happened, who, why, and with what evidence.

An event's detail is JSON of any shape: rows may have been written by other versions, or changed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.predict.lookup.deployment_log import Event
from services.predictionlog.event import CHALLENGE, DEPLOYMENT, REFUSAL, SWITCH

MOST_CHARACTERS = 2000  # of a text
UNREADABLE = "This event cannot be read: somebody changed the row."
GOOD, BAD, PLAIN = "good", "bad", "plain"
ACTIONS = {
    "deploy": "Deploy",
    "promote": "Promote the challenger",
    "rollback": "Go back",
    "challenge": "Set a challenger",
    "unchallenge": "Take the challenger away",
    "evidence": "Promote without enough evidence",
}
RESULTS = {"accepted": ("accepted", GOOD), "refused": ("refused", BAD), "forced": ("forced", BAD)}
CHALLENGES = {
    "answers": "A challenger answers a share of the records",
    "retired": "A challenger answers no share any more",
    "refused": "A challenger was refused",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One event. ``version`` is the model that it is about; ``evidence`` is JSON, empty where there is none."""

    id: int
    time: str
    kind: str
    headline: str
    tone: str
    version: str
    facts: list[tuple[str, str]]
    evidence: str


def tell(event: Event, names: Mapping[str, str]) -> Told:
    """The event in words. ``names`` are the files of versions."""
    detail = event.detail
    headline, tone = _headline(event, names)
    version = detail.get("sha256" if event.kind == DEPLOYMENT else "model_version")
    evidence = {name: detail[name] for name in ("evidence", "gates") if detail.get(name)}
    return Told(
        event.id,
        event.time,
        event.kind,
        headline,
        tone,
        version if isinstance(version, str) else "",
        [(title, said) for title, said in _facts(event) if said],
        json.dumps(evidence, indent=2, ensure_ascii=False)[: 10 * MOST_CHARACTERS] if evidence else "",
    )


def _headline(event: Event, names: Mapping[str, str]) -> tuple[str, str]:
    detail = event.detail
    if not detail:
        return UNREADABLE, BAD
    if event.kind == DEPLOYMENT:
        action, result = text(detail.get("action")), text(detail.get("result"))
        words, tone = RESULTS.get(result, (result, PLAIN))
        return f"{ACTIONS.get(action, action)}: {words}", tone
    model = named(detail.get("model_version"), names)
    if event.kind == SWITCH:
        if detail.get("taken_back"):
            return f"Taken back: {model} answers again", BAD
        return f"{model} answers", GOOD
    if event.kind == REFUSAL:
        return f"Refused: {text(detail.get('why'))}" if detail.get("why") else "Refused", BAD
    if event.kind == CHALLENGE:
        result = text(detail.get("result"))
        return CHALLENGES.get(result, f"Challenger: {result}"), BAD if result == "refused" else PLAIN
    return event.kind, PLAIN


def _facts(event: Event) -> Iterator[tuple[str, str]]:
    detail = event.detail
    yield "Who", text(detail.get("user"))
    if event.kind != REFUSAL:  # there it is the kind, which the headline has
        yield "Why", text(detail.get("why"))
    yield "Reason", text(detail.get("reason"))
    yield "File", text(detail.get("file"))
    yield "Instead of", text(detail.get("old"))
    yield "Taken back", text(detail.get("taken_back"))
    if event.kind == SWITCH:
        yield "Signed", signed(detail.get("statement"))
    yield "Gates lifted", ", ".join(map(text, detail["allow"])) if isinstance(detail.get("allow"), list) else ""
    for title, name in (("Gates", "gates"), ("Evidence", "evidence")):
        yield title, "; ".join(_found(detail.get(name)))
    yield "Share", f"{detail['share']:g} %" if _number(detail.get("share")) and detail["share"] else ""
    yield "Generation", text(detail.get("generation"))
    yield "Took", f"{detail['seconds']:g} s" if _number(detail.get("seconds")) else ""
    yield "Target", text(detail.get("target"))
    yield "Host", text(detail.get("host"))
    yield "Request", text(detail.get("request_id"))


def _found(evidence: Any) -> Iterator[str]:
    """What gates or a probation found, in words; the rest is in the JSON below."""
    if not isinstance(evidence, Mapping):
        return
    if said := text(evidence.get("not_compared")):
        yield f"not compared: {said}"
    if _number(evidence.get("rows")) and evidence["rows"] and _number(evidence.get("refused")):
        yield f"of the last {evidence['rows']:,} logged rows, {evidence['refused']:,} would be refused"
    mean = evidence.get("mean")
    if isinstance(mean, list) and len(mean) == 2 and all(map(_number, mean)):
        yield f"mean probability {mean[1]:.4g}, before {mean[0]:.4g}"
    if _number(evidence.get("other_band")):
        yield f"{evidence['other_band']:.2%} of these rows are in another band"
    for warning in evidence["warnings"][:20] if isinstance(evidence.get("warnings"), list) else ():
        yield f"allowed, {text(warning)}"
    if _number(evidence.get("requests")):
        yield f"{evidence['requests']:,} requests on probation"
    for name, what in (("failures", "failed"), ("misfits", "were refused")):
        counts = evidence.get(name)
        for wrong, count in list(counts.items())[:20] if isinstance(counts, Mapping) else ():
            yield f"{text(count)} {what} ({text(wrong)})"
    if _number(evidence.get("slow_requests")) and evidence["slow_requests"]:
        yield f"{evidence['slow_requests']:,} were slow"


def signed(statement: Any) -> str:
    """By which key, from what a switch recorded; empty where it recorded nothing."""
    if not isinstance(statement, Mapping):
        return ""
    return f"with the key {text(statement.get('key'))[:16]}…, as number {text(statement.get('sequence'))}"


def named(version: Any, names: Mapping[str, str]) -> str:
    """A model in a few characters: its file, where that is known, and how its version begins."""
    if not version:
        return "No model"
    own = text(version)[:12]
    return f"{names[version]} ({own})" if isinstance(version, str) and version in names else own


def text(value: Any) -> str:
    """A value of an event, to be read; empty for null."""
    if value is None:
        return ""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:MOST_CHARACTERS]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
