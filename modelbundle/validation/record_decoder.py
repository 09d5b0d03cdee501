"""A list of flat JSON records as columns, by a decoder that knows the names and kinds of the schema.

It takes what is as regular as can be, and leaves everything else, valid or not, to the general way, which names the problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from modelbundle.schema import Schema

MOST_FEATURES = 100  # a record with its fields in another order takes a time that grows with their square
_REFERENCE = "_id"


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A document that is a list, and what parses it. ``most_keys`` gives a number that the keys in it do not exceed, or None."""

    body: bytes
    parse: Callable[[bytes], Any]
    most_keys: Callable[[bytes], int | None]


class RecordDecoder:
    """Decodes records that have every field of ``schema``, each of its kind, and no other but ``id``, which all have or none."""

    def __init__(self, schema: Schema, with_id: bool) -> None:
        fields = [(f"f{i}", _type(f.kind == "number", f.required)) for i, f in enumerate(schema)]
        names = {f"f{i}": f.name for i, f in enumerate(schema)}
        self._features = len(fields)
        self._decoders: list[Callable[[bytes], list[Any]]] = []
        if self._features > MOST_FEATURES:
            return
        with suppress(ValueError):  # msgspec takes no name that JSON writes with an escape
            self._decoders.append(_decoder(fields, names))
            if with_id:
                self._decoders.append(_decoder([*fields, (_REFERENCE, str | None)], {**names, _REFERENCE: "id"}))

    def columns(self, document: Unparsed) -> tuple[list[Sequence[Any]], Sequence[Any] | None] | None:
        """The values of n records by feature, and their ids if they have any; None where the document is not as regular."""
        for decode in self._decoders:  # a record that does not fit ends it, and most do not fit at the first
            try:
                records = decode(document.body)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            columns: list[Sequence[Any]] = list(zip(*map(msgspec.structs.astuple, records), strict=True))
            if not records or len(columns) * len(records) != document.most_keys(document.body):
                return None  # a key may be there twice
            return columns[: self._features], columns[self._features] if len(columns) > self._features else None
        return None


def _type(number: bool, required: bool) -> Any:
    own: Any = float if number else str
    return own if required else own | None


def _decoder(fields: Sequence[tuple[str, Any]], names: dict[str, str]) -> Callable[[bytes], list[Any]]:
    record = msgspec.defstruct("Record", fields, rename=names, forbid_unknown_fields=True, gc=False)
    decode: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[record]).decode  # type: ignore[valid-type]
    return decode
