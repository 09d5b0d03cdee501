"""A plain scikit-learn pipeline, dumped with joblib or pickle and pinned by its hash.

It has no manifest, so the schema comes from the object: the names from ``feature_names_in_``, the kind of each column and
whether it is required from what the pipeline accepts. Ranges and categories are unknown, so no value counts as unseen.
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
    scorer = PipelineScorer(estimator, schema)
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
    """The columns in which an encoder of the pipeline has seen strings."""
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
    """The schema with ``required`` set for each feature without which the pipeline fails."""
    scorer = PipelineScorer(estimator, schema)
    sample = [_sample(feature, estimator) for feature in schema]
    try:
        scorer.score_columns(columns(schema, [sample]))
    except Exception as error:  # the pipeline may run any code
        raise FormatError("pipeline", f"cannot score a row of sample values ({type(error).__name__})") from error
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
