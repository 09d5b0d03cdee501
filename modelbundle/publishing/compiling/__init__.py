"""Compiling a fitted pipeline into a scorer. Only publishing uses it; it needs scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modelbundle.format.decision import unwrapped
from modelbundle.publishing.compiling.combining import calibrated, compile_combined, is_calibrated, on_a_line
from modelbundle.publishing.compiling.ebm import compile_ebm
from modelbundle.publishing.compiling.encoding import Encoded, NotCompilable, NotSupported
from modelbundle.publishing.compiling.linear import compile_logistic
from modelbundle.publishing.compiling.preprocessing import encode, raw_columns
from modelbundle.publishing.compiling.sums import sum_of_trees
from modelbundle.publishing.compiling.trees import compile_trees, is_ensemble, read_ensemble
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import Inputs
from modelbundle.scorers.pipeline import PipelineScorer

__all__ = ["NotCompilable", "compile_candidates"]

Names = Sequence[str] | None
Compile = Callable[[Any, Sequence[Encoded], Names, Schema], Scorer]


def compile_candidates(pipeline: Any, inputs: Inputs) -> list[Scorer | NotCompilable]:
    """The scorers that may equal ``pipeline``, the fastest first; :mod:`modelbundle.publishing.compiling.proof` compares them."""
    schema = inputs.schema
    found: list[Scorer | NotCompilable] = []
    for kind, compile_one in KINDS.items():
        try:
            found.append(compile_one(pipeline, raw_columns(inputs), list(schema.names), schema))
        except NotSupported as reason:
            found.append(NotCompilable(kind, str(reason)))
        except Exception as error:  # an unknown version or subclass must not prevent publishing
            found.append(NotCompilable(kind, f"reading the pipeline failed ({type(error).__name__}: {error})"))
    found.append(PipelineScorer(pipeline, schema, inputs))
    return found


def _steps(model: Any, columns: Sequence[Encoded], names: Names) -> tuple[Any, Sequence[Encoded], Names]:
    """The model after the steps of its pipelines, and the columns that it gets."""
    while type(model := unwrapped(model)).__name__ == "Pipeline":
        *steps, (_, last) = model.steps
        for _, step in steps:
            columns, names = encode(step, columns, names)
        model = last
    return model, columns, names


def _through_calibration(
    compile_one: Compile, model: Any, columns: Sequence[Encoded], names: Names, schema: Schema
) -> Scorer:
    """Compile the model inside calibrations that only move its log-odds along a line."""
    if len(model.classes_) != 2:
        raise NotSupported("a score of one number tells two classes apart, not more")
    lines = []
    model, columns, names = _steps(model, columns, names)
    while is_calibrated(model):
        model, factor, shift = calibrated(model)
        lines.append((factor, shift))
        model, columns, names = _steps(model, columns, names)
    scorer = compile_one(model, columns, names, schema)
    for factor, shift in reversed(lines):
        scorer = on_a_line(scorer, factor, shift)
    return scorer


def _additive(model: Any, columns: Sequence[Encoded], names: Names, schema: Schema) -> Scorer:
    return _through_calibration(_sum, model, columns, names, schema)


def _sum(model: Any, encoded: Sequence[Encoded], _: Names, schema: Schema) -> Scorer:
    name, package = type(model).__name__, type(model).__module__.partition(".")[0]
    if (package, name) == ("interpret", "ExplainableBoostingClassifier"):
        return compile_ebm(model, encoded, schema)
    if package == "sklearn" and name in ("LogisticRegression", "LogisticRegressionCV"):
        return compile_logistic(model, encoded, schema)
    if is_ensemble(model):
        ensemble = read_ensemble(model, encoded)
        if ensemble.link != "logit":
            raise NotSupported("a mean of trees' probabilities is not a sum of log-odds")
        return sum_of_trees(compile_trees(ensemble, schema), schema)
    raise NotSupported(f"{name} is not known to be additive")


def _trees(model: Any, columns: Sequence[Encoded], names: Names, schema: Schema) -> Scorer:
    return _through_calibration(
        lambda inner, encoded, _, own: compile_trees(read_ensemble(inner, encoded), own), model, columns, names, schema
    )


def _combined(model: Any, columns: Sequence[Encoded], names: Names, schema: Schema) -> Scorer:
    def inner(part: Any, own: Sequence[Encoded], own_names: Names) -> Scorer:
        """The fastest scorer of a part."""
        reasons = []
        for kind, compile_one in KINDS.items():
            try:
                return compile_one(part, own, own_names, schema)
            except NotSupported as reason:
                reasons.append(f"{kind}: {reason}")
        raise NotSupported(f"a part cannot be compiled ({'; '.join(reasons)})")

    model, columns, names = _steps(model, columns, names)
    return compile_combined(model, columns, names, schema, inner)


KINDS: dict[str, Compile] = {"additive": _additive, "trees": _trees, "combined": _combined}
