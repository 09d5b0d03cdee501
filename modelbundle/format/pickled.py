"""A plain scikit-learn pipeline, dumped with joblib or pickle and pinned by its hash.

It has no manifest, so the schema is asked of the object itself: the names from ``feature_names_in_``, and what each column
may hold from what the pipeline accepts. No ranges or categories are known, so nothing is reported as unseen.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from modelbundle.errors import FormatError
from modelbundle.explain.reasons import Reasons
from modelbundle.format.manifest import Golden, Manifest
from modelbundle.format.unpickling import unpickle
from modelbundle.golden import columns
from modelbundle.model import Model
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.pipeline import PipelineScorer


def load_plain(data: bytes, version: str, file_name: str) -> Model:
    """The model in a verified pickle; raises :class:`FormatError` unless it is a fitted classifier with feature names."""
    estimator = unpickle(data)
    names = getattr(estimator, "feature_names_in_", None)
    classes = getattr(estimator, "classes_", None)
    if names is None or classes is None or not hasattr(estimator, "predict_proba"):
        raise FormatError("pipeline", "needs feature_names_in_, classes_ and predict_proba: fit it on a DataFrame")
    labels = tuple(label.item() if hasattr(label, "item") else label for label in classes)
    texts = _text_columns(estimator)
    features = tuple(
        Feature(str(n), "category" if n in texts else "number", required=False, title=str(n)) for n in names
    )
    schema = _with_required(estimator, Schema(features))
    scorer = PipelineScorer.from_pipeline(estimator, schema)
    row = tuple(_sample(feature, estimator) for feature in schema)
    slug = re.sub(r"[^a-z0-9._-]+", "-", file_name.lower().rsplit(".", 1)[0]).strip("-._") or "model"
    public = {
        "format": "plain",
        "name": slug,
        "title": slug,
        "positive": "",
        "classes": list(labels),
        "schema": schema.to_json(),
        "scorer": {"kind": "pipeline"},
    }
    golden = Golden((row,), (scorer.score_row(row),))
    about = Manifest(slug, slug, "", labels, schema, {"kind": "pipeline"}, {}, (), golden, public)
    return Model(version, about, scorer, Reasons.from_words(schema, {}, {}))


def _text_columns(estimator: Any) -> set[str]:
    """Columns that an encoder anywhere in the pipeline has seen hold strings."""
    found: set[str] = set()
    for name, encoder in _encoders(estimator):
        for column, categories in zip(name, encoder.categories_, strict=False):
            if any(isinstance(category, str) for category in categories):
                found.add(str(column))
    return found


def _encoders(estimator: Any, names: Any = None) -> Any:
    names = getattr(estimator, "feature_names_in_", names)
    if hasattr(estimator, "categories_") and names is not None:
        yield names, estimator
    for _, step in getattr(estimator, "steps", ()):
        yield from _encoders(step, names)
    for _, step, chosen in getattr(estimator, "transformers_", ()):
        if not isinstance(step, str):
            yield from _encoders(step, [c for c in chosen if isinstance(c, str)])


def _sample(feature: Feature, estimator: Any) -> float | str:
    if feature.kind == "number":
        return 1.0
    for names, encoder in _encoders(estimator):
        if feature.name in list(names):
            return str(encoder.categories_[list(names).index(feature.name)][0])
    return ""


def _with_required(estimator: Any, schema: Schema) -> Schema:
    """The schema with ``required`` set for each feature whose absence the pipeline does not accept."""
    scorer = PipelineScorer.from_pipeline(estimator, schema)
    sample = [_sample(feature, estimator) for feature in schema]
    try:
        scorer.score_columns(columns(schema, [sample]))
    except Exception as error:  # the pipeline is somebody else's code
        raise FormatError("pipeline", f"does not score a plain row ({type(error).__name__})") from error
    features = []
    for i, feature in enumerate(schema):
        row = [None if i == j else value for j, value in enumerate(sample)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scorer.score_columns(columns(schema, [row]))
            required = False
        except Exception:
            required = True
        features.append(Feature(feature.name, feature.kind, required, title=feature.title))
    return Schema(tuple(features))
