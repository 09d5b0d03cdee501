"""The outcomes of a dataset as a model sees them, older and newer ones, and how probabilities do on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modelbundle import statistics
from modelbundle.format.outcome import encoded
from modelbundle.model import Model
from modelbundle.scorers.base import AnyColumn, take
from modelbundle.validation.column_validator import misfits
from portfolio.scoring import column_of

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]  # the value, and its 95 % interval
FITTED = 2 / 3  # of the rows, the older ones
LEAST = 20  # outcomes of each kind, older and newer, below which nothing is fitted


class OutcomesError(Exception):
    """The outcomes cannot be learned from; the message says why."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How probabilities did on the newer outcomes. ``slope`` is that of Cox's line with its interval; 1 is perfect."""

    log_loss: float
    predicted_to_observed: float
    slope: Interval | None
    roc_auc: Interval
    predicted_to_observed_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The rows (n) that have an outcome and that the model accepts, oldest first.

    ``columns`` are in the schema's order; ``labels`` (n,) are 1 where the outcome means the last class; ``times`` are in ISO
    8601.
    """

    columns: Sequence[AnyColumn]
    labels: statistics.Labels
    times: Sequence[str]

    def halves(self) -> tuple[slice, slice]:
        """The older and the newer rows; raises :class:`OutcomesError` where either has too few of one kind."""
        split = int(FITTED * len(self.labels))
        older, newer = slice(split), slice(split, None)
        for name, part in (("older", older), ("newer", newer)):
            if min(self.labels[part].sum(), (1 - self.labels[part]).sum()) < LEAST:
                raise OutcomesError(f"the {name} outcomes have fewer than {LEAST} of one kind: wait for more")
        return older, newer


def read(model: Model, data: Path) -> Outcomes:
    """The outcomes in a dataset; raises :class:`OutcomesError` where it has none, or lacks the model's features."""
    table = pq.read_table(data)
    outcome, time = (name if name not in model.schema.index else f"logged_{name}" for name in ("outcome", "time"))
    if missing := [name for name in (outcome, time) if name not in table.column_names]:
        raise OutcomesError(f"the dataset has no column {', '.join(missing)}: was it logged with another model?")
    table = table.filter(pa.compute.is_valid(table[outcome])).sort_by(time)
    if missing := [f.name for f in model.schema if f.required and f.name not in table.column_names]:
        raise OutcomesError(f"the dataset has not the features {', '.join(missing)}")
    batch = table.combine_chunks().to_batches()
    if not batch:
        raise OutcomesError("the dataset has no outcomes")
    columns: list[AnyColumn] = [column_of(batch[0], feature, False)[0] for feature in model.schema]
    bad = np.zeros(len(table), dtype=bool)
    for feature, column in zip(model.schema, columns, strict=True):
        if (wrong := misfits(feature, column)) is not None:
            bad |= wrong
    own = model.manifest.outcome
    found = [own.label(None, encoded(value)) for value in table[outcome].to_pylist()]
    bad |= np.array([label is None for label in found])
    if bad.all():
        raise OutcomesError(f"no row that the model accepts has an outcome of it: {own.name} {own.rule}")
    kept = np.flatnonzero(~bad)
    labels = np.array([found[k] for k in kept], dtype=np.int64)
    times = [moment.isoformat() for moment in table[time].take(pa.array(kept)).to_pylist()]
    return Outcomes([take(column, kept) for column in columns], labels, times)


def judge(labels: statistics.Labels, probabilities: Floats) -> Judgement:
    """How probabilities (n,) do on labels (n,)."""
    line = statistics.calibration_line(labels, probabilities)
    loss = -likelihood(labels, statistics.log_odds(probabilities)) / len(labels)
    ratio = statistics.predicted_to_observed(labels, probabilities)
    area = statistics.roc_auc(labels, probabilities)
    return Judgement(
        loss,
        ratio.value,
        None if line is None else (line[1].value, line[1].low, line[1].high),
        (area.value, area.low, area.high),
        (ratio.low, ratio.high),
    )


def likelihood(labels: statistics.Labels, log_odds: Floats) -> float:
    """The log-likelihood of labels (n,) given log-odds (n,)."""
    return float(-np.logaddexp(0.0, np.where(labels == 1, -log_odds, log_odds)).sum())
