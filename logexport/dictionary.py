"""What the columns of an export mean: the data dictionary, which is written and from which the files' columns are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from modelbundle.errors import BundleError
from modelbundle.format import archive, manifest
from modelbundle.schema import Feature
from services.predictionlog import audit

TEXT, NUMBER, WHOLE, TIME = pa.string(), pa.float64(), pa.int64(), pa.timestamp("us", "UTC")
TYPES = {TEXT: "text", NUMBER: "number (64-bit floating point)", WHOLE: "whole number", TIME: "time"}
INPUT = "input_"  # before the name of a feature


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file. ``missing`` says what an empty field means; it is empty where every row has a value."""

    table: str
    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    missing: str = ""

    @property
    def field(self) -> pa.Field:
        """The column in Parquet, which carries its meaning and unit."""
        return pa.field(self.name, self.type, metadata={"meaning": self.meaning, "unit": self.unit})

    @property
    def words(self) -> dict[str, str]:
        """Its line of the dictionary."""
        return {
            "table": self.table,
            "column": self.name,
            "type": TYPES[self.type],
            "unit": self.unit,
            "meaning": self.meaning,
            "if empty": self.missing or "never empty",
        }


UTC = "ISO 8601 in UTC"
_NO_OUTCOME = "no outcome has been reported"
PREDICTIONS = (
    Column("predictions", "prediction_id", TEXT, "identifies the prediction"),
    Column("predictions", "time", TIME, "when it was answered", UTC),
    Column("predictions", "model_version", TEXT, "the model that answered: SHA-256 of its bundle", "hexadecimal"),
    Column("predictions", "generation", WHOLE, "the how-many-th model of this replica that was"),
    Column("predictions", "request_id", TEXT, "the request; its predictions share it"),
    Column("predictions", "key_name", TEXT, "the caller: the name of its API key", missing="it sent no key"),
    Column("predictions", "record_id", TEXT, "the caller's own id of the case", missing="the caller gave none"),
    Column("predictions", "probability", NUMBER, "what the model predicted for its last class", "0 to 1"),
    Column("predictions", "band", TEXT, "the band of the probability", missing="the model has no bands"),
    Column("predictions", "probabilities", TEXT, "the probability of each class, in the model's order", "JSON, 0 to 1"),
    Column("predictions", "input", TEXT, "the values that were scored, by feature, after validation", "JSON"),
    Column("predictions", "reasons", TEXT, "the reasons as they were told", "JSON"),
    Column("predictions", "warnings", TEXT, "what was unusual in the input, as it was told", "JSON"),
    Column("predictions", "outcome_name", TEXT, "the name of the outcome", missing=_NO_OUTCOME),
    Column("predictions", "outcome_value", TEXT, "what became of it, as last corrected", "JSON", _NO_OUTCOME),
    Column("predictions", "outcome_time", TIME, "when the outcome was reported", UTC, _NO_OUTCOME),
    Column("predictions", "outcome_key_name", TEXT, "who reported it: the name of the key", missing="none, or no key"),
)
CHALLENGES = (
    Column("challenges", "prediction_id", TEXT, "the prediction, of predictions, that was scored silently"),
    Column("challenges", "model_version", TEXT, "the challenger: SHA-256 of its bundle", "hexadecimal"),
    Column("challenges", "probability", NUMBER, "what the challenger predicted for its last class", "0 to 1"),
    Column("challenges", "time", TIME, "when it was scored", UTC),
)
EVENTS = (
    Column("events", "time", TIME, "when it happened", UTC),
    Column("events", "kind", TEXT, "what happened: switch, refusal, deployment, erasure and others"),
    Column("events", "detail", TEXT, "the facts; those of erasures and look-ups without the ids", "JSON"),
)


def features(kinds: Mapping[str, pa.DataType], versions: Iterable[str], places: Sequence[Path]) -> tuple[Column, ...]:
    """A column for each feature, in the words of the bundles that are kept; a later version's count."""
    known: dict[str, Feature] = {}
    for version in versions:
        try:
            content = audit.locate(version, places).read_bytes()
            known |= {feature.name: feature for feature in manifest.parse(archive.unpack(content)).schema.features}
        except (audit.NotFound, BundleError, OSError):
            continue
    return tuple(_feature(name, kind, known.get(name)) for name, kind in kinds.items())


def _feature(name: str, kind: pa.DataType, feature: Feature | None) -> Column:
    missing = "the value was missing, or the model has no such feature"
    if feature is None:
        meaning = f"the feature {name}; no bundle that describes it is kept"
        return Column("predictions", INPUT + name, kind, meaning, missing=missing)
    said = ": ".join(filter(None, (feature.title or name, feature.description)))
    return Column("predictions", INPUT + name, kind, f"feature: {said}", feature.unit, missing)
