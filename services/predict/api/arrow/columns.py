"""An Arrow IPC stream as validated columns.

A stream that fits is never taken apart row by row. One that does not fit is validated again as the same columns in JSON, so that
it gets the same problems.

pyarrow is large, so it is imported with the first stream, and only where it is installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle.model import Model
from modelbundle.schema import Feature
from modelbundle.scorers.base import AnyColumn, Coded
from modelbundle.validation import column_validator
from modelbundle.validation.problems import Invalid, Problem, TooManyRows
from modelbundle.validation.validator import Many, One
from services.predict.api.arrow import scan
from services.web.problem import Refused

if TYPE_CHECKING:
    import pyarrow as pa

INSTALLED = find_spec("pyarrow") is not None
STRANGE = b""  # stands for a value that is neither a number nor a text: no feature accepts it
CELL_BYTES = 128  # of memory that a value takes, as a part of a column and for the log


class Stream:
    """The rows of a stream, as columns of Arrow. Raises :class:`Refused`, or :class:`TooManyRows`.

    ``most_text`` bounds the bytes of its texts where each is written out: a dictionary, or a view, names a text many times.
    """

    def __init__(self, body: bytes, most_columns: int, most_rows: int, most_text: int) -> None:
        import pyarrow as pa

        scan.check(body, most_columns)
        try:
            self.table = _read(pa, body, most_rows)
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError):
            raise Refused(400, scan.BROKEN.format("its content does not fit its schema")) from None
        self.rows = self.table.num_rows
        self.names: list[str] = self.table.schema.names
        self._text = sum(_text_bytes(pa, chunk) for column in self.table.columns for chunk in column.chunks)
        if self._text > most_text:
            raise Refused(413, f"The texts of the stream are more than {most_text} bytes. Send fewer rows at a time.")

    def cost(self) -> int:
        """The bytes of memory that its values take, at most, beyond the body."""
        return int(self.rows * len(self.names) * CELL_BYTES + 2 * self._text)

    def validated(self, model: Model) -> One | Many:
        """The rows for ``model``; raises :class:`Invalid` with every problem, as for columns in JSON."""
        validator = model.validator
        known = {*model.schema.names, *(["id"] if validator.has_id else [])}
        if self.rows > 1 and known.issuperset(self.names):
            columns = [self._column(feature) for feature in model.schema]
            ids = self._ids() if validator.has_id else None
            fitting = [column for column in columns if column is not None]
            if len(fitting) == len(columns) and not isinstance(ids, bool):
                many = column_validator.many(model.schema, fitting, ids)
                if many is not None:
                    return many
        if not self.names:
            raise Invalid([Problem("", "must have at least one record")])
        nothing = [None] * self.rows  # of a column that is refused by its name
        found = {name: _values(self.table[name]) if name in known else nothing for name in self.names}
        return validator.columns(found, self.rows)

    def _column(self, feature: Feature) -> AnyColumn | None:
        """A column as the model takes it; None where it is of another type."""
        import pyarrow as pa

        if feature.name not in self.names:
            missing = np.full(self.rows, np.nan)
            return missing if feature.kind == "number" else Coded(np.zeros(self.rows, dtype=np.intp), [None])
        column = self.table[feature.name]
        if pa.types.is_dictionary(column.type):
            if feature.kind == "number":
                return None
        elif feature.kind == "number":
            return _numbers(pa, column)
        return _coded(pa, column)

    def _ids(self) -> list[str | None] | bool | None:
        """The callers' ids; None where there is no such column, False where it has anything but texts."""
        import pyarrow as pa

        if "id" not in self.names:
            return None
        column = self.table["id"]
        return column.to_pylist() if _is_text(pa, column.type) or pa.types.is_null(column.type) else False


def _read(pa: Any, body: bytes, most_rows: int) -> pa.Table:
    """The table; every batch is checked in full as soon as it is read. Raises what pyarrow does, and :class:`TooManyRows`."""
    options = pa.ipc.IpcReadOptions(use_threads=False)
    batches, rows = [], 0
    with pa.ipc.open_stream(pa.py_buffer(body), options=options) as reader:
        schema = reader.schema
        schema.names  # noqa: B018  # raises where a name is not UTF-8
        for batch in reader:
            rows += batch.num_rows
            if rows > most_rows:
                raise TooManyRows(rows, most_rows)
            batch.validate(full=True)
            batches.append(batch)
    return pa.Table.from_batches(batches, schema)


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numbers(pa: Any, column: Any) -> AnyColumn | None:
    """A column of numbers as float64, missing ones and NaN as NaN; None for another type."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    parts = []
    for chunk in column.chunks:
        if chunk.null_count and pa.types.is_integer(kind):  # pyarrow makes float64 of the numbers and NaN
            part = chunk.to_numpy(zero_copy_only=False)
            if len(chunk) == chunk.null_count:
                part = np.full(len(chunk), np.nan)
        else:
            part = chunk.to_numpy(zero_copy_only=False)
        parts.append(part.astype(np.float64, copy=False))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _coded(pa: Any, column: Any) -> Coded | None:
    """A column of texts by its distinct values; None for another type."""
    kind = column.type
    if pa.types.is_null(kind):
        return Coded(np.zeros(len(column), dtype=np.intp), [None])
    if pa.types.is_dictionary(kind):
        if not _is_text(pa, kind.value_type):
            return None
        if len(column.chunks) > 1 or len(column.chunk(0).dictionary) > len(column):
            column = column.cast(pa.large_string())
    elif not _is_text(pa, kind):
        return None
    elif pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    values = whole.dictionary.to_pylist()
    codes = whole.indices
    if codes.null_count:
        codes = codes.fill_null(pa.scalar(len(values), codes.type)) if _fits(codes, len(values)) else None
        if codes is None:
            whole = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
            values = whole.dictionary.to_pylist()
            codes = whole.indices.fill_null(len(values))
        values.append(None)
    return Coded(codes.to_numpy(zero_copy_only=False).astype(np.intp, copy=False), values)


def _fits(codes: Any, value: int) -> bool:
    """Whether the integers of ``codes`` can be ``value``."""
    return value <= int(np.iinfo(codes.type.to_pandas_dtype()).max)


def _values(column: Any) -> list[Any]:
    """A column as JSON would have it: NaN as null, and :data:`STRANGE` for what JSON does not have."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if plain or _is_text(pa, kind) or pa.types.is_null(kind):
        return [None if value != value else value for value in column.to_pylist()]
    return [None if missing else STRANGE for missing in column.is_null().to_pylist()]


def _text_bytes(pa: Any, chunk: Any) -> int:
    """The bytes of the texts, or binary values, of an array, each as often as it stands there."""
    kind = chunk.type
    if pa.types.is_dictionary(kind):
        lengths = _lengths(pa, chunk.dictionary)
        if lengths is None:
            return 0
        codes = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
        return int(lengths.take(codes).sum()) if len(codes) else 0
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        offsets = _offsets(pa, chunk)
        return int(offsets[-1]) - int(offsets[0])
    lengths = _lengths(pa, chunk)
    return 0 if lengths is None else int(lengths.sum())


def _lengths(pa: Any, array: Any) -> Any:
    """The bytes of each value of an array, shape (n,); None where values have a fixed size. Missing ones may count."""
    kind = array.type
    if not len(array):
        return np.zeros(0, dtype=np.int64)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        views = np.frombuffer(array.buffers()[1], dtype=np.int32, count=4 * (array.offset + len(array)))
        lengths = views.reshape(-1, 4)[array.offset :, 0]
        return np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths.astype(np.int64))
    if pa.types.is_fixed_size_binary(kind):
        return np.full(len(array), kind.byte_width, dtype=np.int64)
    large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    if not (large or pa.types.is_string(kind) or pa.types.is_binary(kind)):
        return None
    return np.diff(_offsets(pa, array).astype(np.int64))


def _offsets(pa: Any, array: Any) -> Any:
    """Where the values of an array of texts or bytes begin, shape (n + 1,)."""
    if not len(array):
        return np.zeros(1, dtype=np.int64)
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    width = np.int64 if large else np.int32
    return np.frombuffer(array.buffers()[1], dtype=width, count=array.offset + len(array) + 1)[array.offset :]
