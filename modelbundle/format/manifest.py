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
from modelbundle.fairness import KEY, Fairness
from modelbundle.format.archive import digest
from modelbundle.format.decision import ARGMAX, Decision
from modelbundle.format.outcome import UNNAMED, Label, Outcome
from modelbundle.format.values import (
    MOST,
    MOST_FACTS,
    TITLE,
    distinct,
    facts,
    is_count,
    is_label,
    is_number,
    loads,
    number,
    optional,
    text,
)
from modelbundle.publishing.annotations import Band
from modelbundle.schema import LARGEST, Schema

FORMAT = "modelbundle/2"
FORMATS = ("modelbundle/1", FORMAT)  # that are read; in the first, each array is an entry
NAME = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
SHARES = frozenset({"roc_auc", "average_precision", "ks", "brier", "expected_calibration_error"})  # from 0 to 1
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


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
    outcome: Outcome = UNNAMED
    fairness: Fairness | None = None

    def sha256(self, entry: str) -> str:
        """The SHA-256 that is listed for another entry; empty for one that is not listed."""
        files = self.data.get("files")
        listed = files.get(entry) if isinstance(files, dict) else None
        return str(listed.get("sha256", "")) if isinstance(listed, dict) else ""

    def public(self) -> dict[str, Any]:
        """The manifest without its golden rows, as ``GET /model`` shows it; with the outcome, also where none is named."""
        shown = {key: value for key, value in self.data.items() if key != "golden"}
        return {**shown, "outcome": self.outcome.to_json()}


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


def parse(entries: Mapping[str, bytes], apart: Mapping[str, int] | None = None) -> Manifest:
    """The manifest of ``entries``. Raises :class:`FormatError` for a bad manifest or entries that it does not list.

    ``apart`` has the sizes in bytes of entries that are not read yet. The caller compares them with :meth:`Manifest.sha256`.
    """
    about = read(entries.get(NAME))
    found = listing({name: content for name, content in entries.items() if name != NAME})
    for name, size in (apart or {}).items():
        found[name] = {"bytes": size, "sha256": about.sha256(name)}
    if about.data.get("files") != found:
        raise FormatError(NAME, "the files it lists are not the files in the bundle")
    return about


def read(raw: bytes | None) -> Manifest:
    """The manifest in ``raw``, which is not compared with the other entries; raises :class:`FormatError`."""
    if raw is None or len(raw) > MAX_MANIFEST_BYTES:
        raise FormatError(NAME, "missing or too large")
    data = loads(NAME, raw)
    if data.get("format") not in FORMATS:
        raise FormatError(NAME, f"format must be one of {', '.join(FORMATS)}")
    _freely_filled(data)
    schema = Schema.from_json(data.get("schema"))
    classes = data.get("classes")
    if not isinstance(classes, list) or not 2 <= len(classes) <= 1000:
        raise FormatError(NAME, "classes must list at least two labels")
    if not all(map(is_label, classes)) or len(set(classes)) != len(classes):
        raise FormatError(NAME, "classes must be distinct numbers or strings")
    scorer = _scorer(data.get("scorer"))
    name = data.get("name")
    if not isinstance(name, str) or not _SLUG.fullmatch(name):
        raise FormatError(NAME, "name must be lower-case letters, digits, dots and dashes")
    return Manifest(
        name=name,
        title=text(NAME, "title", data.get("title", ""), TITLE),
        positive=text(NAME, "positive", data.get("positive", ""), TITLE),
        classes=tuple(classes),
        schema=schema,
        scorer=scorer,
        runtime=_runtime(data.get("runtime")),
        bands=_bands(data.get("bands", [])),
        golden=_golden(data.get("golden"), schema),
        outcome=Outcome.from_json(data.get("outcome"), classes),
        decision=_decision(data.get("decision"), len(classes), scorer["kind"]),
        fairness=_fairness(data.get(KEY), schema),
        data=data,
    )


def _runtime(entry: object) -> Mapping[str, str]:
    if not isinstance(entry, dict) or len(entry) > MOST_FACTS:
        raise FormatError(NAME, "runtime must map packages to versions")
    return {text(NAME, "a package", package, TITLE): text(NAME, "a version", v, TITLE) for package, v in entry.items()}


def _scorer(entry: object) -> Mapping[str, Any]:
    """The ``scorer`` object, with what was proven of it and which kinds were refused."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        raise FormatError(NAME, "scorer needs a kind")
    facts(NAME, "scorer", entry)
    proof, refused = entry.get("proof", {}), entry.get("refused", [])
    if not isinstance(proof, dict) or not all(is_count(proof.get(key, 0)) for key in ("rows", "adversarial")):
        raise FormatError(NAME, "scorer.proof must have numbers of rows")
    if not is_number(proof.get("max_difference", 0.0), 0.0, 1.0):
        raise FormatError(NAME, "scorer.proof.max_difference must be a difference of probabilities")
    if not isinstance(refused, list) or not all(isinstance(other, dict) for other in refused):
        raise FormatError(NAME, "scorer.refused must list kinds and reasons")
    return entry


def _freely_filled(data: Mapping[str, Any]) -> None:
    """Check what an author, or whoever retrains a model, says of it in words and numbers of their own."""
    for name in ("training", "metrics", "lineage"):
        facts(NAME, name, data.get(name, {}))
    if not is_count(data.get("training", {}).get("rows", 0)):
        raise FormatError(NAME, "training.rows must be a number of rows")
    optional(NAME, "baseline", data.get("baseline"))
    _metrics("metrics", data.get("metrics", {}))


def _metrics(where: str, metrics: Mapping[str, Any]) -> None:
    """Check the figures among the facts: a number, or an object with ``value`` and the ends of its interval."""
    for name, entry in metrics.items():
        group = isinstance(entry, dict) and "value" not in entry
        if group:
            _metrics(f"{where}.{name}", entry)
        elif isinstance(entry, dict) or (name in SHARES and isinstance(entry, (int, float))):
            found = entry if isinstance(entry, dict) else {"value": entry}
            _figure(f"{where}.{name}", found, (0.0, 1.0) if name in SHARES else (-MOST, MOST))


def _figure(name: str, entry: Mapping[str, Any], limits: tuple[float, float]) -> None:
    number(NAME, name, entry["value"], *limits)
    low, high = (optional(NAME, f"{name}.{end}", entry.get(end), *limits) for end in ("low", "high"))
    if low is not None and high is not None and low > high:
        raise FormatError(NAME, f"{name} has an interval that ends before it begins")


def _bands(entries: object) -> tuple[Band, ...]:
    if not isinstance(entries, list) or len(entries) > 100:
        raise FormatError(NAME, "bands must be a list")
    bands = []
    for entry in entries:
        if not isinstance(entry, dict) or not entry.get("label") or not is_number(entry.get("upper"), 0.0, 1.0):
            raise FormatError(NAME, "a band needs a label and an upper probability")
        label = text(NAME, "the label of a band", entry["label"], TITLE)
        rate, share = (
            optional(NAME, f"{key} of a band", entry.get(key), 0.0, 1.0) for key in ("observed_rate", "share")
        )
        bands.append(Band(label, float(entry["upper"]), rate, share))
    uppers = [band.upper for band in bands]
    if uppers and (uppers[-1] != 1.0 or any(a >= b for a, b in pairwise(uppers))):
        raise FormatError(NAME, "bands must rise and end at 1")
    distinct(NAME, "the labels of bands", (band.label for band in bands))
    return tuple(bands)


def _golden(entry: object, schema: Schema) -> Golden:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("rows"), list)
        or not isinstance(entry.get("scores"), list)
    ):
        raise FormatError(NAME, "golden needs rows and scores")
    rows, scores = entry["rows"], entry["scores"]
    if not 1 <= len(rows) <= 1000 or len(rows) != len(scores) or not all(map(is_number, scores)):
        raise FormatError(NAME, "golden needs one score per row, for 1 to 1000 rows")
    return Golden(tuple(_row(row, schema) for row in rows), tuple(float(score) for score in scores))


def _decision(entry: object, classes: int, kind: str) -> Decision:
    decision = Decision.from_json(entry, classes)
    if decision.by_predict and kind != "pipeline":
        raise FormatError(NAME, "only a pipeline decides by predict")
    return decision


def _fairness(entry: object, schema: Schema) -> Fairness | None:
    if entry is None:
        return None
    found = Fairness.from_json(entry, schema.names)
    if found != found.published():
        raise FormatError(KEY, "names a group that is so rare that it could identify a person")
    return found


def _row(row: object, schema: Schema) -> tuple[float | str | None, ...]:
    if not isinstance(row, list) or len(row) != len(schema):
        raise FormatError(NAME, "a golden row must have one value per feature")
    values: list[float | str | None] = []
    for value, feature in zip(row, schema, strict=True):
        fits = is_number(value, -LARGEST, LARGEST) if feature.kind == "number" else isinstance(value, str)
        if not (fits or (value is None and not feature.required)):
            raise FormatError(NAME, f"a golden row's {feature.name} is not a {feature.kind}")
        values.append(float(value) if feature.kind == "number" and value is not None else value)
    return tuple(values)
