"""Compiling a fitted scikit-learn pipeline into a scorer. Only publishing uses it; it needs scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modelbundle.format.decision import unwrapped
from modelbundle.publishing.compiling.calibration import calibrated, is_calibrated, on_a_line
from modelbundle.publishing.compiling.ebm import compile_ebm
from modelbundle.publishing.compiling.encoding import Encoded, NotCompilable, NotSupported
from modelbundle.publishing.compiling.ensembles import READERS, read_ensemble
from modelbundle.publishing.compiling.linear import compile_logistic
from modelbundle.publishing.compiling.preprocessing import encode, raw_columns
from modelbundle.publishing.compiling.sums import sum_of_trees
from modelbundle.publishing.compiling.trees import compile_trees
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import Inputs
from modelbundle.scorers.pipeline import PipelineScorer

__all__ = ["NotCompilable", "compile_candidates"]

Compile = Callable[[Any, Sequence[Encoded], Schema], Scorer]


def compile_candidates(pipeline: Any, inputs: Inputs) -> list[Scorer | NotCompilable]:
    """The scorers that may equal ``pipeline``, the fastest first; :mod:`modelbundle.publishing.compiling.proof` compares them."""
    schema = inputs.schema
    found: list[Scorer | NotCompilable] = []
    kinds: dict[str, Compile] = {"additive": _additive, "trees": _trees}
    for kind, compile_one in kinds.items():
        try:
            if len(pipeline.classes_) != 2:
                raise NotSupported("a compiled scorer has two classes")
            found.append(_compile(compile_one, pipeline, schema))
        except NotSupported as reason:
            found.append(NotCompilable(kind, str(reason)))
        except Exception as error:  # an unknown version or subclass must not prevent publishing
            found.append(NotCompilable(kind, f"reading the pipeline failed ({type(error).__name__}: {error})"))
    found.append(PipelineScorer(pipeline, schema, inputs))
    return found


def _compile(compile_one: Compile, pipeline: Any, schema: Schema) -> Scorer:
    """Follow the columns through nested pipelines and calibrations to the model, and compile it."""
    model, columns = pipeline, raw_columns(schema)
    names: list[str] | None = list(schema.names)
    lines = []
    while True:
        model = unwrapped(model)
        if is_calibrated(model):
            model, factor, shift = calibrated(model)
            lines.append((factor, shift))
            continue
        if type(model).__name__ != "Pipeline":
            break
        *steps, (_, last) = model.steps
        for _, step in steps:
            columns, names = encode(step, columns, names)
        model = last
    scorer = compile_one(model, columns, schema)
    for factor, shift in reversed(lines):
        scorer = on_a_line(scorer, factor, shift)
    return scorer


def _additive(model: Any, encoded: Sequence[Encoded], schema: Schema) -> Scorer:
    name, package = type(model).__name__, type(model).__module__.partition(".")[0]
    if (package, name) == ("interpret", "ExplainableBoostingClassifier"):
        return compile_ebm(model, encoded, schema)
    if package == "sklearn" and name in ("LogisticRegression", "LogisticRegressionCV"):
        return compile_logistic(model, encoded, schema)
    if package == "sklearn" and name in READERS:
        ensemble = read_ensemble(model, encoded)
        if ensemble.link != "logit":
            raise NotSupported("a mean of trees' probabilities is not a sum of log-odds")
        return sum_of_trees(compile_trees(ensemble, schema), schema)
    raise NotSupported(f"{name} is not known to be additive")


def _trees(model: Any, encoded: Sequence[Encoded], schema: Schema) -> Scorer:
    return compile_trees(read_ensemble(model, encoded), schema)
