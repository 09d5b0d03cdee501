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

from learning import dataset, outcomes
from learning.outcomes import Floats, Judgement, OutcomesError, judge, likelihood
from modelbundle import fairness, golden, statistics
from modelbundle.durable import write
from modelbundle.format import archive, arrays, bundle, manifest, values
from modelbundle.format.statement import read_private, sign_file
from modelbundle.model import Model
from modelbundle.publishing import provenance
from modelbundle.publishing.compiling.combining import on_a_line
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.combined import ODDS, Combination, CombinedScorer
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.scorers.probability import expit_array


class RecalibrationError(OutcomesError):
    """The model is not recalibrated; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the log-odds become: ``factor * log-odds + shift``."""

    factor: float
    shift: float


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

    The slope is fitted too where the older outcomes bear it, by Schwarz's criterion (BIC, 1978): twice the gain in
    log-likelihood is above the logarithm of their number. A test at 5 % takes slopes that newer outcomes deny. Otherwise the
    intercept alone. Raises :class:`RecalibrationError`, also where the newer outcomes are not more likely than before;
    :class:`OutcomesError`, :class:`BundleError`, :class:`DatasetError`, :class:`OSError`. ``out`` then stays as it was.
    """
    if key is not None:
        read_private(key)
    began = provenance.now()
    content = parent.read_bytes()
    model = bundle.load(content, file_name=parent.name)
    if len(model.classes) != 2 or isinstance(model.scorer, PipelineScorer):
        raise RecalibrationError("only compiled models of two classes can be recalibrated")
    about = dataset.describe(data)
    found = outcomes.read(model, data)
    labels, times = found.labels, found.times
    older, newer = found.halves()
    log_odds = statistics.log_odds(model.last_class(found.columns))
    line = fit(labels[older], log_odds[older], slope=model.scorer.link == "logit")
    before = judge(labels[newer], expit_array(log_odds[newer]))
    after = judge(labels[newer], expit_array(line.factor * log_odds[newer] + line.shift))
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
        "rows": {"fitted": older.stop, "judged": len(labels) - older.stop},
        "since": times[0],
        "until": times[-1],
        "before": asdict(before),
        "after": asdict(after),
    }
    made = _bundle(content, model, line, lineage)
    checked = bundle.load(made)
    golden.check(checked)
    write(out, made)
    if key is not None:
        sign_file(out, key)
        provenance.sign_file(out, key, provenance.Build.of_bundle(out.name, checked.manifest.data, began))
    return Recalibrated(out, archive.digest(made), line, before, after, lineage)


def fit(labels: statistics.Labels, log_odds: Floats, *, slope: bool) -> Line:
    """The line that makes the labels (n,) most likely, given log-odds (n,); with a ``slope`` only where the criterion says so."""
    shift = _intercept(labels, log_odds)
    line = statistics.calibration_line(labels, expit_array(log_odds)) if slope else None
    if line is None or line[1].value <= 0:
        return Line(1.0, shift)
    both = Line(line[1].value, line[0].value)
    gain = likelihood(labels, both.factor * log_odds + both.shift) - likelihood(labels, log_odds + shift)
    return both if 2 * gain > np.log(len(labels)) else Line(1.0, shift)


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
        about = values.loads(bundle.REFERENCE, entries[bundle.REFERENCE])
        edges = statistics.log_odds(np.array(about["probability"]["edges"], dtype=np.float64))
        about["probability"]["edges"] = expit_array(line.factor * edges + line.shift).tolist()
        entries[bundle.REFERENCE] = manifest.dump(about)
    data = {
        **{key: value for key, value in model.manifest.data.items() if key != fairness.KEY},  # it was the parent's
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
