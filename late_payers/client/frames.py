"""Records and frames as the API takes them, and its answers as a frame."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

    from late_payers.client.api import Prediction

COLUMNS = (
    "probability",
    "prediction",
    "band",
    "reasons",
    "warnings",
    "prediction_id",
    "model_version",
)  # of a scored frame


class Bar:
    """A progress bar of ``total`` rows on a terminal: share, rows per second, time left."""

    def __init__(self, total: int, out: TextIO) -> None:
        self.total = max(total, 1)
        self.out = out
        self.began = time.monotonic()

    def show(self, done: int) -> None:
        """Draw it anew."""
        rate = done / max(time.monotonic() - self.began, 1e-9)
        left = (self.total - done) / max(rate, 1e-9)
        full = "█" * (30 * done // self.total)
        self.out.write(f"\r{full:<30} {done:,}/{self.total:,}  {rate:,.0f} rows/s  {left:,.0f} s left ")
        self.out.flush()

    def end(self) -> None:
        """Leave it as it stands."""
        self.out.write("\n")


def plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON has it."""
    return {str(name): _plain(name, value) for name, value in record.items()}


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it; None for whatever stands for a missing one."""
    if type(value) in (str, int, bool, type(None)):
        return value
    if isinstance(value, Decimal):
        value = float(value)
    elif hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a scalar of NumPy
        value = value.item()
    if type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if isinstance(value, (str, int, float)):
        return value
    raise ValueError(f"{name} is of type {type(value).__name__}, which is neither a number nor a text")


def records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a frame, without what is missing."""
    missing = frame.isna()
    columns: list[Iterable[Any]] = [frame[name].astype(object).where(~missing[name], None).tolist() for name in frame]
    for row in zip(*columns, strict=True):
        yield {str(name): value for name, value in zip(frame.columns, row, strict=True) if value is not None}


def flat(predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
    """The columns of a scored frame."""
    found: dict[str, list[Any]] = {name: [getattr(p, name) for p in predictions] for name in COLUMNS}
    found["reasons"] = [" | ".join(reason.text for reason in p.reasons or ()) for p in predictions]
    found["warnings"] = [
        " | ".join(f"{w.pointer.rpartition('/')[2]}: {w.detail}" for w in p.warnings) for p in predictions
    ]
    return found


def stream(frame: pd.DataFrame) -> bytes | None:
    """A frame as a stream of Arrow, without its empty columns; None without pyarrow, and where JSON must say what it holds."""
    try:
        import pyarrow as pa

        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (
        ImportError,
        ValueError,
        TypeError,
        NotImplementedError,
        OverflowError,
    ):  # pyarrow's own errors are among them
        return None
    table = table.select([i for i, own in enumerate(table.columns) if own.null_count < len(own)])
    t = pa.types
    kinds = [kind.value_type if t.is_dictionary(kind) else kind for kind in table.schema.types]
    simple = (t.is_integer, t.is_floating, t.is_string, t.is_large_string)
    if not kinds or not all(any(fits(kind) for fits in simple) for kind in kinds):
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def scored(body: bytes) -> dict[str, list[Any]]:
    """The columns of a scored frame, of the API's table."""
    import pyarrow as pa

    table = pa.ipc.open_stream(body).read_all().combine_chunks()
    found = {name: table[name].to_pylist() for name in COLUMNS if name not in ("reasons", "warnings")}
    reasons, warnings = (table[name].combine_chunks().flatten() for name in ("reasons", "warnings"))
    names = [pointer.split("/")[1] for pointer in warnings.field("pointer").to_pylist()]
    said = [f"{name}: {detail}" for name, detail in zip(names, warnings.field("detail").to_pylist(), strict=True)]
    for name, texts in (("reasons", reasons.field("text").to_pylist()), ("warnings", said)):
        ends = list(accumulate(table[name].combine_chunks().value_lengths().fill_null(0).to_pylist()))
        found[name] = [" | ".join(texts[i:j]) for i, j in zip([0, *ends], ends, strict=False)]
    return found
