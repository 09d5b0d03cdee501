"""``manifest.json``: the description of a bundle, and its checks.

The manifest lists every other entry with its size and SHA-256. A bundle whose entries differ from the list is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from modelbundle.errors import FormatError
from modelbundle.format.archive import digest
from modelbundle.format.decision import ARGMAX, Decision
from modelbundle.publishing.annotations import Band
from modelbundle.schema import LARGEST, Schema

FORMAT = "modelbundle/2"
FORMATS = ("modelbundle/1", FORMAT)  # that are read; in the first, each array is an entry
NAME = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Label = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Golden:
    """Synthetic rows and the scores that the publisher computed (log-odds where the scorer's link is logit)."""

    rows: tuple[tuple[float | str | None, ...], ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """A parsed manifest; ``data`` is the whole JSON object."""

    name: str
    title: str
    positive: str
    classes: tuple[Label, ...]
    schema: Schema
    scorer: Mapping[str, Any]
    runtime: Mapping[str, str]
    bands: tuple[Band, ...]
    golden: Golden
    data: Mapping[str, Any] = field(repr=False, compare=False)
    decision: Decision = ARGMAX

    def public(self) -> dict[str, Any]:
        """The manifest without its golden rows, as ``GET /model`` shows it."""
        return {key: value for key, value in self.data.items() if key != "golden"}


def dump(data: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no NaN (:class:`ValueError`), floats as the shortest text that gives the same bits."""
    return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def slug(file_name: str) -> str:
    """A name for the model in a file that has none of its own."""
    return re.sub(r"[^a-z0-9._-]+", "-", file_name.lower().rsplit(".", 1)[0])[:64].strip("-._") or "model"


def labels(classes: Iterable[Any]) -> list[Any]:
    """A classifier's classes as numbers and strings of Python."""
    return [label.item() if hasattr(label, "item") else label for label in classes]


def listing(entries: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """The ``files`` object of a manifest for the other entries."""
    return {name: {"bytes": len(content), "sha256": digest(content)} for name, content in sorted(entries.items())}


def parse(entries: Mapping[str, bytes]) -> Manifest:
    """The manifest of ``entries``. Raises :class:`FormatError` for a bad manifest or entries that it does not list."""
    raw = entries.get(NAME)
    if raw is None or len(raw) > MAX_MANIFEST_BYTES:
        raise FormatError(NAME, "missing or too large")
    data = loads(NAME, raw)
    if data.get("format") not in FORMATS:
        raise FormatError(NAME, f"format must be one of {', '.join(FORMATS)}")
    if data.get("files") != listing({name: content for name, content in entries.items() if name != NAME}):
        raise FormatError(NAME, "the files it lists are not the files in the bundle")
    schema = Schema.from_json(data.get("schema"))
    classes = data.get("classes")
    if not isinstance(classes, list) or not 2 <= len(classes) <= 1000:
        raise FormatError(NAME, "classes must list at least two labels")
    if not all(isinstance(label, (int, float, str)) for label in classes) or len(set(classes)) != len(classes):
        raise FormatError(NAME, "classes must be distinct numbers or strings")
    runtime = data.get("runtime")
    if not isinstance(runtime, dict) or not all(isinstance(v, str) for v in runtime.values()):
        raise FormatError(NAME, "runtime must map packages to versions")
    scorer = data.get("scorer")
    if not isinstance(scorer, dict) or not isinstance(scorer.get("kind"), str):
        raise FormatError(NAME, "scorer needs a kind")
    name = data.get("name")
    if not isinstance(name, str) or not _SLUG.fullmatch(name):
        raise FormatError(NAME, "name must be lower-case letters, digits, dots and dashes")
    return Manifest(
        name=name,
        title=_text(data, "title"),
        positive=_text(data, "positive"),
        classes=tuple(classes),
        schema=schema,
        scorer=scorer,
        runtime=runtime,
        bands=_bands(data.get("bands", [])),
        golden=_golden(data.get("golden"), schema),
        decision=_decision(data.get("decision"), len(classes), scorer["kind"]),
        data=data,
    )


def loads(where: str, raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``; raises :class:`FormatError` for other JSON, NaN, Infinity and deep nesting."""

    def refuse(_: str) -> float:
        raise ValueError("not a finite number")

    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise FormatError(where, "not valid JSON") from None
    if not isinstance(data, dict):
        raise FormatError(where, "not a JSON object")
    return data


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise FormatError(NAME, f"{key} must be a string")
    return value


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _bands(entries: object) -> tuple[Band, ...]:
    if not isinstance(entries, list) or len(entries) > 100:
        raise FormatError(NAME, "bands must be a list")
    bands = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str) or not _number(entry.get("upper")):
            raise FormatError(NAME, "a band needs a label and an upper probability")
        if not all(entry.get(key) is None or _number(entry[key]) for key in ("observed_rate", "share")):
            raise FormatError(NAME, "a band's observed_rate and share must be numbers")
        bands.append(Band(entry["label"], float(entry["upper"]), entry.get("observed_rate"), entry.get("share")))
    uppers = [band.upper for band in bands]
    if uppers and (uppers[-1] < 1.0 or any(a >= b for a, b in pairwise(uppers))):
        raise FormatError(NAME, "bands must rise and end at 1")
    return tuple(bands)


def _golden(entry: object, schema: Schema) -> Golden:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("rows"), list)
        or not isinstance(entry.get("scores"), list)
    ):
        raise FormatError(NAME, "golden needs rows and scores")
    rows, scores = entry["rows"], entry["scores"]
    if not 1 <= len(rows) <= 1000 or len(rows) != len(scores) or not all(map(_number, scores)):
        raise FormatError(NAME, "golden needs one score per row, for 1 to 1000 rows")
    return Golden(tuple(_row(row, schema) for row in rows), tuple(float(score) for score in scores))


def _decision(entry: object, classes: int, kind: str) -> Decision:
    decision = Decision.from_json(entry, classes)
    if decision.by_predict and kind != "pipeline":
        raise FormatError(NAME, "only a pipeline decides by predict")
    return decision


def _row(row: object, schema: Schema) -> tuple[float | str | None, ...]:
    if not isinstance(row, list) or len(row) != len(schema):
        raise FormatError(NAME, "a golden row must have one value per feature")
    values: list[float | str | None] = []
    for value, feature in zip(row, schema, strict=True):
        fits = _number(value) if feature.kind == "number" else isinstance(value, str)
        if value is not None and not fits:
            raise FormatError(NAME, f"a golden row's {feature.name} is not a {feature.kind}")
        values.append(float(value) if feature.kind == "number" and value is not None else value)
    return tuple(values)
