"""From a JSON document to rows or columns, or to every problem in it.

A fast path accepts a document that fits. Only where the fast path fails does a second pass walk the document and name each
problem with a JSON pointer.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelbundle.schema import LARGEST, MAX_TEXT, Feature, Schema
from modelbundle.scorers.base import AnyColumn, Coded, Value
from modelbundle.validation.problems import MOST_PROBLEMS, Invalid, Problem, TooManyRows, Unscorable, escape, unescape
from modelbundle.validation.record_decoder import RecordDecoder, Unparsed
from modelbundle.validation.rules import (
    CLOSED,
    ID_RULE,
    MISSING,
    UNKNOWN,
    UNSCORABLE,
    UNSEEN,
    expectation,
    is_category,
    is_reference,
    outside_warning,
    unseen_warning,
)

MOST_COMPARED = 5_000  # pairs of names, to hint at misspelled ones
CODED = 4  # rows per distinct text from which on a column is looked up by its distinct texts
Warnings = list[dict[str, str]]
_KINDS: dict[tuple[bool, bool], set[type]] = {  # of values by whether they are numbers, and required
    (True, True): {float},
    (True, False): {float, type(None)},
    (False, True): {str},
    (False, False): {str, type(None)},
}


@dataclass(slots=True)
class One:
    """A valid request for one row."""

    row: list[Value]
    id: str | None
    warnings: Warnings
    rows: ClassVar[int] = 1


@dataclass(slots=True)
class Many:
    """A valid request for n rows. ``ids`` is None where the request has none; ``warnings`` maps a row's position to its own.

    ``pointer`` is that of the array of records; None where the request has columns.
    """

    rows: int
    columns: list[AnyColumn]
    ids: list[str | None] | None = None
    warnings: dict[int, Warnings] = field(default_factory=dict)
    pointer: str | None = None

    def row(self, i: int) -> list[Value]:
        """The values of one row; a missing number is NaN."""
        return [column[i] for column in self.columns]


class Validator:
    """Checks JSON documents against one schema; safe to use from any number of threads."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.has_id = "id" not in schema.index
        self._known = frozenset((*schema.names, "id"))
        self._values = itemgetter(*schema.names)
        self._decoder = RecordDecoder(schema, self.has_id)
        self._plan = [
            (
                f.name,
                f.kind == "number",
                f.required,
                -LARGEST if f.minimum is None else f.minimum,
                LARGEST if f.maximum is None else f.maximum,
                *_seen(f),
                frozenset(f.categories) or None,  # without known categories, none is unseen
                f.accepted,
                f.most_characters,
            )
            for f in schema
        ]

    def read(self, document: object, max_rows: int) -> One | Many:
        """The rows of a parsed JSON document in any of the four shapes.

        A record, or columns of length one, give :class:`One`. A list, ``records`` and longer columns give :class:`Many`.
        Raises :class:`Invalid`, or :class:`TooManyRows` for more than ``max_rows``, and what parsing raises.
        """
        if isinstance(document, Unparsed):
            return self._unparsed(document, max_rows)
        if isinstance(document, dict):
            if "records" in document and "records" not in self.schema.index:
                return self._wrapped(document, max_rows)
            if list in map(type, document.values()):
                return self.columns(document, max_rows)
            return self.record(document)
        if isinstance(document, list):
            return self.records(document, max_rows)
        raise Invalid([Problem("", "must be an object (one record, records or columns) or an array of records")])

    def _unparsed(self, document: Unparsed, max_rows: int) -> One | Many:
        if (found := self._decoder.columns(document)) is not None:
            columns, ids = found
            self._count(len(columns[0]), max_rows, "")
            many = self._columns(columns, ids, lambda name, i: f"/{i}/{escape(name)}", typed=True)
            if many is not None:
                many.pointer = ""
                return many
        return self.read(document.parse(document.body), max_rows)

    def record(self, record: Mapping[str, Any], pointer: str = "") -> One:
        """The row of one record at ``pointer``. Raises :class:`Invalid` with every problem."""
        row: list[Value] = []
        warnings: Warnings = []
        present = 0
        for name, number, required, minimum, maximum, low, high, categories, accepted, most in self._plan:
            value = record.get(name)
            if value is None:
                if required:
                    break
                present += name in record
                row.append(None)
                continue
            present += 1
            if number:
                if type(value) is int and -LARGEST <= value <= LARGEST:
                    value = float(value)
                elif type(value) is not float:
                    break
                if not low <= value <= high:
                    if not minimum <= value <= maximum:
                        break
                    warnings.append({"pointer": f"{pointer}/{escape(name)}", "detail": outside_warning(low, high)})
            elif type(value) is not str:
                break
            elif categories is None or value not in categories:
                if not is_category(value, most) or (accepted is not None and value not in accepted):
                    break
                if categories is None:
                    row.append(value)
                    continue
                warnings.append({"pointer": f"{pointer}/{escape(name)}", "detail": UNSEEN})
            row.append(value)
        else:
            own = record.get("id") if self.has_id else None
            present += self.has_id and "id" in record
            if present == len(record) and (own is None or is_reference(own)):
                return One(row, own, warnings)
        raise self._invalid(self._explain(record, pointer))

    def records(self, records: Sequence[Any], max_rows: int, pointer: str = "") -> Many:
        """The columns of n records at ``pointer``. Raises :class:`Invalid` with every problem, or :class:`TooManyRows`."""
        self._count(len(records), max_rows, pointer)
        if (raw := self._transposed(records)) is not None:
            ids = [r.get("id") for r in records] if self.has_id and any("id" in r for r in records) else None
            many = self._columns(raw, ids, lambda name, i: f"{pointer}/{i}/{escape(name)}")
            if many is not None:
                many.pointer = pointer
                return many
        raise self._invalid(problem for i, r in enumerate(records) for problem in self._explain(r, f"{pointer}/{i}"))

    def _transposed(self, records: Sequence[Any]) -> Sequence[Sequence[Any]] | None:
        """The values of n records, by feature; None where one is not an object or has an unknown field."""
        if {*map(type, records)} != {dict}:
            return None
        if len(self.schema) > 1 and {*map(len, records)} == {len(self.schema)}:
            with suppress(KeyError):  # as many fields as features, and a field for each feature: there are no others
                return list(zip(*map(self._values, records), strict=True))
        if all(r.keys() <= self._known for r in records):
            return [[r.get(name) for r in records] for name in self.schema.names]
        return None

    def _wrapped(self, document: Mapping[str, Any], max_rows: int) -> Many:
        records = document["records"]
        others = [
            Problem(f"/{escape(name[:MAX_TEXT])}", "unknown field beside `records`")
            for name in islice((name for name in document if name != "records"), MOST_PROBLEMS)
        ]
        unknown = len(document) - 1
        if not isinstance(records, list):
            raise Invalid([Problem("/records", "must be an array of records"), *others])
        try:
            many = self.records(records, max_rows, "/records")
        except Invalid as invalid:
            raise Invalid([*others, *invalid.problems], invalid.total + unknown) from None
        if others:
            raise Invalid(others, unknown)
        return many

    def columns(self, document: Mapping[str, Any], max_rows: int) -> One | Many:
        """The rows of lists by name. Raises :class:`Invalid` with every problem, or :class:`TooManyRows`."""
        lengths = Counter(len(value) for value in document.values() if isinstance(value, list))
        rows = max(lengths, key=lambda length: (lengths[length], length))
        if any(True for _ in _uneven(document, rows)):
            raise self._invalid(chain(_uneven(document, rows), self.names(document)))
        self._count(rows, max_rows, "")
        if rows == 1:
            try:
                one = self.record({name: value[0] for name, value in document.items()})
            except Invalid as invalid:
                raise Invalid([_in_column(p) for p in invalid.problems], invalid.total) from None
            one.warnings = [{**w, "pointer": w["pointer"] + "/0"} for w in one.warnings]
            return one
        if document.keys() <= self._known:
            raw = [document.get(name) or [None] * rows for name in self.schema.names]
            ids = document.get("id") if self.has_id else None
            if (many := self._columns(raw, ids, lambda name, i: f"/{escape(name)}/{i}")) is not None:
                return many
        raise self._invalid(chain(self.names(document), self._explain_columns(document, rows)))

    def _count(self, rows: int, max_rows: int, pointer: str) -> None:
        if rows == 0:
            raise Invalid([Problem(pointer, "must have at least one record")])
        if rows > max_rows:
            raise TooManyRows(rows, max_rows)

    def _columns(
        self, raw: Sequence[Sequence[Any]], ids: Sequence[Any] | None, where: Any, typed: bool = False
    ) -> Many | None:
        """The fast path for n rows; None as soon as one value does not fit. ``typed`` values are of their feature's kind."""
        many = Many(len(raw[0]), [])
        for values, feature, plan in zip(raw, self.schema, self._plan, strict=True):
            kinds = _KINDS[plan[1], feature.required] if typed else set(map(type, values))
            if type(None) in kinds and feature.required:
                return None
            column: AnyColumn | None
            column, unseen = self._numbers(values, kinds, plan) if plan[1] else self._texts(values, kinds, plan)
            if column is None:
                return None
            many.columns.append(column)
            detail = unseen_warning(feature)
            for i in unseen:
                many.warnings.setdefault(i, []).append({"pointer": where(feature.name, i), "detail": detail})
        if ids is not None:
            if not all(own is None or is_reference(own) for own in ids):
                return None
            many.ids = list(ids)
        return many

    @staticmethod
    def _numbers(values: Sequence[Any], kinds: set[type], plan: Any) -> tuple[NDArray[np.float64] | None, list[int]]:
        _, _, _, minimum, maximum, low, high, *_ = plan
        if not kinds <= {int, float, type(None)}:
            return None, []
        try:
            column = np.array(values, dtype=np.float64)
        except OverflowError:
            return None, []
        fits = int(((column >= minimum) & (column <= maximum)).sum())
        if fits + (values.count(None) if type(None) in kinds else 0) != len(column):
            return None, []
        return column, np.flatnonzero((column < low) | (column > high)).tolist()

    @staticmethod
    def _texts(values: Sequence[Any], kinds: set[type], plan: Any) -> tuple[list[str | None] | Coded | None, list[int]]:
        if not kinds <= {str, type(None)}:
            return None, []
        distinct = dict.fromkeys(values)
        strange = distinct.keys() - (plan[7] or set()) - {None}
        if not all(is_category(text, plan[9]) for text in strange) or (plan[8] is not None and not strange <= plan[8]):
            return None, []
        unseen = [i for i, value in enumerate(values) if value in strange] if strange and plan[7] is not None else []
        if len(values) < CODED * len(distinct):
            return list(values), unseen
        place = {value: k for k, value in enumerate(distinct)}
        codes = np.fromiter(map(place.__getitem__, values), dtype=np.intp, count=len(values))
        return Coded(codes, list(distinct)), unseen

    def _explain(self, record: object, pointer: str) -> Iterator[Problem]:
        if not isinstance(record, dict):
            yield Problem(pointer, "must be an object: one record")
            return
        yield from self.names(record, pointer)
        for feature in self.schema:
            if feature.name in record:
                detail = expectation(feature, record[feature.name])
                if detail:
                    yield Problem(f"{pointer}/{escape(feature.name)}", detail)
        if self.has_id and record.get("id") is not None and not is_reference(record["id"]):
            yield Problem(f"{pointer}/id", ID_RULE)

    def _explain_columns(self, document: Mapping[str, list[Any]], rows: int) -> Iterator[Problem]:
        for name, values in document.items():
            feature = self.schema.features[self.schema.index[name]] if name in self.schema.index else None
            for i in range(rows):
                detail = expectation(feature, values[i]) if feature else None
                if name == "id" and self.has_id and values[i] is not None and not is_reference(values[i]):
                    detail = ID_RULE
                if detail:
                    yield Problem(f"/{escape(name)}/{i}", detail)

    def names(self, record: Mapping[str, Any], pointer: str = "") -> Iterator[Problem]:
        """The unknown fields of ``record``, then the required fields that it does not have."""
        for name in record:
            if name not in self.schema.index and not (name == "id" and self.has_id):
                yield Problem(f"{pointer}/{escape(name[:MAX_TEXT])}", UNKNOWN)
        for feature in self.schema:
            if feature.required and feature.name not in record:
                yield Problem(f"{pointer}/{escape(feature.name)}", MISSING)

    def hinted(self, problem: Problem) -> Problem:
        """``problem`` with a suggestion, where an unknown field resembles a feature's name."""
        if problem.detail != UNKNOWN:
            return problem
        close = self.closest(unescape(problem.pointer.rpartition("/")[2]))
        return Problem(problem.pointer, f"{UNKNOWN}; did you mean `{close}`?") if close else problem

    def closest(self, name: str) -> str | None:
        """The feature whose name is most like ``name``, in whatever case; None where none is like it."""
        folded = {own.casefold(): own for own in reversed(self.schema.names)}
        close = difflib.get_close_matches(name.casefold(), folded, 1, 0.6)
        return folded[close[0]] if close else None

    def unscorable(self, asked: One | Many, wrong: Mapping[int, str]) -> Unscorable:
        """The error for valid rows for which the model gives no probability; ``wrong`` maps a row's position to why."""
        rows = {
            i: self._unscorable(asked.row if isinstance(asked, One) else asked.row(i), why) for i, why in wrong.items()
        }
        if isinstance(asked, One):
            return Unscorable(list(rows.values()), rows)
        if asked.pointer is not None:
            return Unscorable([Problem(f"{asked.pointer}/{i}{p.pointer}", p.detail) for i, p in rows.items()], rows)
        return Unscorable(
            [Problem(f"{p.pointer}/{i}" if p.pointer else "", f"row {i}: {p.detail}") for i, p in rows.items()], rows
        )

    def _unscorable(self, row: Sequence[Value], why: str) -> Problem:
        for feature, value in zip(self.schema, row, strict=True):
            if feature.closed and value is not None and value not in feature.categories:
                return Problem(f"/{escape(feature.name)}", CLOSED)
        return Problem("", UNSCORABLE.format(why))

    def _invalid(self, problems: Iterable[Problem]) -> Invalid:
        invalid = Invalid.counted(problems)
        most = max(MOST_COMPARED // max(len(self.schema), 1), 3)
        invalid.problems[:most] = map(self.hinted, invalid.problems[:most])
        return invalid


def _uneven(document: Mapping[str, Any], rows: int) -> Iterator[Problem]:
    """The columns that are not arrays of ``rows`` values."""
    for name, value in document.items():
        pointer = f"/{escape(name[:MAX_TEXT])}"
        if not isinstance(value, list):
            yield Problem(pointer, "must be an array, as the other columns are")
        elif len(value) != rows:
            yield Problem(pointer, f"has {len(value)} values where the others have {rows}")


def _seen(feature: Feature) -> tuple[float, float]:
    """The range of training, within the bounds: a value in this range needs no other check."""
    low, high = feature.observed or (-LARGEST, LARGEST)
    return (
        low if feature.minimum is None else max(low, feature.minimum),
        high if feature.maximum is None else min(high, feature.maximum),
    )


def _in_column(problem: Problem) -> Problem:
    named = problem.detail.startswith((UNKNOWN, "missing"))
    return problem if named else Problem(problem.pointer + "/0", problem.detail)
