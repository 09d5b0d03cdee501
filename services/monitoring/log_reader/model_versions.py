"""The models of the log: the parts of each version's bundle that monitoring needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelbundle.errors import BundleError
from modelbundle.format import archive, bundle, manifest, reference
from modelbundle.format.manifest import Manifest
from modelbundle.format.outcome import UNNAMED, Outcome
from modelbundle.schema import Schema
from modelbundle.scorers.base import Column, Scorer
from services.monitoring.analysis.bins import Bins, CategoryBins, NumberBins, ScoreBins


@dataclass(frozen=True)
class ModelVersion:
    """One version's bundle. ``bins`` are in the schema's order; ``scorer`` is None where it has no exact contributions."""

    manifest: Manifest
    bins: tuple[Bins, ...]
    score: ScoreBins
    scorer: Scorer | None

    @property
    def schema(self) -> Schema:
        """The model's features."""
        return self.manifest.schema

    def columns(self, inputs: Sequence[bytes | str]) -> list[Column]:
        """Logged inputs (JSON objects) as one column per feature: float64 with NaN for missing, or a list of str or None."""
        records = [msgspec.json.decode(raw) for raw in inputs]
        return [
            np.array([record.get(f.name) for record in records], dtype=np.float64)
            if f.kind == "number"
            else [record.get(f.name) for record in records]
            for f in self.schema
        ]

    def reference_rate(self) -> float | None:
        """The rate in training, from the shares and rates of the bands; None where the bundle has none."""
        bands = self.manifest.bands
        if not bands or any(band.share is None or band.observed_rate is None for band in bands):
            return None
        return sum(band.share * band.observed_rate for band in bands if band.share and band.observed_rate)


class UnknownVersion(LookupError):
    """A version that cannot be compared with training; the message says why."""


class ModelVersions:
    """Finds bundles by their version in directories, and remembers them, and the reasons why a bundle cannot be used."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self._known: dict[str, ModelVersion] = {}
        self._unusable: dict[str, str] = {}
        self._digests: dict[tuple[str, int, int], str] = {}

    def get(self, version: str) -> ModelVersion:
        """The bundle of a version; raises :class:`UnknownVersion`."""
        if version in self._unusable:
            raise UnknownVersion(self._unusable[version])
        if version not in self._known:
            path = self._locate(version)
            try:
                self._known[version] = read(path, version)
            except BundleError as error:
                self._unusable[version] = f"the model's file cannot be compared with: {error}"
                raise UnknownVersion(self._unusable[version]) from None
            except OSError:
                raise UnknownVersion("the model's file cannot be read") from None
        return self._known[version]

    def outcome(self, version: str) -> Outcome:
        """The outcome that a version names; where its bundle cannot be used, that of a bundle which names none."""
        try:
            return self.get(version).manifest.outcome
        except UnknownVersion:
            return UNNAMED

    def _locate(self, version: str) -> Path:
        for place in self.places:
            if (place / version).is_file():
                return place / version
        for place in self.places:
            for path in sorted(place.iterdir() if place.is_dir() else ()):
                if self._digest(path) == version:
                    return path
        raise UnknownVersion("the model's file is not kept here, so there is nothing to compare with")

    def _digest(self, path: Path) -> str:
        try:
            facts = path.stat()
            key = (str(path), facts.st_mtime_ns, facts.st_size)
            if key not in self._digests and path.is_file():
                self._digests[key] = archive.digest(path.read_bytes())
            return self._digests.get(key, "")
        except OSError:
            return ""


def published_roc_auc(metrics: Mapping[str, Any]) -> float | None:
    """The ROC-AUC that a model was published with: ``roc_auc`` in the manifest's metrics, or in the first group that has it."""
    for group in (metrics, *(value for value in metrics.values() if isinstance(value, dict))):
        found = group.get("roc_auc")
        found = found.get("value") if isinstance(found, dict) else found
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return float(found)
    return None


def read(path: Path, version: str) -> ModelVersion:
    """The bundle at ``path``, without unpickling anything. Raises :class:`BundleError` or :class:`OSError`."""
    data = path.read_bytes()
    archive.verify_digest(data, version)
    entries = archive.unpack(data)
    about = manifest.parse(entries)
    described = reference.parse(entries.get(bundle.REFERENCE, b""), about.schema)
    bins: list[Bins] = []
    for feature in about.schema:
        entry = described["features"].get(feature.name)
        if entry is None:
            entry = {"edges": [], "counts": [0], "categories": {}, "other": 0, "missing": 0}
        bins.append((NumberBins if feature.kind == "number" else CategoryBins).of(feature, entry))
    scorer = None
    if about.scorer["kind"] != "pipeline":
        made = bundle.load(data, version, allow_pickle=False).scorer
        scorer = made if made.has_contributions and made.link == "logit" else None
    return ModelVersion(about, tuple(bins), ScoreBins.of(described["probability"]), scorer)
