"""Samples of the rows: of one hour, and of several hours together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.monitoring.log_reader.model_versions import ModelVersion

Floats = NDArray[np.float64]
MOST_STRANGERS = 50  # values that training never saw, per feature and hour


class SampledRow(NamedTuple):
    """A prediction of a sample. ``drawn`` are the random digits of its id; ``input`` is JSON."""

    drawn: str
    input: str
    probability: float


@dataclass(frozen=True)
class Sample:
    """``sampled`` of one version's ``rows`` in one hour: per feature counts by bin, strange values, sums of contributions.

    ``contributions`` has the shape (features,); None where the scorer has no exact ones.
    """

    hour: int
    rows: int
    sampled: int
    probabilities: Floats
    score: Floats
    bins: list[Floats]
    strangers: list[Counter[str]]
    contributions: Floats | None

    @classmethod
    def of(cls, known: ModelVersion, hour: int, rows: int, found: Sequence[SampledRow]) -> Sample:
        """From the rows of the sample."""
        inputs = [row.input for row in found]
        probabilities = np.array([row.probability for row in found], dtype=np.float64)
        columns = known.columns(inputs)
        strangers: list[Counter[str]] = []
        for feature, bins, column in zip(known.schema, known.bins, columns, strict=True):
            strange: Counter[str] = Counter()
            if feature.kind == "category":
                found = bins.indices(column) == bins.strange[0]
                strange.update(str(column[i]) for i in np.flatnonzero(found))
            strangers.append(Counter(dict(strange.most_common(MOST_STRANGERS))))
        sums = known.scorer.contributions_columns(columns).sum(axis=0) if known.scorer and len(inputs) else None
        counts = [bins.count(column) for bins, column in zip(known.bins, columns, strict=True)]
        return cls(hour, rows, len(inputs), probabilities, known.score.count(probabilities), counts, strangers, sums)


def effective_rows(weights: Floats, rows: Floats) -> float:
    """How many equally weighted rows are worth as much as ``rows[h]`` rows of the weight ``weights[h]`` (Kish 1965)."""
    return float((weights * rows).sum() ** 2 / (weights**2 * rows).sum())


@dataclass(frozen=True)
class PooledSample:
    """Hours taken together, each with the weight of all its rows.

    ``effective`` is how many rows of a simple random sample tell as much; ``bins`` and ``score`` are shares.
    """

    rows: int
    sampled: int
    effective: float
    probabilities: Floats
    weights: Floats
    score: Floats
    bins: list[Floats]
    strangers: list[dict[str, float]]
    contributions: Floats | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> PooledSample | None:
        """Pool the samples; None where they have no rows."""
        samples = [sample for sample in samples if sample.sampled]
        if not samples:
            return None
        weights = np.array([sample.rows / sample.sampled for sample in samples])
        sampled = np.array([sample.sampled for sample in samples], dtype=np.float64)
        total = float((weights * sampled).sum())

        def share(parts: Iterable[Floats]) -> Floats:
            return np.asarray(sum(w * part for w, part in zip(weights, parts, strict=True)) / total, dtype=np.float64)

        features = range(len(samples[0].bins))
        strangers: list[dict[str, float]] = []
        for i in features:
            seen: Counter[str] = Counter()
            for sample in samples:
                seen.update(sample.strangers[i])
            strangers.append({value: count / sampled.sum() for value, count in seen.items()})
        sums = [sample.contributions for sample in samples]
        return cls(
            rows=sum(sample.rows for sample in samples),
            sampled=int(sampled.sum()),
            effective=effective_rows(weights, sampled),
            probabilities=np.concatenate([sample.probabilities for sample in samples]),
            weights=np.repeat(weights, sampled.astype(int)),
            score=share(sample.score for sample in samples),
            bins=[share(sample.bins[i] for sample in samples) for i in features],
            strangers=strangers,
            contributions=None
            if any(part is None for part in sums)
            else share(part for part in sums if part is not None),
        )
