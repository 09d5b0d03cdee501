"""Scores a batch of rows, on one machine and on Spark with the same function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelbundle.errors import CannotScore
from modelbundle.model import Model, Scored
from modelbundle.schema import Feature
from modelbundle.scorers.base import AnyColumn, Coded, plain, take
from modelbundle.validation import csv_cells
from modelbundle.validation.column_validator import misfits, warnings
from modelbundle.validation.problems import Invalid, unescape
from modelbundle.validation.rules import MAX_ID
from modelbundle.validation.validator import One
from portfolio.files.added_columns import ADDED, added_types
from portfolio.files.csv_columns import RejectedRow, as_json
from portfolio.files.readers import is_text

Mask = NDArray[np.bool_]


def score(
    model: Model, batch: pa.RecordBatch, *, text: bool, with_reasons: bool = True
) -> tuple[pa.RecordBatch, list[AnyColumn], list[RejectedRow]]:
    """Return the rows that fit, with the columns :data:`ADDED`; the features of these rows; and the rejected rows.

    ``text`` means that the batch was CSV: an empty cell is missing, and a number may be text.
    """
    columns = []
    bad: Mask | None = None
    for feature in model.schema:
        column, wrong = column_of(batch, feature, text)
        columns.append(column)
        for mask in (wrong, misfits(feature, column)):
            if mask is not None:
                bad = mask if bad is None else bad | mask
    if (mask := _bad_ids(model, batch, text)) is not None:
        bad = mask if bad is None else bad | mask
    rejected: list[RejectedRow] = []
    if bad is not None:
        rejected = [_rejected_row(model, batch, position, text) for position in np.flatnonzero(bad).tolist()]
        positions = np.flatnonzero(~bad)
        batch = batch.take(pa.array(positions))
        columns = [take(column, positions) for column in columns]
    else:
        positions = np.arange(len(batch))
    try:
        added = _added(model, columns, with_reasons)
    except CannotScore as error:
        rejected += [_unscorable_row(model, batch, columns, i, positions, why) for i, why in error.rows.items()]
        left = np.setdiff1d(np.arange(len(batch)), list(error.rows))
        batch = batch.take(pa.array(left))
        columns = [take(column, left) for column in columns]
        added = _added(model, columns, with_reasons)
    for name, array in zip(csv_cells.answer_names(ADDED, model.schema), added, strict=True):
        batch = batch.append_column(name, array)
    return batch, columns, rejected


def _added(model: Model, columns: Sequence[AnyColumn], with_reasons: bool) -> list[pa.Array]:
    if not len(columns[0]):
        return [pa.array([], type) for type in added_types(model)]
    scored: Scored = model.score(columns, with_reasons)
    said, texts = warnings(model.schema, columns)
    band = [None] * len(said) if scored.band is None else scored.band
    return [
        pa.array(list(model.classes), added_types(model)[0]).take(pa.array(scored.predicted)),
        pa.array(scored.probability),
        _dictionary(band, model.labels),
        _reasons(model, scored.reasons, len(said)),
        _dictionary(said, texts),
    ]


def _dictionary(codes: Any, texts: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string()))


def _reasons(model: Model, keys: NDArray[np.int64] | None, rows: int) -> pa.Array:
    if keys is None:
        return _dictionary([None] * rows, [])
    coded = pa.array(keys).dictionary_encode()
    texts = [model.reasons.told(key) for key in coded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(coded.indices, pa.array(texts, pa.string()))


def with_numbers(model: Model, batch: pa.RecordBatch, columns: Sequence[AnyColumn]) -> pa.RecordBatch:
    """Turn the columns of the model's numbers from text into numbers, null if missing."""
    for feature, column in zip(model.schema, columns, strict=True):
        place = batch.schema.get_field_index(feature.name)
        if feature.kind == "number" and place >= 0 and pa.types.is_string(batch.schema.field(place).type):
            batch = batch.set_column(place, feature.name, pa.array(plain(column), pa.float64(), from_pandas=True))
    return batch


def column_of(batch: pa.RecordBatch, feature: Feature, text: bool) -> tuple[AnyColumn, Mask | None]:
    """Return the values of a feature, and a mask of the rows with something else than a number in a number's column, if any."""
    place = batch.schema.get_field_index(feature.name)
    if place < 0 or pa.types.is_null(batch.schema.field(place).type):
        nothing = np.zeros(len(batch), dtype=np.intp)
        return Coded(nothing, np.array([np.nan]) if feature.kind == "number" else [None]), None
    array = batch.column(place)
    if feature.kind == "category":
        return _category(array, text), None
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())  # and from there to the nearest number
    if pa.types.is_string(array.type):
        return _cells(array)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if pa.types.is_temporal(array.type):
        return _coded(_seconds(array)), None
    return _coded(array.cast(pa.float64(), safe=False)), None


def _seconds(array: pa.Array) -> pa.Array:
    """Dates and times as seconds since 1970, which is how a model's dates are numbers."""
    stamps = array.cast(pa.timestamp("us", getattr(array.type, "tz", None)), safe=False)
    return pc.divide(stamps.cast(pa.int64()).cast(pa.float64()), 1e6)


def _category(array: pa.Array, text: bool) -> Coded:
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values: list[str | None] = array.dictionary.to_pylist()
    codes = array.indices
    if codes.null_count:
        codes = codes.fill_null(len(values))
        values.append(None)
    if text:
        values = [value or None for value in values]
    return Coded(codes.to_numpy().astype(np.intp), values)


def _coded(array: pa.Array) -> AnyColumn:
    """Return numbers as positions among their distinct values: finding these costs less than looking up bins."""
    coded = array.dictionary_encode(null_encoding="encode")
    return Coded(coded.indices.to_numpy().astype(np.intp), coded.dictionary.to_numpy(zero_copy_only=False))


def _cells(array: pa.Array) -> tuple[AnyColumn, Mask | None]:
    filled = pc.if_else(pc.equal(array, ""), None, array)
    try:
        numbers = filled.cast(pa.float64())
        if bool(np.isfinite(numbers.drop_null().to_numpy()).all()):
            return _coded(numbers), None
    except pa.ArrowInvalid:
        pass
    coded = filled.dictionary_encode(null_encoding="encode")
    found = [None if cell is None else csv_cells.number(cell) for cell in coded.dictionary.to_pylist()]
    values = np.array([np.nan if value is None or value is False else value for value in found], dtype=np.float64)
    wrong = np.array([value is False for value in found])
    codes = coded.indices.to_numpy().astype(np.intp)
    return Coded(codes, values), wrong.take(codes) if wrong.any() else None


def _bad_ids(model: Model, batch: pa.RecordBatch, text: bool) -> Mask | None:
    """Mark the rows with an invalid ``id``: more than 64 characters, say. A column ``id`` that is not text is not an id."""
    place = batch.schema.get_field_index("id") if model.validator.has_id else -1
    if place < 0 or not is_text(batch.schema.field(place).type):
        return None
    if _are_short(batch.column(place), 0 if text else 1):
        return None
    lengths = pc.utf8_length(batch.column(place)).fill_null(1).to_numpy()
    bad = (lengths > MAX_ID) | pc.match_substring(batch.column(place), "\0").fill_null(False).to_numpy(
        zero_copy_only=False
    )
    if not text:
        bad |= lengths == 0
    return bad if bad.any() else None


def _are_short(ids: pa.Array, least: int) -> bool:
    """Whether all ids are clearly valid: ``least`` to :data:`MAX_ID` bytes, and no byte 0 near them."""
    if not pa.types.is_string(ids.type) or ids.null_count == len(ids):
        return False
    lengths = pc.min_max(pc.binary_length(ids)).as_py()
    data = ids.buffers()[2]
    fits = least <= lengths["min"] and lengths["max"] <= MAX_ID
    return fits and (not data or bool(np.frombuffer(data, np.uint8).min() > 0))


def _rejected_row(model: Model, batch: pa.RecordBatch, position: int, text: bool) -> RejectedRow:
    row = {name: batch.column(name)[position].as_py() for name in batch.schema.names}
    asked = {}
    for name, value in row.items():
        feature = model.schema.features[model.schema.index[name]] if name in model.schema.index else None
        if feature is None and not (name == "id" and model.validator.has_id and isinstance(value, str)):
            continue
        if text and isinstance(value, str):
            value = csv_cells.values([value], feature)[0]
        if value is not None and not isinstance(value, (str, bool)):
            value = float(value)
        asked[name] = None if value != value else value
    try:
        model.validator.record(asked)
    except Invalid as invalid:
        pointers = " ".join(p.pointer for p in invalid.problems)
        errors = "; ".join(f"{unescape(p.pointer[1:])}: {p.detail}" for p in invalid.problems)
        return RejectedRow(position, pointers, errors, as_json(row))
    raise AssertionError("a row that does not fit as a column fits by itself")


def _unscorable_row(
    model: Model, batch: pa.RecordBatch, columns: Sequence[AnyColumn], i: int, positions: NDArray[np.intp], why: str
) -> RejectedRow:
    """Row ``i`` of a batch, which fits, and for which the model gives no probability."""
    values = [plain(take(column, np.array([i])))[0] for column in columns]
    problem = model.validator.unscorable(One(values, None, []), {0: why}).rows[0]
    row = {name: batch.column(name)[i].as_py() for name in batch.schema.names}
    name = unescape(problem.pointer[1:])
    error = f"{name}: {problem.detail}" if name else problem.detail
    return RejectedRow(int(positions[i]), problem.pointer, error, as_json(row))
