"""A plain scikit-learn classifier, dumped with joblib or pickle and pinned by its hash.

It has no manifest, so the schema comes from the object: the names from ``feature_names_in_``, the kind of each column from the
encoders that it has inside, and whether it is required from what the classifier accepts. Ranges and categories are unknown, so
no value counts as unseen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelbundle.errors import FormatError
from modelbundle.explain.reasons import Reasons
from modelbundle.format import decision, manifest, outcome
from modelbundle.format.manifest import Golden, Manifest
from modelbundle.format.unpickling import unpickle
from modelbundle.model import Model
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.base import columns_of
from modelbundle.scorers.inputs import ARRAY, NAMED, OBJECT, Inputs
from modelbundle.scorers.pipeline import PipelineScorer

Value = float | str
PARTS = (
    "estimator_",
    "best_estimator_",
    "estimator",
    "_preprocessor",
    "base_estimator_",
)  # that may hold another estimator
LISTS = ("estimators_", "calibrated_classifiers_")


def load_plain(data: bytes, version: str, file_name: str) -> Model:
    """The model in a verified pickle; raises :class:`FormatError` unless it is a fitted classifier that can be asked."""
    estimator = unpickle(data)
    classes = getattr(estimator, "classes_", None)
    if classes is None or not hasattr(estimator, "predict_proba"):
        raise FormatError("pipeline", "needs classes_ and predict_proba: only fitted classifiers are served")
    labels = tuple(manifest.labels(classes))
    inputs, samples = _inputs(estimator)
    inputs = _with_required(estimator, inputs, samples)
    scorer = PipelineScorer(estimator, inputs.schema, inputs)
    name = manifest.slug(file_name)
    public = {
        "format": "plain",
        "name": name,
        "title": name,
        "positive": "",
        "classes": list(labels),
        "schema": inputs.schema.to_json(),
        "scorer": {"kind": "pipeline"},
    }
    golden = Golden((samples,), (scorer.score_row(samples),))
    rule = decision.of_estimator(estimator) or decision.Decision(by_predict=True)
    scorer_kind, own = {"kind": scorer.kind}, outcome.default(labels)
    about = Manifest(name, name, "", labels, inputs.schema, scorer_kind, {}, (), golden, public, rule, own)
    return Model(version, about, scorer, Reasons.from_words(inputs.schema, {}, {}))


def _inputs(estimator: Any) -> tuple[Inputs, tuple[Value, ...]]:
    """What the classifier takes, as far as its parts tell, and a sample row."""
    names = getattr(estimator, "feature_names_in_", None)
    form = NAMED
    if names is None:
        count = getattr(estimator, "n_features_in_", None)
        if count is None:
            raise FormatError("pipeline", "does not say which columns it takes: fit it on a DataFrame")
        names, form = [f"x{k}" for k in range(count)], ARRAY
    names = [str(name) for name in names]
    known: dict[str, list[Any]] = {}
    for column, categories in _encoded(estimator, names):
        known.setdefault(column, categories)
    features, samples, types = [], [], {}
    for name in names:
        texts = [value for value in known.get(name, ()) if isinstance(value, str)]
        numbers = [float(v) for v in known.get(name, ()) if isinstance(v, (int, float, np.number)) and v == v]
        kind: Any = "category" if texts or (name in known and not numbers) else "number"
        features.append(Feature(name, kind, required=False, title=name))
        samples.append((texts or [""])[0] if kind == "category" else (numbers or [1.0])[0])
        if any(value is None for value in known.get(name, ())):
            types[name] = {"dtype": OBJECT}
    return Inputs(Schema(tuple(features)), types, form), tuple(samples)


def _encoded(estimator: Any, names: Sequence[str], depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """The columns that an encoder inside has seen, and its categories: none for a column of free texts."""
    if depth > 10 or isinstance(estimator, str) or estimator is None:
        return
    own = getattr(estimator, "feature_names_in_", None)
    names = list(names if own is None or type(estimator).__name__ == "ColumnTransformer" else map(str, own))
    if hasattr(estimator, "categories_"):
        for name, categories in zip(names, estimator.categories_, strict=False):
            yield name, list(categories)
    if hasattr(estimator, "vocabulary_"):
        yield from ((name, []) for name in names[:1])
    for _, step in getattr(estimator, "steps", ()):
        yield from _encoded(step, names, depth + 1)
        if type(step).__name__ not in ("Pipeline", "ColumnTransformer", "FunctionTransformer"):
            if not type(step).__name__.endswith("Imputer"):
                return  # its columns are no longer those of the frame
        elif type(step).__name__ == "ColumnTransformer":
            return
    for _, step, chosen in getattr(estimator, "transformers_", ()):
        yield from _encoded(step, _chosen(chosen, names), depth + 1)
    for part in PARTS:
        yield from _encoded(getattr(estimator, part, None), names, depth + 1)
    for part in LISTS:
        for inner in list(getattr(estimator, part, ()))[:1]:
            yield from _encoded(inner, names, depth + 1)


def _chosen(chosen: Any, names: Sequence[str]) -> list[str]:
    """The names of the columns that a ColumnTransformer selects by name, number, slice or mask."""
    if isinstance(chosen, slice):
        return list(names[chosen]) if not isinstance(chosen.start, str) else []
    listed = np.atleast_1d(np.asarray(chosen, dtype=object)).tolist()
    if listed and all(isinstance(c, (bool, np.bool_)) for c in listed):
        return [name for name, yes in zip(names, listed, strict=True) if yes]
    return [c if isinstance(c, str) else names[int(c)] for c in listed]


def _with_required(estimator: Any, inputs: Inputs, samples: Sequence[Value]) -> Inputs:
    """The same, with ``required`` and ``closed``: it fails without the feature, or with a value of it that is unseen."""
    scorer = PipelineScorer(estimator, inputs.schema, inputs)

    def scored(row: Sequence[Value | None]) -> Exception | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scorer.score_columns(columns_of(row, inputs.schema))
        except Exception as error:  # the pipeline may run any code
            return error
        return None

    if error := scored(samples):
        raise FormatError("pipeline", f"cannot score a row of sample values ({error})") from error

    def fails(i: int, value: Value | None) -> bool:
        return scored([value if i == j else other for j, other in enumerate(samples)]) is not None

    features = tuple(
        replace(
            feature,
            required=fails(i, None),
            closed=feature.kind == "category" and fails(i, "\0 a value that none has \0"),
        )
        for i, feature in enumerate(inputs.schema)
    )
    return replace(inputs, schema=Schema(features))
