"""The tensors of an Open Inference Protocol request, as columns by name."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelbundle.schema import Schema
from modelbundle.validation.validator import Invalid, Problem, unescape

NUMBERS = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
MOST_TENSORS = 1000


@dataclass(slots=True)
class Asked:
    """What a request asks: columns by name, the outputs it wants (none: all), and its own id."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    id: str | None = None
    positions: dict[str, int] = field(default_factory=dict)

    def place(self, pointer: str) -> str:
        """Where ``/name/row`` stands in what was sent."""
        name, _, row = pointer[1:].partition("/")
        position = self.positions.get(unescape(name))
        if position is None:
            return "/inputs"
        return f"/inputs/{position}/data/{row}" if row else f"/inputs/{position}"


def read(document: Any, binary: memoryview, schema: Schema, ids: bool, outputs: list[str]) -> Asked:
    """The columns of ``document``, with the tensors that stand in ``binary`` after it, in order.

    ``ids``: a tensor ``id`` may be among them. ``outputs``: the names that may be asked for. A null, or a NaN in a binary
    tensor, is a missing value. Raises :class:`Invalid`, with pointers into the request.
    """
    return Reader(schema, ids, binary).read(document, outputs)


class Reader:
    """Reads one request. Its methods raise :class:`Invalid` with pointers into the request."""

    def __init__(self, schema: Schema, ids: bool, binary: memoryview) -> None:
        self.schema = schema
        self.ids = ids
        self.rest = binary
        self.asked = Asked()

    def read(self, document: Any, outputs: list[str]) -> Asked:
        """All of it."""
        _require(isinstance(document, dict), "", "must be an object with inputs")
        for name in document:
            _require(name in ("id", "parameters", "inputs", "outputs"), f"/{name[:256]}", "unknown field")
        own = document.get("id")
        _require(
            own is None or (isinstance(own, str) and len(own) <= 256),
            "/id",
            "must be a string of at most 256 characters",
        )
        _require(isinstance(document.get("parameters", {}), dict), "/parameters", "must be an object")
        inputs = document.get("inputs")
        _require(isinstance(inputs, list) and 0 < len(inputs) <= MOST_TENSORS, "/inputs", "must be an array of tensors")
        self.asked.id = own
        self.asked.outputs = self._wanted(document.get("outputs", []), outputs)
        for position, tensor in enumerate(inputs):
            self._tensor(tensor, position)
        _require(not len(self.rest), "", "has bytes after the last binary tensor")
        return self.asked

    def _wanted(self, wanted: Any, known: list[str]) -> list[str]:
        _require(isinstance(wanted, list) and len(wanted) <= MOST_TENSORS, "/outputs", "must be an array of outputs")
        for i, output in enumerate(wanted):
            named = isinstance(output, dict) and output.get("name") in known
            _require(named, f"/outputs/{i}/name", f"must be one of {', '.join(known)}")
        return [output["name"] for output in wanted]

    def _tensor(self, tensor: Any, position: int) -> None:
        where = f"/inputs/{position}"
        _require(isinstance(tensor, dict), where, "must be an object: one tensor")
        for key in tensor:
            known = key in ("name", "shape", "datatype", "parameters", "data")
            _require(known, f"{where}/{key[:256]}", "unknown field")
        name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
        _require(isinstance(name, str), f"{where}/name", "must be the name of a feature")
        _require(name not in self.asked.columns, f"{where}/name", "stands there more than once")
        counts = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        _require(
            counts and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)),
            f"{where}/shape",
            "must be [n] or [n, 1]",
        )
        textual = self.ids and name == "id"
        if name in self.schema.index:
            textual = self.schema.features[self.schema.index[name]].kind == "category"
        fits = datatype == "BYTES" if textual else isinstance(datatype, str) and datatype in NUMBERS
        if name in self.schema.index or textual:
            _require(fits, f"{where}/datatype", "must be BYTES" if textual else "must be FP64 or another numeric type")
        parameters = tensor.get("parameters", {})
        _require(isinstance(parameters, dict), f"{where}/parameters", "must be an object")
        if "binary_data_size" in parameters:
            _require("data" not in tensor, f"{where}/data", "must not stand beside binary_data_size")
            values = self._binary(parameters["binary_data_size"], str(datatype), f"{where}/parameters/binary_data_size")
        else:
            values = _flat(tensor.get("data"), f"{where}/data")
        _require(len(values) == shape[0], where, f"has {len(values)} values where its shape says {shape[0]}")
        self.asked.columns[name] = values
        self.asked.positions[name] = position

    def _binary(self, size: Any, datatype: str, where: str) -> list[Any]:
        _require(type(size) is int and 0 <= size <= len(self.rest), where, "must be a number of bytes that were sent")
        raw, self.rest = self.rest[:size], self.rest[size:]
        if datatype in NUMBERS:
            kind = NUMBERS[datatype]
            _require(size % kind.itemsize == 0, where, f"must be a multiple of {kind.itemsize} for {datatype}")
            return [None if value != value else value for value in np.frombuffer(raw, kind).tolist()]
        texts = []
        while raw:
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
