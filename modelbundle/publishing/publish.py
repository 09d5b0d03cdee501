"""Publishing: from a fitted pipeline and its training frame to a bundle.

:func:`publish` derives the schema, compiles the scorer, proves it equal to the pipeline, makes golden rows, describes the
training data and writes the file atomically. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle import golden
from modelbundle.durable import write
from modelbundle.errors import BundleError, CannotScore, PublishError
from modelbundle.explain.reasons import Reasons
from modelbundle.format import archive, arrays, bundle, manifest, reference
from modelbundle.format.outcome import Outcome, usable
from modelbundle.format.statement import read_private, sign_file
from modelbundle.format.unpickling import NEEDS, installed
from modelbundle.publishing import provenance
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.publishing.frames import describe, read_frame
from modelbundle.publishing.selection import Chosen, choose, first_line, needed_packages
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import NAMED, Inputs

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
    frame: Any,
    labels: Any,
    path: str | os.PathLike[str],
    *,
    author: Author | None = None,
    key: Path | None = None,
) -> Published:
    """Write ``pipeline``, fitted on ``frame`` (features only, n rows) and ``labels`` (n), as a bundle at ``path``.

    ``frame`` is a DataFrame of pandas or Polars, or an array of shape (n, features). The bundle gets the fastest scorer that is
    proven equal to ``pipeline.predict_proba`` and ``predict``, on the frame and on adversarial rows. The manifest's
    ``scorer.refused`` lists the others, with the reason. Without an ``author``, the name is that of the file. An ``author`` that
    names no outcome gets the name of ``labels``, if they are a Series. With ``key``, the file of a private key, it also writes
    the statement and the provenance next to the bundle: see :mod:`modelbundle.format.statement` and
    :mod:`modelbundle.publishing.provenance`.

    Raises :class:`PublishError`, or :class:`StatementError` for an unusable key; ``path`` then stays as it was.
    """
    if key is not None:
        read_private(key)  # fail before the long work
    began = provenance.now()
    author = author or Author(manifest.slug(Path(path).name), Path(path).stem, "")
    try:
        content, data = _made(pipeline, frame, labels, author)
    except (BundleError, OSError):
        raise
    except Exception as error:  # a pipeline may run any code, and libraries have exceptions of their own
        raise PublishError(f"publishing failed ({type(error).__name__}): {first_line(error)}") from error
    write(Path(path), content)
    if key is not None:
        sign_file(Path(path), key)
        provenance.sign_file(Path(path), key, provenance.Build.of_bundle(Path(path).name, data, began))
    return Published(Path(path), archive.digest(content), data)


def _made(pipeline: Any, frame: Any, labels: Any, author: Author) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the bundle, and its manifest."""
    classes = _classes(pipeline)
    training, form = read_frame(frame, pipeline)
    if len(labels) != len(training):
        raise PublishError(f"{len(labels)} labels for {len(training)} rows")
    named = getattr(labels, "name", None)  # of a Series
    if author.outcome is None and isinstance(named, str) and usable(named):
        author = replace(author, outcome=Outcome.of(named, classes))
    inputs = describe(pipeline, training, form, author.features)
    chosen = choose(pipeline, inputs, training)
    return _content(pipeline, chosen, training, inputs, author, classes)


def _content(
    pipeline: Any, chosen: Chosen, frame: pd.DataFrame, inputs: Inputs, author: Author, classes: list[Any]
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the bundle, checked as a replica will, and its manifest."""
    schema, scorer = inputs.schema, chosen.scorer
    columns = frame_columns(schema, frame)
    centers = {
        f.name: float(np.nanmedian(column))
        for f, column in zip(schema, columns, strict=True)
        if isinstance(column, np.ndarray)
    }
    needed = needed_packages(pipeline, scorer)
    entries = _entries(pipeline, scorer, inputs, author)
    try:
        probabilities = scorer.probability_matrix(columns)[:, -1]
    except CannotScore as error:
        raise PublishError(f"a row of the training frame cannot be scored: {error}") from None
    rows, scores = _golden(scorer, schema)
    entries[bundle.REFERENCE] = manifest.dump(reference.describe(schema, columns, probabilities))
    data = {
        "format": manifest.FORMAT,
        "name": author.name,
        "title": author.title,
        "positive": author.positive,
        "classes": classes,
        "schema": schema.to_json(),
        "scorer": {
            "kind": scorer.kind,
            "link": scorer.link,
            "proof": asdict(chosen.proof),
            "refused": chosen.refused,
        },
        "runtime": {package: installed(package) or "" for package in (*NEEDS, *needed)},
        "bands": [asdict(band) for band in author.bands],
        "reasons": Reasons.from_words(schema, author.features, centers).to_json(),
        "baseline": scorer.baseline if scorer.has_contributions else None,
        "training": {**author.training, "rows": len(frame)},
        "metrics": dict(author.metrics),
        "golden": {"rows": rows, "scores": scores},
        "files": manifest.listing(entries),
    }
    if (rule := chosen.decision.to_json()) is not None:
        data["decision"] = rule
    if author.outcome is not None:
        data["outcome"] = author.outcome.to_json()
    if author.lineage:
        data["lineage"] = dict(author.lineage)
    try:
        entries[manifest.NAME] = manifest.dump(data)
    except (TypeError, ValueError) as error:
        raise PublishError(f"the annotations are not finite JSON: {error}") from None
    content = archive.pack(entries)
    _verify(content)
    return content, data


def _golden(scorer: Scorer, schema: Schema) -> tuple[list[list[Any]], list[float]]:
    """Golden rows and their scores, without rows that the model cannot score."""
    rows: list[list[Any]] = []
    scores = []
    why = ""
    for row in golden.make(schema):
        try:
            scores.append(scorer.score_row(row))
        except CannotScore as error:
            why = error.rows[0]
        else:
            rows.append(list(row))
    if not rows:
        raise PublishError(f"the model can score none of the rows that fit its schema ({why})")
    return rows, scores


def _classes(pipeline: Any) -> list[Any]:
    if getattr(pipeline, "_estimator_type", "") == "regressor" or (
        hasattr(pipeline, "predict") and not hasattr(pipeline, "predict_proba") and not hasattr(pipeline, "classes_")
    ):
        raise PublishError(
            f"{type(pipeline).__name__} is a regressor, which predicts a number: only classifiers are served"
        )
    classes = getattr(pipeline, "classes_", None)
    if classes is None or not hasattr(pipeline, "predict_proba"):
        raise PublishError("the pipeline must be a fitted classifier with predict_proba")
    labels = manifest.labels(classes)
    if len(labels) < 2 or not all(isinstance(label, (int, float, str)) for label in labels):
        raise PublishError("the classes must be at least two numbers or strings")
    return labels


def _entries(pipeline: Any, scorer: Scorer, inputs: Inputs, author: Author) -> dict[str, bytes]:
    import joblib

    compressed = io.BytesIO()
    joblib.dump(pipeline, compressed, compress=("zlib", 9))
    entries = {bundle.PIPELINE: compressed.getvalue()}
    if scorer.kind == "pipeline":
        if inputs.types or inputs.form != NAMED:
            entries[bundle.INPUTS] = manifest.dump(inputs.to_json())
    else:
        header, tables = scorer.to_parts()
        entries[bundle.SCORER] = manifest.dump(header)
        entries[bundle.TABLES] = arrays.pack(tables)
    if author.card:
        entries[bundle.CARD] = author.card.encode()
    if author.card_html:
        entries[bundle.CARD_HTML] = author.card_html.encode()
    if author.notice:
        entries[bundle.NOTICE] = author.notice.encode()
    return entries


def _verify(content: bytes) -> None:
    """Load the bundle and check it, as a replica will."""
    try:
        model = bundle.load(content)
        golden.check(model)
    except PublishError:
        raise
    except BundleError as error:
        raise PublishError(f"a replica would refuse the bundle: {error}") from None
    if not all(math.isfinite(score) for score in model.manifest.golden.scores):
        raise PublishError("a golden row's score is not finite")
