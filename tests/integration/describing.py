"""What schemathesis is told beyond the description: what JSON Schema cannot say of it. Loaded by ``SCHEMATHESIS_HOOKS``."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import schemathesis

SHEET = "amount,int_rate,grade,purpose,emp_length\n12000,0.13,C,car,\n500,0.05,A,house,3\n"
OUTCOMES = "prediction_id,is_late\nnobody's,true\n"
ARROW = "application/vnd.apache.arrow.stream"
LOAN = {"amount": 12000, "int_rate": 0.13, "grade": "C", "purpose": "car"}


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """What is generated to fit the schema is made to fit what only the words say."""
    if case.meta is None or case.meta.generation.mode != schemathesis.GenerationMode.POSITIVE:
        return
    if case.media_type == ARROW:
        case.body = table().decode("latin-1")  # for the description, a text
    elif case.media_type == "text/csv":
        case.body = OUTCOMES if case.path == "/outcomes" else SHEET
    elif case.path.endswith("/infer"):
        case.body = {**case.body, "inputs": tensors(len(case.body["inputs"])), "outputs": []}
    elif isinstance(case.body, dict):
        case.body = {name: frame() if name == "dataframe_split" else even(v) for name, v in even(case.body).items()}


@schemathesis.serializer(ARROW)
def as_it_is(_: Any, value: Any) -> bytes:
    """What is generated as binary, or as anything else; a text stands for the bytes of its characters."""
    content = getattr(value, "data", value)
    return content if isinstance(content, bytes) else str(content).encode("latin-1", "replace")


def table() -> bytes:
    """A stream that fits."""
    batch = pa.record_batch({name: [value] * 2 for name, value in LOAN.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def even(columns: Any) -> Any:
    """Columns cut to the shortest; anything else as it is."""
    if not isinstance(columns, dict) or not columns or not all(isinstance(value, list) for value in columns.values()):
        return columns
    shortest = min(map(len, columns.values()))
    return {name: value[:shortest] for name, value in columns.items()}


def frame() -> dict[str, Any]:
    """A data frame, split."""
    return {"columns": list(LOAN), "data": [list(LOAN.values())]}


def tensors(rows: int) -> list[dict[str, Any]]:
    """One tensor for each required feature, of at least one row."""
    rows = max(rows, 1)
    return [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "shape": [rows],
            "data": [value] * rows,
        }
        for name, value in LOAN.items()
    ]
