"""The file of groups: an id and a group per row. It is read here, outside the service, and joined by id."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fairness.errors import FairnessError, shown
from modelbundle.fairness import MOST_GROUPS, same_name
from modelbundle.format.values import CONTROLS
from modelbundle.schema import MAX_TEXT, Schema
from modelbundle.validation.rules import MAX_ID
from portfolio.errors import PortfolioError
from portfolio.files import csv_columns, parquet_columns
from portfolio.files.csv_columns import Rows
from portfolio.files.locations import CSV
from portfolio.files.readers import InputFile
from portfolio.files.spans import Span, SpanReader, cut
from portfolio.job.plan import inputs

LONGEST = 64  # characters of a group's name


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one file: ``of`` maps an id to its group, None where the cell is empty; ``rows`` maps it to its row, from 1
    after the header."""

    place: str
    column: str
    of: dict[str, str | None]
    rows: dict[str, int]


def read(place: str, column: str | None, id_column: str, schema: Schema, outcome: str) -> Groups:
    """Read the file; without ``column`` it has only one besides the ids.

    Raises :class:`FairnessError` where the column has the name of a feature or of the outcome, for rows without an id, for an id
    that is there twice, and for what is no group; and :class:`PortfolioError`.
    """
    source = _file(place)
    column = _column(source, column, id_column)
    if (feature := same_name(column, schema.names)) is not None:
        raise FairnessError(
            f"{place}: {shown(column)} is the name of the model's feature {feature!r}; a group is no feature"
        )
    if same_name(column, [outcome]) is not None:
        raise FairnessError(f"{place}: {shown(column)} is the name of the outcome; a group is no outcome")
    groups = Groups(place, column, {}, {})
    for row, own, cell in _cells(source, id_column, column):
        group = (cell or "").strip() or None
        if own is None:
            raise FairnessError(f"{place}: row {row} has no id in {shown(id_column)}")
        if len(own) > MAX_ID:
            raise FairnessError(f"{place}: row {row} has an id of more than {MAX_ID} characters")
        if own in groups.rows:
            raise FairnessError(f"{place}: row {row} has the id {shown(own)} of row {groups.rows[own]} again")
        if group is not None and len(group) > LONGEST:
            raise FairnessError(f"{place}: row {row} has a group of more than {LONGEST} characters in {shown(column)}")
        if group is not None and not CONTROLS.isdisjoint(group):
            raise FairnessError(f"{place}: row {row} has a control character in {shown(column)}")
        groups.of[own], groups.rows[own] = group, row
    if not groups.of:
        raise FairnessError(f"{place}: has no rows")
    found = {group for group in groups.of.values() if group is not None}
    if len(found) > MOST_GROUPS:
        raise FairnessError(f"{place}: {shown(column)} has {len(found):,} values; groups are at most {MOST_GROUPS}")
    return groups


def _file(place: str) -> InputFile:
    sources, many = inputs(place)
    if many:
        raise FairnessError(f"{place}: must be one .csv or .parquet file")
    return sources[0]


def _column(source: InputFile, column: str | None, id_column: str) -> str:
    names = list(source.own_names)
    said = f"its columns are {', '.join(map(shown, names[:20]))}"
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise FairnessError(f"{source.location}: has one column; separate columns by commas")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise FairnessError(f"{source.location}: has the column {shown(twice[0])} more than once")
    if id_column not in names:
        raise FairnessError(f"{source.location}: has no column {shown(id_column)} of ids; {said}")
    others = [name for name in names if name != id_column]
    if column is None and len(others) != 1:
        raise FairnessError(f"{source.location}: say which column has the groups (--column); {said}")
    if len(column or others[0]) > MAX_TEXT or not CONTROLS.isdisjoint(column or others[0]):
        raise FairnessError(f"{source.location}: the column {shown(column or others[0])} needs another name")
    if column is not None and column not in others:
        raise FairnessError(f"{source.location}: has no column {shown(column)} of groups besides the ids; {said}")
    return column or others[0]


def _cells(source: InputFile, *columns: str) -> Iterator[tuple[int, str | None, str | None]]:
    """Row from 1, and the texts of two columns."""
    before = 0
    reader = SpanReader(source.location)
    for span in (piece for whole in cut(source) for piece in whole.pieces()):
        rows = _rows(source, reader, span)
        if rows.rejected:
            bad = rows.rejected[0]
            raise FairnessError(f"{source.location}: row {before + bad.position + 1} {bad.error}")
        first, second = (texts(rows.batch.column(rows.batch.schema.get_field_index(name)), name) for name in columns)
        for position, own, group in zip(rows.positions.tolist(), first, second, strict=True):
            yield before + position + 1, own, group
        before += rows.count


def _rows(source: InputFile, reader: SpanReader, span: Span) -> Rows:
    if source.kind == CSV:
        return csv_columns.read(reader.csv(span), source.own_names, (), ())
    return parquet_columns.readable(reader.parquet(span), (), True)


def texts(array: pa.Array, name: str) -> list[str | None]:
    """A column of ids or groups as texts; None for what is missing or empty."""
    if pa.types.is_nested(array.type):
        raise PortfolioError(f"the column {shown(name)} must be text or numbers, not {array.type}")
    return [as_text(value) for value in array.to_pylist()]


def as_text(value: Any) -> str | None:
    """An id or a group as a text; a whole number is written without a point, and None is what is missing or empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace") or None
    return str(value) or None
