"""The outcome of a model: what becomes known later, its name and its values. It is the label that the model was fitted on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbundle.errors import FormatError
from modelbundle.format.values import is_label

Label = int | float | str | bool
TAKEN = frozenset({"prediction_id", "prediction_ids", "id", "before", "status", "detail", "records", "outcomes"})
MAX_NAME = 64
WORDS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
SHOWN = 10  # values that a message lists


@dataclass(frozen=True, slots=True)
class Outcome:
    """The field ``name`` of an outcome, and for each class, in the order of the model's classes, the value that means it."""

    name: str
    values: tuple[Label, ...]

    @classmethod
    def of(cls, name: str, classes: Sequence[Label]) -> Outcome:
        """The outcome whose values are the classes; false and true for the classes 0 and 1."""
        return cls(name, (False, True) if tuple(classes) == (0, 1) else tuple(classes))

    @classmethod
    def from_json(cls, data: object, classes: Sequence[Label]) -> Outcome:
        """The outcome of a manifest, or :func:`default` where it has none; raises :class:`FormatError`."""
        if data is None:
            return default(classes)
        name, values = (data.get("name"), data.get("values")) if isinstance(data, Mapping) else (None, None)
        if not isinstance(name, str) or not usable(name):
            raise FormatError(
                "manifest.json", f"outcome needs a name of at most {MAX_NAME} characters that is not taken"
            )
        if not isinstance(values, list) or len(values) != len(classes):
            raise FormatError("manifest.json", "outcome needs one value per class")
        if not all(map(is_label, values)) or len(set(values)) != len(values):
            raise FormatError("manifest.json", "an outcome's values must be distinct numbers, texts, or true and false")
        return cls(name, tuple(values))

    def to_json(self) -> dict[str, Any]:
        """The ``outcome`` of a manifest."""
        return {"name": self.name, "values": list(self.values)}

    @property
    def truth(self) -> bool:
        """Whether the values are true and false."""
        return all(isinstance(value, bool) for value in self.values)

    @property
    def rule(self) -> str:
        """What a value must be, for messages."""
        if self.truth:
            return "must be true or false"
        shown = [json.dumps(value, ensure_ascii=False) for value in self.values[:SHOWN]]
        more = ", …" if len(self.values) > SHOWN else ""
        return f"must be one of {', '.join(shown)}{more}"

    def find(self, value: object) -> Label | None:
        """The value that equals this one of JSON; None where there is none. A number is no truth value, and no text."""
        return next((own for own in self.values if own == value and _kind(own) is _kind(value)), None)

    def read(self, text: str) -> Label | None:
        """The value that a cell of CSV has: ``1`` is true, ``2.0`` is 2. None where it has none."""
        if self.truth:
            return WORDS.get(text.lower())
        if (found := self.find(text)) is not None:
            return found
        try:
            return self.find(float(text))
        except ValueError:
            return None

    def label(self, name: str | None, value: str) -> int | None:
        """1 where an outcome of the log means the last class, 0 where another one. None for what is no outcome of this model."""
        found = self.find(json.loads(value)) if name in (None, self.name) else None
        return None if found is None else int(found == self.values[-1])


def _kind(value: object) -> type:
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def encoded(value: Label) -> str:
    """The JSON text of a value, as the log keeps it."""
    return json.dumps(value, ensure_ascii=False)


def usable(name: str) -> bool:
    """Whether an outcome can have this name: it is a field of JSON and a column of CSV beside those that are taken."""
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name.strip() == name and name not in TAKEN


def default(classes: Sequence[Label]) -> Outcome:
    """The outcome of a model that names none. Before bundles had names for it, every outcome was ``is_late``."""
    return UNNAMED if len(classes) == 2 else Outcome.of("outcome", classes)


UNNAMED = Outcome("is_late", (False, True))
