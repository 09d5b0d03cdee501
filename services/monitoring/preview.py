"""What the monitor would say of a model before the log has a row of it: its summary of the model's own golden rows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from modelbundle import golden
from modelbundle.model import Model
from services.monitoring.analysis import drift, sentences
from services.monitoring.log_reader import model_versions
from services.monitoring.log_reader.sampling import PooledSample, Sample, SampledRow
from services.monitoring.summary import LEAST_ROWS


def of(path: Path, model: Model) -> dict[str, Any]:
    """An entry of ``monitor.json`` for ``model``, whose file is at ``path``, as if its golden rows had been logged many times.

    Raises :class:`BundleError` where the model cannot be compared with its training.
    """
    known, about = model_versions.read(path, model.version), model.manifest
    probabilities = model.last_class(golden.columns(model.schema, about.golden.rows)).tolist()
    rows = [
        SampledRow("", json.dumps(dict(zip(model.schema.names, row, strict=True))), probability)
        for row, probability in zip(about.golden.rows, probabilities, strict=True)
        if probability == probability
    ]
    rows *= -(-LEAST_ROWS // max(1, len(rows)))  # enough for a verdict
    score, features = drift.compare(known, PooledSample.of([Sample.of(known, int(time.time()), len(rows), rows)]))
    status = drift.worst([score["status"], *(feature["status"] for feature in features)])
    return {
        "model_version": model.version,
        "name": about.name,
        "title": about.title,
        "positive": about.positive,
        "status": status,
        "text": sentences.model(status, score, features, len(rows), LEAST_ROWS),
        "reference_rate": known.reference_rate(),
        "published_roc_auc": model_versions.published_roc_auc(about.data.get("metrics", {})),
        "score": score,
        "features": features,
    }
