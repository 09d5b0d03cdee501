"""Outcomes as they are sent: JSON or CSV, read into claims, or every problem at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from modelbundle.format.outcome import Outcome
from modelbundle.schema import MAX_TEXT
from modelbundle.validation.csv_cells import TWICE, Unclosed
from modelbundle.validation.problems import Invalid, Problem, TooManyRows, escape, unescape
from modelbundle.validation.rules import ID_RULE, is_reference
from services.predict.api.csv_table import MOST_OTHERS, Table
from services.predictionlog.outcome import Claim

ABOUT = ("prediction_id", "id", "before")
ADDED = ("status", "detail")  # to each row of a CSV
WHICH = "must have either `prediction_id` or `id`"
BEFORE = "must be a date, or a date and time, in ISO 8601"
BOTH = "goes only with `id`"


def read(document: Any, max_rows: int, outcome: Outcome) -> tuple[list[Claim], bool]:
    """The claims of a parsed document, and whether it was a single one. ``outcome`` is that of the model that answers now.

    Raises :class:`Invalid` or :class:`TooManyRows`.
    """
    if isinstance(document, dict) and "records" not in document:
        return _all([document], lambda _: "", outcome), True
    where = "/records" if isinstance(document, dict) else ""
    records = document["records"] if isinstance(document, dict) else document
    if isinstance(document, dict) and (others := [name for name in document if name != "records"]):
        raise Invalid.counted(
            Problem(f"/{escape(name[:MAX_TEXT])}", "unknown field beside `records`") for name in others
        )
    if not isinstance(records, list):
        raise Invalid([Problem(where, "must be an object (one outcome, or records) or an array of outcomes")])
    if not records:
        raise Invalid([Problem(where, "must have at least one outcome")])
    if len(records) > max_rows:
        raise TooManyRows(len(records), max_rows)
    return _all(records, lambda i: f"{where}/{i}", outcome), False


def _all(records: Sequence[Any], place: Callable[[int], str], outcome: Outcome) -> list[Claim]:
    claims = [None if any(_problems(record, outcome)) else _claim(record, outcome) for record in records]
    good = [claim for claim in claims if claim is not None]
    if len(good) == len(records):
        return good
    raise Invalid.counted(
        Problem(place(i) + problem.pointer, problem.detail)
        for i, record in enumerate(records)
        for problem in _problems(record, outcome)
    )


def _problems(record: Any, outcome: Outcome) -> Iterator[Problem]:
    if not isinstance(record, dict):
        yield Problem("", "must be an object: one outcome")
        return
    fields = (*ABOUT, outcome.name)
    for name in record:
        if name not in fields:
            near = difflib.get_close_matches(name[:MAX_TEXT], fields, 1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            yield Problem(f"/{escape(name[:MAX_TEXT])}", f"unknown field{hint}")
    if (record.get("prediction_id") is None) == (record.get("id") is None):
        yield Problem("", WHICH)
    for name in ("prediction_id", "id"):
        if record.get(name) is not None and not is_reference(record[name]):
            yield Problem(f"/{name}", ID_RULE)
    if outcome.find(record.get(outcome.name)) is None:
        yield Problem(
            f"/{escape(outcome.name)}", outcome.rule if outcome.name in record else f"missing; {outcome.rule}"
        )
    if record.get("before") is not None:
        if in_utc(record["before"]) is None:
            yield Problem("/before", BEFORE)
        elif record.get("id") is None:
            yield Problem("/before", BOTH)


def _claim(record: dict[str, Any], outcome: Outcome) -> Claim:
    before, value = record.get("before"), outcome.find(record[outcome.name])
    assert value is not None
    return Claim(record.get("prediction_id"), record.get("id"), before and in_utc(before), value, outcome.name)


def in_utc(text: object) -> str | None:
    """A date, or a date and time (in UTC unless it says otherwise), as the database has times; None for what is neither."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
        if found is None:
            return None
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return found.isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return None


def check(sent: Table, outcome: Outcome) -> None:
    """Raise :class:`Invalid` unless the header of a CSV has the columns that are needed; other columns are allowed."""
    if len(sent.header) > MOST_OTHERS:
        raise Invalid([Problem("", f"has {len(sent.header)} columns; at most {MOST_OTHERS} are accepted")])
    seen = dict.fromkeys(sent.header)
    problems = [Problem(f"/{escape(n[:MAX_TEXT])}", TWICE) for n in seen if sent.header.count(n) > 1]
    problems += [Problem(f"/{name}", "is a column that the answer adds") for name in ADDED if name in seen]
    if outcome.name not in seen:
        problems.append(Problem(f"/{escape(outcome.name)}", "missing; required"))
    if not {"prediction_id", "id"} & set(seen):
        problems.append(Problem("", f"{WHICH} as a column"))
    if problems:
        raise Invalid(problems)


def row(header: Sequence[str], cells: Sequence[str], outcome: Outcome) -> Claim | str:
    """The claim of one row of a CSV, or what is wrong with it. An empty cell is not there."""
    if isinstance(cells, Unclosed):
        return cells.detail
    if len(cells) != len(header):
        return f"has {len(cells)} cells where the header has {len(header)}"
    fields = (*ABOUT, outcome.name)
    record: dict[str, Any] = {n: cell for n, cell in zip(header, cells, strict=True) if n in fields and cell}
    if outcome.name in record:
        record[outcome.name] = outcome.read(record[outcome.name])
    if record.get("prediction_id"):  # the answer of /predict has both: the prediction's own id is the narrower one
        record.pop("id", None)
        record.pop("before", None)
    problems = [f"{unescape(p.pointer[1:])} {p.detail}".strip() for p in _problems(record, outcome)]
    return "; ".join(problems) if problems else _claim(record, outcome)
