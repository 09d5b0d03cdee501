"""What the prediction log knows of deployments: a page of events, and the model that ``make rollback`` goes back to.

The database's library is imported with the first look, as in :mod:`services.predict.lookup.log`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.predictionlog.event import CHALLENGE, DEPLOYMENT, REFUSAL, SWITCH

if TYPE_CHECKING:
    import sqlalchemy as sa

KINDS = (DEPLOYMENT, SWITCH, REFUSAL, CHALLENGE)
MOST_CHARACTERS = 100_000  # of an event that is read; a longer one was not written by this system
REPLAYED = 500  # newest events of a kind, from which the way back is found
ANSWERING = ("deploy", "promote", "rollback")  # actions of `make`, after which another model answers


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``detail`` is empty where it is not an object in JSON: then somebody changed the row."""

    id: int
    time: str
    kind: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Back:
    """The model that was accepted before the present one. ``file`` is None where the log has no name of it."""

    file: str | None
    version: str
    target: str
    accepted: str


@dataclass(frozen=True, slots=True)
class Record:
    """``events``, the newest first; ``end`` is where the next page goes on, None after the last. ``recent`` are the newest
    deployments and switches, whatever the page."""

    events: list[Event]
    end: int | None
    recent: list[Event]


def read(engine: sa.Engine, kinds: Sequence[str], before: int | None, size: int) -> Record:
    """The page of events of ``kinds`` that have a number below ``before``; raises :class:`sqlalchemy.exc.SQLAlchemyError`.

    Each kind's index is walked from there and no further than a page.
    """
    with engine.connect() as connection:
        found = [event for kind in kinds for event in _newest(connection, kind, before, size + 1)]
        recent = [event for kind in (DEPLOYMENT, SWITCH) for event in _newest(connection, kind, None, REPLAYED)]
    found.sort(key=lambda event: -event.id)
    return Record(found[:size], found[size - 1].id if len(found) > size else None, recent)


def _newest(connection: sa.Connection, kind: str, before: int | None, most: int) -> Iterable[Event]:
    import sqlalchemy as sa

    from services.predictionlog.database import events

    detail = sa.func.substr(events.c.detail, 1, MOST_CHARACTERS)
    query = sa.select(events.c.id, events.c.time, events.c.kind, detail).where(events.c.kind == kind)
    if before is not None:
        query = query.where(events.c.id < before)
    for own, time, name, text in connection.execute(query.order_by(events.c.id.desc()).limit(most)):
        yield Event(own, str(time), name, _object(text))


def _object(text: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def file_names(recent: Iterable[Event]) -> dict[str, str]:
    """Which file each version was deployed from, by the newest deployment of each."""
    names: dict[str, str] = {}
    for event in sorted(recent, key=lambda event: event.id):
        version, file = event.detail.get("sha256"), event.detail.get("file")
        if isinstance(version, str) and isinstance(file, str):
            names[version] = file
    return names


def back(recent: Iterable[Event], pinned: str) -> Back | None:
    """The model that ``make rollback`` goes back to while ``pinned`` is the pinned model; None where none is known.

    It is what :meth:`services.deployment.history.History.previous` says, from what the log has of the same commands.
    """
    target, stack = "", list[Back]()
    told = sorted(recent, key=lambda event: (event.time, event.id))
    for place, event in enumerate(told):
        detail = event.detail
        if event.kind == SWITCH:
            stack = [other for other in stack if other.version != detail.get("taken_back")]
            continue
        if detail.get("action") not in ANSWERING or detail.get("result") != "accepted":
            continue
        file, version, name = detail.get("file"), detail.get("sha256"), str(detail.get("target", ""))
        if not isinstance(file, str) or not isinstance(version, str):
            continue
        if name != target:
            target, stack = name, []
        if detail["action"] == "rollback":
            while stack and stack[-1].version != version:
                stack.pop()
        elif not stack and (found := _found(told[:place], version)):
            stack.append(Back(None, found, target, event.time))
        if not stack or stack[-1].version != version:
            stack.append(Back(file, version, target, event.time))
    if stack and stack[-1].version == pinned:
        stack.pop()
    return stack[-1] if stack else None


def _found(before: Sequence[Event], version: str) -> str | None:
    """The model that answered when ``version`` was deployed first, by the switch to it."""
    for event in reversed(before):
        if event.kind == SWITCH and event.detail.get("model_version") == version:
            old = event.detail.get("old")
            return old if isinstance(old, str) else None
    return None
