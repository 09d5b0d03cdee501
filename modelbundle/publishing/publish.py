"""Publishing: from a fitted pipeline and its training frame to a bundle.

:func:`publish` derives the schema, compiles the scorer, proves it equal to the pipeline, makes golden rows, describes the
training data and writes the file atomically. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle import golden
from modelbundle.durable import write
from modelbundle.errors import PublishError
from modelbundle.explain.reasons import Reasons
from modelbundle.format import archive, arrays, bundle, manifest, reference
from modelbundle.format.statement import read_private, sign_file
from modelbundle.format.unpickling import NEEDS, installed
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.compiling import compile_candidates
from modelbundle.publishing.compiling.encoding import NotCompilable
from modelbundle.publishing.compiling.proof import Proof, ProofFailed, frame_columns, prove
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Published:
    """A published bundle: its path, the SHA-256 of its bytes, and its manifest as a JSON object."""

    path: Path
    sha256: str
    manifest: dict[str, Any]


def publish(
    pipeline: Any,
    frame: pd.DataFrame,
    labels: Any,
    path: str | os.PathLike[str],
    *,
    author: Author,
    key: Path | None = None,
) -> Published:
    """Write ``pipeline``, fitted on ``frame`` (features only, n rows) and ``labels`` (n), as a bundle at ``path``.

    The bundle gets the fastest scorer that is proven equal to ``pipeline.predict_proba``, on the frame and on adversarial rows.
    The manifest's ``scorer.refused`` lists the others, with the reason. With ``key``, the file of a private key, it also writes
    the statement next to the bundle: see :mod:`modelbundle.format.statement`. Raises :class:`PublishError`, or
    :class:`StatementError` for an unusable key; ``path`` then stays as it was.
    """
    if key is not None:
        read_private(key)  # fail before the long work
    classes = _classes(pipeline)
    if list(getattr(pipeline, "feature_names_in_", frame.columns)) != list(frame.columns):
        raise PublishError("the frame must have the columns that the pipeline was fitted on, in the same order")
    if len(labels) != len(frame):
        raise PublishError(f"{len(labels)} labels for {len(frame)} rows")
    schema = Schema.from_frame(frame, author.features)
    scorer, proof, refused = _choose(pipeline, schema, frame)
    columns = frame_columns(schema, frame)
    centers = {f.name: float(np.nanmedian(frame[f.name].to_numpy(float))) for f in schema if f.kind == "number"}
    entries = _entries(pipeline, scorer, author)
    entries[bundle.REFERENCE] = manifest.dump(
        reference.describe(schema, frame, scorer.probabilities(scorer.score_columns(columns)))
    )
    rows = golden.make(schema)
    data = {
        "format": manifest.FORMAT,
        "name": author.name,
        "title": author.title,
        "positive": author.positive,
        "classes": classes,
        "schema": schema.to_json(),
        "scorer": {"kind": scorer.kind, "link": scorer.link, "proof": asdict(proof), "refused": refused},
        "runtime": {package: installed(package) or "" for package in NEEDS},
        "bands": [asdict(band) for band in author.bands],
        "reasons": Reasons.from_words(schema, author.features, centers).to_json(),
        "baseline": scorer.baseline if scorer.has_contributions else None,
        "training": {**author.training, "rows": len(frame)},
        "metrics": dict(author.metrics),
        "golden": {"rows": [list(row) for row in rows], "scores": [scorer.score_row(row) for row in rows]},
        "files": manifest.listing(entries),
    }
    try:
        entries[manifest.NAME] = manifest.dump(data)
    except (TypeError, ValueError) as error:
        raise PublishError(f"the annotations are not finite JSON: {error}") from None
    content = archive.pack(entries)
    _verify(content)
    write(Path(path), content)
    if key is not None:
        sign_file(Path(path), key)
    return Published(Path(path), archive.digest(content), data)


def _classes(pipeline: Any) -> list[Any]:
    classes = getattr(pipeline, "classes_", None)
    if classes is None or not hasattr(pipeline, "predict_proba"):
        raise PublishError("the pipeline must be a fitted classifier with predict_proba")
    labels = [label.item() if hasattr(label, "item") else label for label in classes]
    if len(labels) < 2 or not all(isinstance(label, (int, float, str)) for label in labels):
        raise PublishError("the classes must be at least two numbers or strings")
    return labels


def _choose(pipeline: Any, schema: Schema, frame: pd.DataFrame) -> tuple[Scorer, Proof, list[dict[str, str]]]:
    refused = []
    for candidate in compile_candidates(pipeline, schema):
        if isinstance(candidate, NotCompilable):
            refused.append({"kind": candidate.kind, "reason": candidate.reason})
            continue
        if candidate.has_contributions:
            candidate.fit_averages(frame_columns(schema, frame))
        try:
            return candidate, prove(pipeline, candidate, frame, schema), refused
        except ProofFailed as failure:
            refused.append({"kind": candidate.kind, "reason": str(failure)})
    raise PublishError("no scorer could be made: " + "; ".join(f"{r['kind']}: {r['reason']}" for r in refused))


def _entries(pipeline: Any, scorer: Scorer, author: Author) -> dict[str, bytes]:
    import joblib

    pickled = io.BytesIO()
    joblib.dump(pipeline, pickled, compress=("zlib", 9))
    entries = {bundle.PIPELINE: pickled.getvalue()}
    if scorer.kind != "pipeline":
        header, tables = scorer.to_parts()
        entries[bundle.SCORER] = manifest.dump(header)
        entries.update({f"{bundle.ARRAYS}{name}.npy": arrays.write(table) for name, table in tables.items()})
    if author.card:
        entries[bundle.CARD] = author.card.encode()
    if author.card_html:
        entries[bundle.CARD_HTML] = author.card_html.encode()
    return entries


def _verify(content: bytes) -> None:
    """Load the bundle and check it, as a replica will."""
    model = bundle.load(content)
    golden.check(model)
    if not all(math.isfinite(score) for score in model.manifest.golden.scores):
        raise PublishError("a golden row's score is not finite")
