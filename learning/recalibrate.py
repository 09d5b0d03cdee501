"""``make recalibrate``: the same model with its log-odds moved along a line, so that it expects as many as come.

The line is fitted on the older outcomes and judged on the newer ones. It is inside the compiled scorer: reasons stay
exact, and contributions still add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from learning import dataset
from modelbundle import golden, statistics
from modelbundle.durable import write
from modelbundle.format import archive, arrays, bundle, manifest
from modelbundle.format.statement import read_private, sign_file
from modelbundle.model import Model
from modelbundle.publishing.compiling.combining import on_a_line
from modelbundle.scorers.base import AnyColumn, Scorer, take
from modelbundle.scorers.combined import ODDS, Combination, CombinedScorer
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.scorers.probability import expit_array
from modelbundle.validation.column_validator import misfits
from portfolio.scoring import column_of

Floats = NDArray[np.float64]
FITTED = 2 / 3  # of the rows, the older ones
LEAST = 20  # outcomes of each kind, older and newer, below which nothing is fitted
CHI_SQUARE = 3.841458820694124  # its 95 % point for one degree of freedom


class RecalibrationError(Exception):
    """The model is not recalibrated; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the log-odds become: ``factor * log-odds + shift``."""

    factor: float
    shift: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """How probabilities did on the newer outcomes. ``slope`` is that of Cox's line with its interval; 1 is perfect."""

    log_loss: float
    predicted_to_observed: float
    slope: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The new bundle, the line, and both judgements on the newer outcomes."""

    path: Path
    sha256: str
    line: Line
    before: Judgement
    after: Judgement
    lineage: dict[str, Any]


def recalibrate(parent: Path, data: Path, out: Path, *, key: Path | None = None) -> Recalibrated:
    """Write ``parent``, recalibrated on the dataset ``data``, as the bundle ``out``.

    The slope is fitted too where it makes the older outcomes more likely than chance would (a likelihood ratio test at 5 %);
    otherwise the intercept alone. Raises :class:`RecalibrationError`, also where the newer outcomes are not more likely than
    before; :class:`BundleError`, :class:`DatasetError` and :class:`OSError`. ``out`` then stays as it was.
    """
    if key is not None:
        read_private(key)
    content = parent.read_bytes()
    model = bundle.load(content, file_name=parent.name)
    if len(model.classes) != 2 or isinstance(model.scorer, PipelineScorer):
        raise RecalibrationError("only compiled models of two classes can be recalibrated")
    about = dataset.describe(data)
    log_odds, labels, times = _outcomes(model, data)
    split = int(FITTED * len(labels))
    older, newer = slice(split), slice(split, None)
    for name, part in (("older", older), ("newer", newer)):
        if min(labels[part].sum(), (1 - labels[part]).sum()) < LEAST:
            raise RecalibrationError(f"the {name} outcomes have fewer than {LEAST} of one kind: wait for more")
    line = fit(labels[older], log_odds[older], slope=model.scorer.link == "logit")
    before = _judge(labels[newer], expit_array(log_odds[newer]))
    after = _judge(labels[newer], expit_array(line.factor * log_odds[newer] + line.shift))
    if not after.log_loss < before.log_loss:
        raise RecalibrationError(
            f"it does not help on the newer outcomes: log loss {after.log_loss:.5f}, before {before.log_loss:.5f}"
        )
    lineage = {
        "how": "recalibrated",
        "parent": model.version,
        **asdict(line),
        "dataset": about["fingerprint"],
        "query": about["query"],
        "rows": {"fitted": split, "judged": len(labels) - split},
        "since": times[0],
        "until": times[-1],
        "before": asdict(before),
        "after": asdict(after),
    }
    made = _bundle(content, model, line, lineage)
    golden.check(bundle.load(made))
    write(out, made)
    if key is not None:
        sign_file(out, key)
    return Recalibrated(out, archive.digest(made), line, before, after, lineage)


def fit(labels: statistics.Labels, log_odds: Floats, *, slope: bool) -> Line:
    """The line that makes the labels (n,) most likely, given log-odds (n,); with a ``slope`` only where the test says so."""
    shift = _intercept(labels, log_odds)
    line = statistics.calibration_line(labels, expit_array(log_odds)) if slope else None
    if line is None or line[1].value <= 0:
        return Line(1.0, shift)
    both = Line(line[1].value, line[0].value)
    gain = _likelihood(labels, both.factor * log_odds + both.shift) - _likelihood(labels, log_odds + shift)
    return both if 2 * gain > CHI_SQUARE else Line(1.0, shift)


def _intercept(labels: statistics.Labels, log_odds: Floats) -> float:
    """Newton's method for the shift with which as many are expected as came."""
    shift = 0.0
    for _ in range(100):
        p = expit_array(log_odds + shift)
        step = float((labels - p).sum() / (p * (1 - p)).sum())
        shift += min(max(step, -1.0), 1.0)
        if abs(step) < 1e-12:
            break
    return shift


def _likelihood(labels: statistics.Labels, log_odds: Floats) -> float:
    return float(-np.logaddexp(0.0, np.where(labels == 1, -log_odds, log_odds)).sum())


def _judge(labels: statistics.Labels, probabilities: Floats) -> Judgement:
    line = statistics.calibration_line(labels, probabilities)
    loss = -_likelihood(labels, statistics.log_odds(probabilities)) / len(labels)
    ratio = statistics.predicted_to_observed(labels, probabilities).value
    return Judgement(loss, ratio, None if line is None else (line[1].value, line[1].low, line[1].high))


def _outcomes(model: Model, data: Path) -> tuple[Floats, statistics.Labels, list[str]]:
    """Log-odds, labels and times of the rows that have an outcome and that the model can score, oldest first."""
    table = pq.read_table(data)
    outcome, time = (name if name not in model.schema.index else f"logged_{name}" for name in ("outcome", "time"))
    table = table.filter(pa.compute.is_valid(table[outcome])).sort_by(time)
    if missing := [f.name for f in model.schema if f.required and f.name not in table.column_names]:
        raise RecalibrationError(f"the dataset has not the features {', '.join(missing)}")
    batch = table.combine_chunks().to_batches()
    if not batch:
        raise RecalibrationError("the dataset has no outcomes")
    columns: list[AnyColumn] = [column_of(batch[0], feature, False)[0] for feature in model.schema]
    bad = np.zeros(len(table), dtype=bool)
    for feature, column in zip(model.schema, columns, strict=True):
        if (wrong := misfits(feature, column)) is not None:
            bad |= wrong
    kept = np.flatnonzero(~bad)
    last = model.last_class([take(column, kept) for column in columns])
    labels = np.asarray(table[outcome].to_numpy(), dtype=np.int64)[kept]
    times = [moment.isoformat() for moment in table[time].take(pa.array(kept)).to_pylist()]
    return statistics.log_odds(last), labels, times


def moved(model: Model, line: Line) -> Scorer:
    """The model's scorer with its log-odds on the line."""
    if model.scorer.link == "logit":
        return on_a_line(model.scorer, line.factor, line.shift)
    odds = float(np.exp(line.shift))
    return CombinedScorer(Combination(ODDS, factor=odds), [model.scorer], model.schema)


def _bundle(content: bytes, model: Model, line: Line, lineage: Mapping[str, Any]) -> bytes:
    entries = {
        name: raw
        for name, raw in archive.unpack(content).items()
        if not name.startswith(bundle.ARRAYS) and name not in (bundle.SCORER, bundle.TABLES, manifest.NAME)
    }
    scorer = moved(model, line)
    header, tables = scorer.to_parts()
    entries[bundle.SCORER], entries[bundle.TABLES] = manifest.dump(header), arrays.pack(tables)
    if bundle.REFERENCE in entries:
        about = manifest.loads(bundle.REFERENCE, entries[bundle.REFERENCE])
        edges = statistics.log_odds(np.array(about["probability"]["edges"], dtype=np.float64))
        about["probability"]["edges"] = expit_array(line.factor * edges + line.shift).tolist()
        entries[bundle.REFERENCE] = manifest.dump(about)
    data = {
        **model.manifest.data,
        "format": manifest.FORMAT,
        "scorer": {**model.manifest.scorer, "kind": scorer.kind, "link": scorer.link},
        "baseline": scorer.baseline if scorer.has_contributions else None,
        "bands": [asdict(replace(band, observed_rate=None, share=None)) for band in model.manifest.bands],
        "golden": {
            "rows": [list(row) for row in model.manifest.golden.rows],
            "scores": [scorer.score_row(row) for row in model.manifest.golden.rows],
        },
        "lineage": dict(lineage),
        "files": manifest.listing(entries),
    }
    entries[manifest.NAME] = manifest.dump(data)
    return archive.pack(entries)
