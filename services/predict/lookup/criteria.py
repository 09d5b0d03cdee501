"""What is searched for, from the query of an address."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from modelbundle.validation.rules import ID_RULE, MAX_ID, is_reference
from services.web.problem import Refused

if TYPE_CHECKING:
    from services.predictionlog.search import Place, Search

SIZE, MOST = 50, 200  # rows of a page
SEARCHED = ("id", "prediction_id", "request_id", "record_id", "from", "to", "model", "band")
PARAMETERS = (*SEARCHED, "after", "limit")
MODEL = "must be a model's version, or how it begins: 1 to 64 digits from 0 to 9 and a to f"
TIME = "must be a time such as 2026-01-31T09:30 or a day such as 2026-01-31; it is in UTC unless it says otherwise"
LIMIT = f"must be a whole number from 1 to {MOST}"
AFTER = "must be what the page before gave as its next address"
UNKNOWN = "is not a parameter of this address: " + ", ".join(PARAMETERS)
REPEATED = "may be given once"
ORDER = "must be later than from"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(rf"{_DAY.pattern}[T ]\d\d:\d\d(:\d\d(\.\d{{1,6}})?)?(Z|[+-]\d\d:\d\d)?")
_PLACE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)_([^\0]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What was asked: ``given`` are the parameters that are not empty, as they were typed."""

    given: dict[str, str]
    search: Search
    after: Place | None
    size: int

    def next(self, end: Place) -> str:
        """The query of the next page's address."""
        return urlencode({**self.given, "after": f"{end.time}_{end.prediction_id}"})

    @property
    def query(self) -> str:
        """The query of this page's own address."""
        return urlencode(self.given)


def given(sent: MultiDict[str, str]) -> dict[str, str]:
    """The known parameters, as they were typed; empty ones are left out."""
    return {name: sent[name] for name in PARAMETERS if sent.get(name)}


def read(sent: MultiDict[str, str]) -> Criteria:
    """The criteria of a query; raises :class:`Refused` with 422, which names every parameter that is wrong."""
    from services.predictionlog.search import Place, Search

    wrong = {name: UNKNOWN for name in sent if name not in PARAMETERS}
    wrong |= {name: REPEATED for name in PARAMETERS if len(sent.getlist(name)) > 1}
    typed = given(sent)
    found: dict[str, Any] = {}
    for name, text in typed.items():
        try:
            found[name] = _READ[name](text)
        except ValueError as error:
            wrong.setdefault(name, str(error))
    if "from" in found and "to" in found and found["from"] >= found["to"]:
        wrong.setdefault("to", ORDER)
    if wrong:
        raise refused(wrong)
    search = Search(**{_NAMES.get(name, name): found[name] for name in SEARCHED if name in found})
    after = Place(*found["after"]) if "after" in found else None
    return Criteria(typed, search, after, found.get("limit", SIZE))


def refused(wrong: dict[str, str]) -> Refused:
    """The answer to wrong parameters. A name that is not known is the caller's text: it is cut, and not logged."""
    count = "1 parameter" if len(wrong) == 1 else f"{len(wrong)} parameters"
    errors = [{"pointer": f"/{name[:MAX_ID]}", "detail": detail} for name, detail in list(wrong.items())[:20]]
    return Refused(422, f"The query cannot be searched for: {count} to mend.", errors)


_NAMES = {"id": "any_id", "from": "since", "to": "before"}


def _text(text: str) -> str:
    if not is_reference(text):
        raise ValueError(ID_RULE)
    return text


def _model(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{1,64}", text):
        raise ValueError(MODEL)
    return text


def _time(text: str, days: int = 0) -> str:
    """A time as the log has it; a day alone is its beginning, ``days`` later."""
    day = _DAY.fullmatch(text)
    if not (text.isascii() and (day or _MOMENT.fullmatch(text))):
        raise ValueError(TIME)
    try:
        moment = datetime.fromisoformat(text) + timedelta(days=days if day else 0)
        utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(TIME) from None
    return utc.isoformat(timespec="microseconds")


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST:
        raise ValueError(LIMIT)
    return int(text)


def _after(text: str) -> tuple[str, str]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(AFTER)
    return match[1], match[2]


_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("id", "prediction_id", "request_id", "record_id", "band"), _text),
    "from": _time,
    "to": lambda text: _time(text, 1),
    "model": _model,
    "after": _after,
    "limit": _limit,
}
