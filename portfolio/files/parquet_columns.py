"""Columns of Parquet as the scoring takes them: one type of text, valid UTF-8, and dictionaries without repeated values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from portfolio.files.csv_columns import RejectedRow, Rows, as_json
from portfolio.files.readers import is_bytes, is_text

TEXT = pa.string()
NOT_UTF8 = "must be valid UTF-8"


def readable(batch: pa.RecordBatch, features: Collection[str], as_csv: bool) -> Rows:
    """The rows of a batch, without those in which a text is not valid UTF-8: these are rejected.

    ``as_csv`` turns columns of bytes into text too: CSV has nothing else.
    """
    bad = np.zeros(len(batch), dtype=bool)
    for array in batch.columns:
        if (wrong := _not_utf8(array)) is not None:
            bad |= wrong
    rejected = [_rejected(batch, int(i)) for i in np.flatnonzero(bad)]
    positions = np.flatnonzero(~bad)
    kept = batch.take(pa.array(positions)) if rejected else batch
    arrays = [
        _plain(array, name in features, as_csv, bool(rejected))
        for name, array in zip(kept.schema.names, kept.columns, strict=True)
    ]
    return Rows(pa.RecordBatch.from_arrays(arrays, kept.schema.names), positions, rejected, len(batch))


def _plain(array: pa.Array, feature: bool, as_csv: bool, rejected: bool) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind) and (is_text(kind.value_type) or is_bytes(kind.value_type)):
        if rejected:  # what only rejected rows have stays in the dictionary
            return _plain(array.dictionary_decode(), feature, as_csv, False).dictionary_encode()
        values = _plain(array.dictionary, feature, as_csv, False)
        if len(values.unique()) == len(values) and not values.null_count:
            return pa.DictionaryArray.from_arrays(array.indices, values)
        return values.take(array.indices).dictionary_encode()  # some writers repeat a value in the dictionary
    if is_bytes(kind) and (as_csv or feature):
        return pa.array([None if v is None else v.decode("utf-8", "backslashreplace") for v in array.to_pylist()], TEXT)
    return array.cast(TEXT) if is_text(kind) and kind != TEXT and (as_csv or feature) else array


def _not_utf8(array: pa.Array) -> Any:
    """The rows whose text is not valid UTF-8; None where all are."""
    values = array.dictionary if pa.types.is_dictionary(array.type) else array
    if not is_text(values.type):
        return None
    try:
        values.validate(full=True)
        return None
    except pa.ArrowInvalid:
        pass
    raw = values.cast(pa.binary() if values.type == TEXT else pa.large_binary()).to_pylist()
    wrong = np.array([value is not None and not _decodes(value) for value in raw], dtype=bool)
    if values is array:
        return wrong
    codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return wrong[codes] & ~array.is_null().to_numpy(zero_copy_only=False)


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rejected(batch: pa.RecordBatch, i: int) -> RejectedRow:
    row: dict[str, Any] = {}
    wrong = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = array[i].as_py()
        except UnicodeDecodeError:
            wrong.append(name)
            cell = array.dictionary[array.indices[i].as_py()] if pa.types.is_dictionary(array.type) else array[i]
            row[name] = cell.cast(pa.large_binary()).as_py().decode("utf-8", "backslashreplace")
    pointers, errors = (f"/{name}" for name in wrong), (f"{name}: {NOT_UTF8}" for name in wrong)
    return RejectedRow(i, " ".join(pointers), "; ".join(errors), as_json(row))
