"""The tensors of an Open Inference Protocol request, as columns by name."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from modelbundle.schema import Schema
from modelbundle.validation.problems import Invalid, Problem, TooManyRows, unescape

NUMBERS = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
MOST_TENSORS = 1000


class Tensors:
    """The content of one request: the columns by name, the outputs that it wants (none: all), and its own id.

    ``binary`` has the tensors that stand after the JSON document, in order. Reading it raises :class:`TooManyRows` before the
    values of a tensor with more than ``max_rows`` are made.
    """

    def __init__(self, binary: memoryview, max_rows: int = 1 << 62) -> None:
        self.max_rows = max_rows
        self.columns: dict[str, list[Any]] = {}
        self.outputs: list[str] = []
        self.id: str | None = None
        self._rest = binary
        self._positions: dict[str, int] = {}
        self._complete = False

    def place(self, pointer: str) -> str:
        """Where the pointer of a problem is in what was sent: ``/name/row`` stands for a value of a column.

        The pointers of :meth:`read` itself already are places in what was sent.
        """
        if not self._complete:
            return pointer
        name, _, row = pointer[1:].partition("/")
        position = self._positions.get(unescape(name))
        if position is None:
            return "/inputs"
        return f"/inputs/{position}/data/{row}" if row else f"/inputs/{position}"

    def read(self, document: Any, schema: Schema, ids: bool, outputs: list[str]) -> None:
        """Read the columns of ``document``; raises :class:`Invalid`, with pointers into the request.

        ``ids``: a tensor ``id`` may be among them. ``outputs``: the names that may be asked for. A null, or a NaN in a binary
        tensor, is a missing value.
        """
        _require(isinstance(document, dict), "", "must be an object with inputs")
        for name in document:
            _require(name in ("id", "parameters", "inputs", "outputs"), f"/{name[:256]}", "unknown field")
        own = document.get("id")
        _require(
            own is None or (isinstance(own, str) and len(own) <= 256),
            "/id",
            "must be a string of at most 256 characters",
        )
        _require(isinstance(document.get("parameters"), (dict, type(None))), "/parameters", "must be an object")
        inputs = document.get("inputs")
        most = MOST_TENSORS + len(schema)
        _require(isinstance(inputs, list) and 0 < len(inputs) <= most, "/inputs", "must be an array of tensors")
        self.id = own
        self.outputs = self._wanted([] if document.get("outputs") is None else document["outputs"], outputs)
        for position, tensor in enumerate(inputs):
            self._tensor(tensor, position, schema, ids)
        _require(not len(self._rest), "", "has bytes after the last binary tensor")
        self._complete = True

    def _wanted(self, wanted: Any, known: list[str]) -> list[str]:
        _require(isinstance(wanted, list) and len(wanted) <= MOST_TENSORS, "/outputs", "must be an array of outputs")
        for i, output in enumerate(wanted):
            named = isinstance(output, dict) and output.get("name") in known
            _require(named, f"/outputs/{i}/name", f"must be one of {', '.join(known)}")
        return [output["name"] for output in wanted]

    def _tensor(self, tensor: Any, position: int, schema: Schema, ids: bool) -> None:
        where = f"/inputs/{position}"
        _require(isinstance(tensor, dict), where, "must be an object: one tensor")
        for key in tensor:
            known = key in ("name", "shape", "datatype", "parameters", "data")
            _require(known, f"{where}/{key[:256]}", "unknown field")
        name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
        _require(isinstance(name, str), f"{where}/name", "must be the name of a feature")
        _require(name not in self.columns, f"{where}/name", "occurs more than once")
        counts = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        _require(
            counts and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)),
            f"{where}/shape",
            "must be [n] or [n, 1]",
        )
        if shape[0] > self.max_rows:
            raise TooManyRows(shape[0], self.max_rows)
        textual = ids and name == "id"
        if name in schema.index:
            textual = schema.features[schema.index[name]].kind == "category"
        fits = datatype == "BYTES" if textual else isinstance(datatype, str) and datatype in NUMBERS
        if name in schema.index or textual:
            _require(fits, f"{where}/datatype", "must be BYTES" if textual else "must be FP64 or another numeric type")
        parameters = {} if tensor.get("parameters") is None else tensor["parameters"]
        _require(isinstance(parameters, dict), f"{where}/parameters", "must be an object")
        if "binary_data_size" in parameters:
            _require("data" not in tensor, f"{where}/data", "must not stand beside binary_data_size")
            size, place = parameters["binary_data_size"], f"{where}/parameters/binary_data_size"
            values = self._binary(size, str(datatype), place, shape[0])
        else:
            values = _flat(tensor.get("data"), f"{where}/data")
        _require(len(values) == shape[0], where, f"has {len(values)} values where its shape says {shape[0]}")
        self.columns[name] = values
        self._positions[name] = position

    def _binary(self, size: Any, datatype: str, where: str, rows: int) -> list[Any]:
        _require(type(size) is int and 0 <= size <= len(self._rest), where, "must be a number of bytes that were sent")
        raw, self._rest = self._rest[:size], self._rest[size:]
        if datatype in NUMBERS:
            kind = NUMBERS[datatype]
            _require(size % kind.itemsize == 0, where, f"must be a multiple of {kind.itemsize} for {datatype}")
            _require(size <= rows * kind.itemsize, where, "has more values than its shape says")
            return [None if value != value else value for value in np.frombuffer(raw, kind).tolist()]
        texts: list[Any] = []
        while raw:
            _require(len(texts) < rows, where, "has more values than its shape says")
            _require(len(raw) >= 4, where, "ends within an element")
            [length] = struct.unpack("<I", raw[:4])
            _require(length <= len(raw) - 4, where, "ends within an element")
            try:
                texts.append(bytes(raw[4 : 4 + length]).decode())
            except UnicodeDecodeError:
                raise Invalid([Problem(where, "has text that is not UTF-8")]) from None
            raw = raw[4 + length :]
        return texts


def _flat(data: Any, where: str) -> list[Any]:
    _require(isinstance(data, list), where, "must be an array")
    values: list[Any] = data
    if any(type(value) is list for value in values):
        _require(all(type(value) is list and len(value) == 1 for value in values), where, "must be as its shape says")
        return [value[0] for value in values]
    return values


def _require(fits: bool, where: str, detail: str) -> None:
    if not fits:
        raise Invalid([Problem(where, detail)])
