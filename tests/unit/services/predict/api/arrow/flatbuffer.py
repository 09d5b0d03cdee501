"""Writes tables of Flatbuffers by hand, so that they can share parts: what no writer of Arrow does."""

from __future__ import annotations

import struct

from services.predict.api.arrow.scan import CONTINUATION

Slots = dict[int, tuple[str, int] | str]


class Layout:
    """Tables, vectors and texts, one after the other; each may refer, by its label, to what comes later."""

    def __init__(self, root: str) -> None:
        self.data = bytearray(4)
        self.refers = [(0, root)]
        self.labels: dict[str, int] = {}

    def table(self, label: str, slots: Slots) -> None:
        """A table: a slot has a format of ``struct`` with a number, or the label that it refers to."""
        offsets = [0] * (max(slots, default=-1) + 1)
        for k, slot in enumerate(slots):
            offsets[slot] = 8 + 8 * k
        vtable = struct.pack(f"<{2 + len(offsets)}H", 4 + 2 * len(offsets), 8 + 8 * len(slots), *offsets)
        self._align(8)
        begin = len(self.data)
        self.data += vtable
        self._align(8)
        self.labels[label] = place = len(self.data)
        self.data += struct.pack("<ii", place - begin, 0)
        for value in slots.values():
            if isinstance(value, str):
                self.refers.append((len(self.data), value))
                self.data += bytes(8)
            else:
                self.data += struct.pack(*value).ljust(8, b"\0")

    def vector(self, label: str, items: list[str]) -> None:
        """A vector of tables."""
        self._align(4)
        self.labels[label] = len(self.data)
        self.data += struct.pack("<I", len(items))
        for item in items:
            self.refers.append((len(self.data), item))
            self.data += bytes(4)

    def text(self, label: str, text: bytes) -> None:
        """A text, which ends with a zero."""
        self._align(4)
        self.labels[label] = len(self.data)
        self.data += struct.pack("<I", len(text)) + text + b"\0"

    def message(self) -> bytes:
        """All of it, as the only message of a stream."""
        self._align(8)
        for place, label in self.refers:
            self.data[place : place + 4] = struct.pack("<I", self.labels[label] - place)
        return CONTINUATION + struct.pack("<i", len(self.data)) + bytes(self.data) + CONTINUATION + bytes(4)

    def _align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)


def schema(
    fields: list[str], *, children: int = 0, pairs: int = 0, name: bytes = b"amount", value: bytes = b"v"
) -> bytes:
    """A stream with a schema alone, whose ``fields`` are all the same one, an integer.

    The field may have ``children`` (each like its parent, to a depth of three) and ``pairs`` of metadata, all of them one pair.
    """
    layout = Layout("message")
    layout.table("message", {0: ("<h", 4), 1: ("<b", 1), 2: "schema"})
    layout.table("schema", {1: "fields", 2: "pairs"})
    layout.vector("fields", ["field 0" if field == "field" else field for field in fields])
    for depth in range(3):
        own: Slots = {0: "name", 2: ("<b", 2), 3: "int"}
        if children and depth < 2:
            own[5] = f"children {depth}"
        layout.table(f"field {depth}", own)
        if children and depth < 2:
            layout.vector(f"children {depth}", [f"field {depth + 1}"] * children)
    layout.table("int", {0: ("<i", 64), 1: ("<b", 1)})
    layout.vector("pairs", ["pair"] * pairs)
    layout.table("pair", {0: "key", 1: "value"})
    layout.text("key", b"k")
    layout.text("value", value)
    layout.text("name", name)
    return layout.message()
